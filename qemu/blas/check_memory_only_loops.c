/*
 * Caffe's vector functions, im2col and col2im against memory that ends at a
 * protected page, with values around it that must stay: a touch outside an
 * operand is a segmentation fault or a changed value. Ends with 0 if all is
 * well, with and without the stand-ins. README.md says how to build and run it.
 */
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define CAFFE(symbol) __asm__("_ZN5caffe" symbol)

typedef void unary_fn(int, const float *, float *);
typedef void binary_fn(int, const float *, const float *, float *);
typedef void scalar_fn(int, float, float *);
typedef void random_fn(int, float, float, float *);

unary_fn caffe_sqr CAFFE("9caffe_sqrIfEEviPKT_PS1_");
unary_fn caffe_exp CAFFE("9caffe_expIfEEviPKT_PS1_");
unary_fn caffe_log CAFFE("9caffe_logIfEEviPKT_PS1_");
unary_fn caffe_abs CAFFE("9caffe_absIfEEviPKT_PS1_");
unary_fn caffe_sqrt CAFFE("10caffe_sqrtIfEEviPKT_PS1_");
unary_fn caffe_copy CAFFE("10caffe_copyIfEEviPKT_PS1_");
binary_fn caffe_add CAFFE("9caffe_addIfEEviPKT_S3_PS1_");
binary_fn caffe_sub CAFFE("9caffe_subIfEEviPKT_S3_PS1_");
binary_fn caffe_mul CAFFE("9caffe_mulIfEEviPKT_S3_PS1_");
binary_fn caffe_div CAFFE("9caffe_divIfEEviPKT_S3_PS1_");
scalar_fn caffe_set CAFFE("9caffe_setIfEEviT_PS1_");
scalar_fn caffe_add_scalar CAFFE("16caffe_add_scalarIfEEviT_PS1_");
random_fn caffe_rng_uniform CAFFE("17caffe_rng_uniformIfEEviT_S1_PS1_");
random_fn caffe_rng_gaussian CAFFE("18caffe_rng_gaussianIfEEviT_S1_PS1_");
void caffe_powx(int, const float *, float, float *) CAFFE("10caffe_powxIfEEviPKT_S1_PS1_");
void caffe_set_int(int, int, int *) CAFFE("9caffe_setIiEEviT_PS1_");
void caffe_rng_bernoulli(int, float, int *) CAFFE("19caffe_rng_bernoulliIfEEviT_Pi");
void im2col_cpu(const float *, int, int, int, int, int, int, int, int, int, int, int,
                float *) CAFFE("10im2col_cpuIfEEvPKT_iiiiiiiiiiiPS1_");
void col2im_cpu(const float *, int, int, int, int, int, int, int, int, int, int, int,
                float *) CAFFE("10col2im_cpuIfEEvPKT_iiiiiiiiiiiPS1_");

static int failures;

static void expect(int is_met, const char *what, long n)
{
    if (!is_met) {
        failures = 1;
        fprintf(stderr, "failed: %s of %ld\n", what, n);
    }
}

/* An operand of `floats` between protected pages, its end (or its start) right at one. */
struct operand {
    char *mapping;
    size_t size, page;
    float *values;
    long floats, beside;
};

/* Around the operand; its lowest byte is not zero, so that a stray touch shows. */
#define BESIDE 1.1F

static struct operand operand_of(long floats, int at_start, float value)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = ((size_t)floats * sizeof(float) + page - 1) / page * page;
    struct operand o = {NULL, bytes + 2 * page, page, NULL, floats, 0};
    o.mapping = mmap(NULL, o.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(o.mapping + page, bytes, PROT_READ | PROT_WRITE);
    float *first = (float *)(void *)(o.mapping + page);
    o.beside = (long)(bytes / sizeof(float)) - floats;
    for (long i = 0; i < o.beside + floats; i++)
        first[i] = BESIDE;
    o.values = at_start ? first : first + o.beside;
    for (long i = 0; i < floats; i++)
        o.values[i] = value;
    return o;
}

static void release(struct operand o, int at_start, const char *what)
{
    const float *beside = at_start ? o.values + o.floats : o.values - o.beside;
    int is_kept = 1;
    for (long i = 0; i < o.beside; i++)
        is_kept &= beside[i] == BESIDE;
    expect(is_kept, what, o.floats);
    munmap(o.mapping, o.size);
}

static int is_finite(struct operand o)
{
    int is = 1;
    for (long i = 0; i < o.floats; i++)
        is &= o.values[i] - o.values[i] == 0.0F;
    return is;
}

/* A touch clears the lowest byte. */
static int is_near(float value, float expected)
{
    return value > expected * 0.9999F && value < expected * 1.0001F;
}

static void check_vectors(int n, int at_start)
{
    static unary_fn *const unary[] = {caffe_sqr, caffe_exp,  caffe_log,
                                      caffe_abs, caffe_sqrt, caffe_copy};
    static binary_fn *const binary[] = {caffe_add, caffe_sub, caffe_mul, caffe_div};
    struct operand a = operand_of(n, at_start, 1.5F), b = operand_of(n, at_start, 2.5F);
    struct operand y = operand_of(n, at_start, 3.5F);
    for (unsigned i = 0; i < sizeof unary / sizeof *unary; i++)
        unary[i](n, a.values, y.values);
    expect(is_near(y.values[0], 1.5F), "the first number is copied", n);
    for (unsigned i = 0; i < sizeof binary / sizeof *binary; i++)
        binary[i](n, a.values, b.values, y.values);
    expect(is_near(y.values[0], 0.6F), "the first number is divided", n);
    caffe_powx(n, a.values, 2.0F, y.values);
    expect(is_near(y.values[0], 2.25F), "the first number is squared", n);
    caffe_set(n, 7.5F, y.values);
    caffe_add_scalar(n, 1.0F, y.values);
    expect(is_near(y.values[0], 8.5F), "the first number is set", n);
    expect(n > 1024 || y.values[n - 1] == 8.5F, "few numbers are all computed", n);
    caffe_rng_uniform(n, 0.0F, 1.0F, y.values);
    caffe_rng_gaussian(n, 0.0F, 1.0F, y.values);
    caffe_set_int(n, 1, (int *)(void *)y.values);
    caffe_rng_bernoulli(n, 0.5F, (int *)(void *)y.values);
    expect(is_finite(y), "the results are finite", n);
    release(a, at_start, "nothing beside the first operand changes");
    release(b, at_start, "nothing beside the second operand changes");
    release(y, at_start, "nothing beside the result changes");
}

static void check_columns(int channels, int size, int kernel, int pad, int stride, int dilation,
                          int at_start)
{
    int across = (size + 2 * pad - (dilation * (kernel - 1) + 1)) / stride + 1;
    long count = (long)channels * kernel * kernel * across * across;
    struct operand image = operand_of((long)channels * size * size, at_start, 0.5F);
    struct operand columns = operand_of(count, at_start, 0.25F);
    im2col_cpu(image.values, channels, size, size, kernel, kernel, pad, pad, stride, stride,
               dilation, dilation, columns.values);
    expect(is_finite(columns), "columns are finite", count);
    col2im_cpu(columns.values, channels, size, size, kernel, kernel, pad, pad, stride, stride,
               dilation, dilation, image.values);
    expect(is_finite(image), "an image is finite", count);
    release(image, at_start, "nothing beside the image changes");
    release(columns, at_start, "nothing beside the columns changes");
}

int main(void)
{
    static const int sizes[] = {1, 64, 65, 1024, 1025, 2048, 3000, 100001};
    for (int at_start = 0; at_start < 2; at_start++) {
        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
            check_vectors(sizes[i], at_start);
        check_columns(1, 5, 3, 1, 1, 1, at_start);
        check_columns(3, 57, 3, 0, 2, 1, at_start);
        check_columns(5, 33, 5, 2, 1, 2, at_start);
        check_columns(2, 40, 1, 0, 3, 1, at_start);
    }
    return failures;
}
