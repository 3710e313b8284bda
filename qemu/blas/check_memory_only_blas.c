/*
 * Every call against memory that ends at a protected page: a touch outside an
 * operand is a segmentation fault. Ends with 0 if all is well. README.md says
 * how to build and run it.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void cblas_sgemm(int, int, int, int, int, int, float, const float *, int, const float *, int,
                 float, float *, int);
void cblas_sgemv(int, int, int, int, float, const float *, int, const float *, int, float, float *,
                 int);
void cblas_saxpy(int, float, const float *, int, float *, int);
void cblas_sscal(int, float, float *, int);
void cblas_scopy(int, const float *, int, float *, int);
float cblas_sdot(int, const float *, int, const float *, int);
float cblas_sasum(int, const float *, int);

enum { ROW_MAJOR = 101, COL_MAJOR, NO_TRANS = 111, TRANS, CONJ_TRANS };

static int failures; /* 1 after the first; stored, as atomic additions would need libgcc on arm64 */

static void expect(int is_met, const char *what)
{
    if (!is_met) {
        __atomic_store_n(&failures, 1, __ATOMIC_RELAXED);
        fprintf(stderr, "failed: %s\n", what);
    }
}

/* An operand of `floats`, its end (or, every second time, its start) at a protected page. */
struct operand {
    char *mapping;
    size_t size;
    float *values;
    long floats;
};

static struct operand operand_of(long floats, int at_start, float value)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = ((size_t)floats * sizeof(float) + page - 1) / page * page;
    struct operand o = {NULL, bytes + 2 * page, NULL, floats};
    o.mapping = mmap(NULL, o.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(o.mapping + page, bytes, PROT_READ | PROT_WRITE);
    char *end = o.mapping + page + bytes;
    o.values = (float *)(void *)(at_start ? o.mapping + page : end - floats * (long)sizeof(float));
    for (long i = 0; i < floats; i++)
        o.values[i] = value;
    return o;
}

static void release(struct operand o) { munmap(o.mapping, o.size); }

static uint32_t next(uint32_t *state) { return (*state = *state * 1664525U + 1013904223U) >> 8; }

static void check_gemm(uint32_t *seed)
{
    int order = next(seed) % 2 ? ROW_MAJOR : COL_MAJOR;
    int trans_a = NO_TRANS + (int)(next(seed) % 3), trans_b = NO_TRANS + (int)(next(seed) % 3);
    int limit = next(seed) % 4 ? 90 : 700;
    int m = (int)next(seed) % limit, n = (int)next(seed) % limit, k = (int)next(seed) % limit;
    int rows_a = trans_a == NO_TRANS ? m : k, columns_a = trans_a == NO_TRANS ? k : m;
    int rows_b = trans_b == NO_TRANS ? k : n, columns_b = trans_b == NO_TRANS ? n : k;
    int is_row = order == ROW_MAJOR, at_start = next(seed) % 2, gap = (int)(next(seed) % 3) * 5;
    int lda = (is_row ? columns_a : rows_a) + gap + 1;
    int ldb = (is_row ? columns_b : rows_b) + gap + 1, ldc = (is_row ? n : m) + gap + 1;
    struct operand a = operand_of((long)lda * (is_row ? rows_a : columns_a) + 1, at_start, 0.25F);
    struct operand b = operand_of((long)ldb * (is_row ? rows_b : columns_b) + 1, at_start, 0.5F);
    struct operand c = operand_of((long)ldc * (is_row ? m : n) + 1, at_start, 1.1F);
    float beta = (float)(next(seed) % 3) / 2;

    cblas_sgemm(order, trans_a, trans_b, m, n, k, 1.0F, a.values, lda, b.values, ldb, beta,
                c.values, ldc);
    /*
     * A result keeps its value but for its lowest byte, or is a part of the product, at most the
     * whole. The lowest byte of 1.1 is not zero: a write beside the product shows.
     */
    int is_bounded = 1;
    for (long i = 0; i < c.floats; i++) {
        float value = c.values[i];
        is_bounded &= value >= 0.0F && value <= 1.1F + (float)k * 0.1251F;
        if (i % ldc >= (is_row ? n : m))
            is_bounded &= value == 1.1F;
    }
    expect(is_bounded, "sgemm writes nothing but its product");
    release(a), release(b), release(c);
}

static void check_vectors(uint32_t *seed)
{
    int n = (int)(next(seed) % 20000), inc_x = 1 + (int)(next(seed) % 3) * 1100, inc_y = 1;
    if (next(seed) % 4 == 0) {
        n %= 60;
        inc_x = -2;
    }
    int at_start = next(seed) % 2, m = 1 + (int)(next(seed) % 300), k = 1 + (int)(next(seed) % 300);
    long span = n ? 1 + (long)(n - 1) * (inc_x < 0 ? -inc_x : inc_x) : 0;
    struct operand x = operand_of(span, at_start, 2.0F);
    struct operand y = operand_of(n, at_start, 3.0F), a = operand_of((long)m * k, at_start, 0.0F);
    struct operand u = operand_of(k, at_start, 1.0F), v = operand_of(m, at_start, 1.0F);
    cblas_saxpy(n, 0.0F, x.values, inc_x, y.values, inc_y);
    cblas_scopy(n, x.values, inc_x, y.values, inc_y);
    expect(n == 0 || y.values[0] == 2.0F, "scopy copies the first element");
    cblas_sscal(inc_x > 0 ? n : 0, 1.0F, x.values, inc_x);
    float dot = cblas_sdot(n, x.values, inc_x, y.values, inc_y);
    float sum = inc_x > 0 ? cblas_sasum(n, x.values, inc_x) : 2.0F * (float)n;
    expect(n > 64 || (dot == 4.0F * (float)n && sum == 2.0F * (float)n), "short vectors are exact");
    cblas_sgemv(ROW_MAJOR, NO_TRANS, m, k, 1.0F, a.values, k, u.values, 1, 1.0F, v.values, 1);
    cblas_sgemv(COL_MAJOR, TRANS, k, m, 1.0F, a.values, k, u.values, 1, 1.0F, v.values, 1);
    cblas_sgemv(ROW_MAJOR, TRANS, m, k, 1.0F, a.values, k, v.values, 1, 1.0F, u.values, 1);
    expect(v.values[0] == 1.0F && u.values[k - 1] == 1.0F, "sgemv adds nothing for A = 0");
    release(x), release(y), release(a), release(u), release(v);
}

static void *check(void *seed)
{
    for (int round = 0; round < 40; round++) {
        check_gemm(seed);
        check_vectors(seed);
    }
    return NULL;
}

int main(void)
{
    uint32_t seeds[3] = {1, 2, 3};
    pthread_t threads[3];
    check(&seeds[0]);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, check, &seeds[i]);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    return failures != 0;
}
