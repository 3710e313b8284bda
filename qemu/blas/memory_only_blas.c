/*
 * A BLAS that touches the memory a real one would touch and skips the rest.
 *
 * What Caffe allocates and touches does not depend on the values computed, so
 * its peak RSS can be had without the arithmetic. Preloaded in front of
 * OpenBLAS, this library replaces the single-precision CBLAS calls of Caffe:
 * operands are read and results written, one byte per page (page_touch.h).
 *
 * OpenBLAS itself stays loaded, since it has its own share in the peak: above
 * all the buffers into which each of its threads packs panels of A and B. They
 * are mapped at load but only touched as far as the largest panel reaches. So
 * we follow its panel arithmetic (OpenBLAS 0.3.13: interface/gemm.c,
 * driver/level3/level3.c and level3_thread.c), and whenever a product would
 * touch a buffer page for the first time, the real library is given a slice of
 * that product which packs the same panels: the model decides when, the real
 * library decides which memory. A slice never packs more than the product it
 * is cut from, so a model gone wrong can only miss pages, never add any.
 *
 * Caffe's networks are single precision; the double-precision calls are left
 * to the real library.
 */
#include <stddef.h>
#include <stdint.h>

#include "page_touch.h"

/* Prototypes instead of libc's and CBLAS's headers: a bare cross compiler will do. */
void *dlopen(const char *file, int mode);
void *dlsym(void *handle, const char *name);
char *getenv(const char *name);
char *strstr(const char *haystack, const char *needle);
int strcmp(const char *a, const char *b);
size_t strlen(const char *text);
int atoi(const char *digits);
int getrusage(int who, void *usage);
int open(const char *path, int flags, ...);
long read(int file, void *bytes, size_t size);
int close(int file);
void *fopen(const char *path, const char *mode);
char *fgets(char *line, int size, void *file);
int sscanf(const char *text, const char *format, ...);
int fclose(void *file);
void *sbrk(intptr_t more);
int madvise(void *start, size_t size, int advice);
int getpid(void);
int kill(int process, int signal);
int on_exit(void (*function)(int status, void *argument), void *argument);
void *malloc(size_t size);
void free(void *memory);
int dprintf(int fd, const char *format, ...);
void _exit(int status) __attribute__((noreturn));
void abort(void) __attribute__((noreturn));

#define RTLD_NEXT ((void *)-1L)
#define RTLD_LAZY 1
#define RTLD_NOLOAD 4
#define SIGSTOP 19
#define MADV_DONTNEED 4

#define EXPORT __attribute__((visibility("default")))

enum { ROW_MAJOR = 101, COL_MAJOR = 102 };
enum { NO_TRANS = 111, TRANS = 112, CONJ_TRANS = 113 };

typedef void gemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                     const float *a, int lda, const float *b, int ldb, float beta, float *c,
                     int ldc);
typedef void gemv_fn(int order, int trans, int m, int n, float alpha, const float *a, int lda,
                     const float *x, int incx, float beta, float *y, int incy);
typedef void axpy_fn(int n, float alpha, const float *x, int incx, float *y, int incy);
typedef void scal_fn(int n, float alpha, float *x, int incx);
typedef void copy_fn(int n, const float *x, int incx, float *y, int incy);
typedef float dot_fn(int n, const float *x, int incx, const float *y, int incy);
typedef float asum_fn(int n, const float *x, int incx);

/* The head of OpenBLAS 0.3.13's gotoblas_t (common_param.h), filled at its load. */
struct kernel_parameters {
    int dtb_entries;
    int offset_a, offset_b, align;
    int p, q, r;
    int unroll_m, unroll_n, unroll_mn;
};

static struct {
    int resolved;
    int modelled; /* the panel arithmetic below is this library's */
    int threads;
    int max_threads; /* MAX_CPU_NUMBER of its build */
    int job_table_on_stack;
    const struct kernel_parameters *kernel;
    gemm_fn *gemm;
    gemv_fn *gemv;
    axpy_fn *axpy;
    scal_fn *scal;
    copy_fn *copy;
    dot_fn *dot;
    asum_fn *asum;
} real;

/* Calls seen and calls of the real library made for them; for PIBENCH_BLAS_REPORT. */
static struct {
    long gemm, gemm_slices, gemv, gemv_forwarded, vector;
} calls;

/* ----------------------------------------------------------------------- the program's end */

/*
 * QEMU before 8.1 keeps the pages of a heap that shrinks, as it does when the network is freed:
 * the end would reach a peak that no kernel has.
 */
static void give_back_trimmed_heap(void)
{
    const uintptr_t end = ((uintptr_t)sbrk(0) + 4095) & ~(uintptr_t)4095;
    void *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned long from, to;
    /* The mapping of the heap: without an emulator it ends with the heap. */
    while (maps && fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from < end && end < to)
            madvise((void *)end, to - end, MADV_DONTNEED);
    if (maps)
        fclose(maps);
}

/*
 * Where an emulator runs the program, whoever watches it separates the
 * emulator's memory from the program's: best at the end of the work, and at the
 * same point in every run. So the process stops here, before libraries are
 * torn down, which translates code that the work does not need.
 *
 * What libraries touch as they are torn down is a small network's peak where
 * malloc has kept its heap: PIBENCH_END_AT_EXIT leaves that out.
 */
static void at_exit(int status, void *unused)
{
    (void)unused;
    if (getenv("PIBENCH_STOP_AT_EXIT")) {
        kill(getpid(), SIGSTOP);
        give_back_trimmed_heap();
    }
    if (getenv("PIBENCH_END_AT_EXIT"))
        _exit(status);
}

static void watch_exit_if_wanted(void)
{
    static int is_registered;
    if (!is_registered && (getenv("PIBENCH_STOP_AT_EXIT") || getenv("PIBENCH_END_AT_EXIT")))
        on_exit(at_exit, NULL);
    is_registered = 1;
}

/* ------------------------------------------------------------------ the real library */

static void *require(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    if (!symbol) {
        dprintf(2, "memory-only BLAS: no %s behind it: is libblas.so.3 loaded?\n", name);
        abort();
    }
    return symbol;
}

static int plausible(const struct kernel_parameters *kernel)
{
    return kernel->p >= 16 && kernel->p <= 1 << 16 && kernel->q >= 16 && kernel->q <= 1 << 16 &&
           kernel->r >= 16 && kernel->unroll_m >= 1 && kernel->unroll_m <= 64 &&
           kernel->unroll_n >= 1 && kernel->unroll_n <= 64 && kernel->offset_a >= 0 &&
           kernel->offset_b >= 0 && kernel->align >= 0;
}

/*
 * At the first call, not at load: Python loads Caffe and its BLAS much later
 * than us, and with RTLD_LOCAL, where RTLD_NEXT does not look. Two threads may
 * both come through here; they write the same.
 */
static void resolve(void)
{
    void *library = dlopen("libblas.so.3", RTLD_LAZY | RTLD_NOLOAD);
    if (!library)
        library = RTLD_NEXT;
    real.gemm = (gemm_fn *)require(library, "cblas_sgemm");
    real.gemv = (gemv_fn *)require(library, "cblas_sgemv");
    real.axpy = (axpy_fn *)require(library, "cblas_saxpy");
    real.scal = (scal_fn *)require(library, "cblas_sscal");
    real.copy = (copy_fn *)require(library, "cblas_scopy");
    real.dot = (dot_fn *)require(library, "cblas_sdot");
    real.asum = (asum_fn *)require(library, "cblas_sasum");

    const struct kernel_parameters **kernel = dlsym(library, "gotoblas");
    int (*get_num_threads)(void) = (int (*)(void))dlsym(library, "openblas_get_num_threads");
    char *(*get_config)(void) = (char *(*)(void))dlsym(library, "openblas_get_config");
    const char *config = get_config ? get_config() : "";
    const char *limit = strstr(config, "MAX_THREADS=");
    if (strstr(config, "OpenBLAS 0.3.13 ") && limit && kernel && *kernel && get_num_threads &&
        plausible(*kernel)) {
        real.kernel = *kernel;
        real.threads = get_num_threads();
        real.max_threads = atoi(limit + sizeof "MAX_THREADS=" - 1);
        const char *job_table = getenv("PIBENCH_BLAS_JOB_TABLE");
        real.job_table_on_stack = job_table && !strcmp(job_table, "stack");
        real.modelled = 1;
    } else {
        dprintf(2, "memory-only BLAS: only OpenBLAS 0.3.13 is known: computing for real\n");
    }
    watch_exit_if_wanted();
    __atomic_store_n(&real.resolved, 1, __ATOMIC_RELEASE);
}

static int is_modelled(void)
{
    if (!__atomic_load_n(&real.resolved, __ATOMIC_ACQUIRE))
        resolve();
    return real.modelled;
}

static void count(long *counter, long by)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + by, __ATOMIC_RELAXED);
}

/* struct rusage of 64-bit Linux: two times of two words, then these. */
struct usage {
    long times[4], unused[4], minor_faults, others[9];
};

/* Of this program alone: for getrusage, what the parent had before the exec counts too. */
static long peak_rss_kib(void)
{
    char status[4096] = {0};
    int file = open("/proc/self/status", 0);
    if (file < 0)
        return 0;
    long size = read(file, status, sizeof status - 1);
    close(file);
    const char *line = size > 0 ? strstr(status, "VmHWM:") : NULL;
    return line ? atoi(line + strlen("VmHWM:")) : 0;
}

__attribute__((destructor)) static void report(void)
{
    const char *wanted = getenv("PIBENCH_BLAS_REPORT");
    struct usage usage = {0};
    if (!wanted || strcmp(wanted, "1"))
        return;
    getrusage(0, &usage);
    dprintf(2,
            "memory-only BLAS: threads %d gemm %ld slices %ld gemv %ld forwarded %ld vector %ld "
            "minor_faults %ld peak_rss_kib %ld\n",
            real.threads, calls.gemm, calls.gemm_slices, calls.gemv, calls.gemv_forwarded,
            calls.vector, usage.minor_faults, peak_rss_kib());
}

static long smaller(long a, long b) { return a < b ? a : b; }
static long ceil_div(long a, long b) { return (a + b - 1) / b; }
static long round_up(long a, long multiple) { return ceil_div(a, multiple) * multiple; }

/* --------------------------------------------------------- which buffer pages are touched */

/*
 * A product in OpenBLAS's own terms: column major, so that a row-major call
 * comes with its operands swapped. `sliced` restores the caller's terms.
 */
struct product {
    int order, trans_a, trans_b;
    long m, n, k;
    float alpha, beta;
    const float *a, *b;
    float *c;
    int lda, ldb, ldc;
};

/* Pages of each thread's buffer touched so far: 32 MiB each, four times what Q x R takes on a Pi. */
#define MAX_THREADS 64
#define MAX_PAGES 8192
static uint8_t touched[MAX_THREADS][MAX_PAGES];

/* Marks [from, to) bytes of a thread's buffer; true if a page of it is new. */
static int mark(long thread, long from, long to)
{
    int is_new = 0;
    if (to <= from)
        return 0;
    if (thread >= MAX_THREADS || (to - 1) / PAGE >= MAX_PAGES)
        return 1;
    for (long page = from / PAGE; page <= (to - 1) / PAGE; page++) {
        uint8_t *seen = &touched[thread][page];
        if (!__atomic_load_n(seen, __ATOMIC_RELAXED)) {
            __atomic_store_n(seen, 1, __ATOMIC_RELAXED);
            is_new = 1;
        }
    }
    return is_new;
}

/* interface/gemm.c: SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD. */
#define SINGLE_THREAD_PRODUCT 262144.0
/* driver/level3/level3_thread.c; SWITCH_RATIO is fixed at compile time in 0.3.13. */
#define SWITCH_RATIO 2
#define DIVIDE_RATE 2

struct partition {
    long threads_m, threads; /* along m, and in all */
};

static struct partition partition_of(const struct product *p)
{
    struct partition one = {1, 1}, parts;
    if (real.threads == 1 || (double)p->m * (double)p->n * (double)p->k <= SINGLE_THREAD_PRODUCT)
        return one;
    parts.threads_m = 1;
    if (p->m >= 2 * SWITCH_RATIO) {
        parts.threads_m = real.threads;
        while (p->m < parts.threads_m * SWITCH_RATIO)
            parts.threads_m /= 2;
    }
    long threads_n = 1;
    if (p->n >= SWITCH_RATIO * parts.threads_m) {
        threads_n = ceil_div(p->n, SWITCH_RATIO * parts.threads_m);
        if (parts.threads_m * threads_n > real.threads)
            threads_n = real.threads / parts.threads_m;
    }
    parts.threads = parts.threads_m * threads_n;
    return parts.threads > 1 ? parts : one;
}

/* The deepest panel that a loop over k packs, min_l in OpenBLAS. */
static long panel_depth(long k, int threaded)
{
    long q = real.kernel->q;
    if (k >= 2 * q)
        return q;
    if (k <= q)
        return k;
    return threaded ? (k + 1) / 2 : round_up(k / 2, real.kernel->unroll_m);
}

/* The tallest panel of A that a loop over m packs, min_i in OpenBLAS. */
static long panel_height(long m)
{
    long p = real.kernel->p;
    if (m >= 2 * p)
        return p;
    return m > p ? round_up(m / 2, real.kernel->unroll_m) : m;
}

static long buffer_of_b(void)
{
    const struct kernel_parameters *kernel = real.kernel;
    long panel_a = (long)kernel->p * kernel->q * (long)sizeof(float);
    return kernel->offset_a + ((panel_a + kernel->align) & ~(long)kernel->align) +
           kernel->offset_b;
}

/* level3.c packs all of B's panel, except where one panel of A holds all of A (l1stride 0). */
static long serial_width(const struct product *p)
{
    long block = 3L * real.kernel->unroll_n;
    if (p->m <= real.kernel->p)
        return smaller(p->n, block);
    return smaller(p->n, real.kernel->r);
}

/*
 * level3_thread.c allocates its job table, MAX_CPU_NUMBER squared and large, for
 * each threaded product and frees it. Hardly touched, it still moves malloc's
 * mmap threshold and splits its free memory between the blobs, which was 3.7 of
 * SqueezeNet v1.1's 42 MiB. volatile, or the compiler drops the pair.
 *
 * Up to 0.3.10 the table is on the stack (BLAS3_MEM_ALLOC_THRESHOLD in common.h
 * is 160 there, and 32 later): PIBENCH_BLAS_JOB_TABLE=stack. Only the slices
 * that the real library packs, a few in each network, still allocate it.
 */
static void allocate_job_table(long threads)
{
    enum { CACHE_LINE_SIZE = 8 };
    long job = (long)real.max_threads * CACHE_LINE_SIZE * DIVIDE_RATE * (long)sizeof(long);
    if (job <= 0 || real.job_table_on_stack)
        return;
    char *volatile table = malloc((size_t)(job * real.max_threads));
    if (!table)
        return;
    for (long offset = 0; offset < job * threads; offset += PAGE)
        *(volatile char *)(table + offset) = 0;
    free(table);
}

struct growth {
    int a, b; /* new pages under panels of A, of B */
};

static struct growth growth_of(const struct product *p, struct partition parts)
{
    const struct kernel_parameters *kernel = real.kernel;
    const long size = sizeof(float);
    struct growth growth = {0, 0};
    long base_a = kernel->offset_a, base_b = buffer_of_b();

    if (parts.threads == 1) {
        long depth = panel_depth(p->k, 0);
        growth.a = mark(0, base_a, base_a + panel_height(p->m) * depth * size);
        growth.b = mark(0, base_b, base_b + serial_width(p) * depth * size);
        return growth;
    }

    long depth = panel_depth(p->k, 1);
    long left_m = p->m, left_n = smaller(p->n, (long)kernel->r * parts.threads);
    long share_m[MAX_THREADS];
    for (long i = 0; i < parts.threads_m && i < MAX_THREADS; i++) {
        share_m[i] = ceil_div(left_m, parts.threads_m - i);
        left_m -= share_m[i];
    }
    for (long thread = 0; thread < parts.threads && thread < MAX_THREADS; thread++) {
        long height = panel_height(share_m[thread % parts.threads_m]);
        growth.a |= mark(thread, base_a, base_a + height * depth * size);

        long width = larger(ceil_div(left_n, parts.threads - thread), SWITCH_RATIO);
        width = smaller(width, left_n);
        left_n -= width;
        long part = ceil_div(width, DIVIDE_RATE);
        long stride = kernel->q * round_up(part, kernel->unroll_n) * size;
        for (long side = 0; side < DIVIDE_RATE; side++) {
            long columns = smaller(part, width - side * part);
            growth.b |= mark(thread, base_b + side * stride,
                             base_b + side * stride + columns * depth * size);
        }
    }
    return growth;
}

/* ---------------------------------------------------------------- slices for the real BLAS */

static void call_real(const struct product *p, float alpha)
{
    count(&calls.gemm_slices, 1);
    if (p->order == COL_MAJOR)
        real.gemm(COL_MAJOR, p->trans_a, p->trans_b, (int)p->m, (int)p->n, (int)p->k, alpha, p->a,
                  p->lda, p->b, p->ldb, p->beta, p->c, p->ldc);
    else
        real.gemm(ROW_MAJOR, p->trans_b, p->trans_a, (int)p->n, (int)p->m, (int)p->k, alpha, p->b,
                  p->ldb, p->a, p->lda, p->beta, p->c, p->ldc);
}

/* The least size of one dimension that keeps the product above the one-thread limit. */
static long kept_threaded(long other, long depth)
{
    return (long)(SINGLE_THREAD_PRODUCT / ((double)other * (double)depth)) + 1;
}

/*
 * Has the real library pack the panels of p that are new. Panels of A need the
 * full height but few columns of B, panels of B the full width but few rows of
 * A, hence two slices whose cost is the sum of the two and not their product.
 */
static void pack(const struct product *p, struct partition parts, struct growth growth)
{
    const struct kernel_parameters *kernel = real.kernel;
    int threaded = parts.threads > 1;
    long depth = smaller(p->k, panel_depth(p->k, threaded));
    /* The AVX-512 kernel for small products packs nothing; it is only taken for alpha = 1. */
    float alpha = p->alpha == 1.0F ? 0.5F : p->alpha;

    if ((double)p->m * (double)p->n * (double)p->k <= SINGLE_THREAD_PRODUCT) {
        call_real(p, p->alpha);
        return;
    }
    if (growth.a) {
        struct product slice = *p;
        slice.k = depth;
        slice.m = smaller(p->m, 2L * kernel->p * parts.threads_m);
        slice.n = (long)kernel->unroll_n * parts.threads;
        if (threaded)
            slice.n = larger(slice.n, kept_threaded(slice.m, depth));
        slice.n = smaller(slice.n, p->n);
        if (threaded && (double)slice.m * (double)slice.n * (double)depth <= SINGLE_THREAD_PRODUCT)
            slice.k = p->k;
        call_real(&slice, alpha);
    }
    if (growth.b) {
        struct product slice = *p;
        slice.k = depth;
        slice.n = smaller(p->n, (long)kernel->r * parts.threads);
        slice.m = (long)kernel->unroll_m * parts.threads;
        if (threaded)
            slice.m = larger(slice.m, kept_threaded(slice.n, depth));
        else if (p->m > kernel->p)
            slice.m = kernel->p + 1; /* more than one panel of A: all of B's panel is kept */
        slice.m = smaller(slice.m, p->m);
        if (threaded && (double)slice.m * (double)slice.n * (double)depth <= SINGLE_THREAD_PRODUCT)
            slice.k = p->k;
        call_real(&slice, alpha);
    }
}

/* ------------------------------------------------------------------------- the interface */

static int is_trans(int trans) { return trans == TRANS || trans == CONJ_TRANS; }

static int is_valid(const struct product *p)
{
    long rows_a = is_trans(p->trans_a) ? p->k : p->m, rows_b = is_trans(p->trans_b) ? p->n : p->k;
    return (p->order == ROW_MAJOR || p->order == COL_MAJOR) && p->trans_a >= NO_TRANS &&
           p->trans_a <= CONJ_TRANS && p->trans_b >= NO_TRANS && p->trans_b <= CONJ_TRANS &&
           p->m > 0 && p->n > 0 && p->k > 0 && p->lda >= rows_a && p->ldb >= rows_b &&
           p->ldc >= p->m;
}

EXPORT void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                        const float *a, int lda, const float *b, int ldb, float beta, float *c,
                        int ldc)
{
    struct product p = {order, trans_a, trans_b, m,   n,   k,  alpha,
                        beta,  a,       b,       c,   lda, ldb, ldc};
    if (order == ROW_MAJOR)
        p = (struct product){order, trans_b, trans_a, n, m, k, alpha, beta, b, a, c, ldb, lda, ldc};

    /* Empty and faulty products are the real library's to answer. */
    if (!is_modelled() || !is_valid(&p)) {
        real.gemm(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return;
    }
    count(&calls.gemm, 1);
    touch_matrix(p.c, p.n, p.m, p.ldc, WRITE);
    if (alpha == 0.0F)
        return;
    touch_matrix(p.a, is_trans(p.trans_a) ? p.m : p.k, is_trans(p.trans_a) ? p.k : p.m, p.lda,
                 READ);
    touch_matrix(p.b, is_trans(p.trans_b) ? p.k : p.n, is_trans(p.trans_b) ? p.n : p.k, p.ldb,
                 READ);
    struct partition parts = partition_of(&p);
    struct growth growth = growth_of(&p, parts);
    if (growth.a || growth.b)
        pack(&p, parts, growth);
    else if (parts.threads > 1)
        allocate_job_table(parts.threads);
}

/*
 * gemv copies vectors into the buffers, and its threads add up there: little,
 * and growing with either dimension. So each new largest one is computed.
 */
EXPORT void cblas_sgemv(int order, int trans, int m, int n, float alpha, const float *a, int lda,
                        const float *x, int incx, float beta, float *y, int incy)
{
    static int largest_m[2], largest_n[2];
    int stored_m = order == COL_MAJOR ? m : n, stored_n = order == COL_MAJOR ? n : m;
    int transposed = is_trans(trans) == (order == COL_MAJOR);

    int ordinary = is_modelled() && (order == ROW_MAJOR || order == COL_MAJOR) && m > 0 && n > 0 &&
                   lda >= stored_m && incx > 0 && incy > 0;
    if (ordinary)
        count(&calls.gemv, 1);
    if (!ordinary || stored_m > largest_m[transposed] || stored_n > largest_n[transposed]) {
        if (ordinary) {
            largest_m[transposed] = (int)larger(largest_m[transposed], stored_m);
            largest_n[transposed] = (int)larger(largest_n[transposed], stored_n);
            count(&calls.gemv_forwarded, 1);
        }
        real.gemv(order, trans, m, n, alpha, a, lda, x, incx, beta, y, incy);
        return;
    }
    touch_vector(y, is_trans(trans) ? n : m, incy, WRITE);
    if (alpha == 0.0F)
        return;
    touch_matrix(a, stored_n, stored_m, lda, READ);
    touch_vector(x, is_trans(trans) ? m : n, incx, READ);
}

/*
 * The vector routines have no buffer. The real one does the first few elements,
 * so that its code is mapped in, and all of a short vector.
 */
#define HEAD 64

static int is_long(int n, int incx, int incy)
{
    if (!is_modelled() || n <= HEAD || incx <= 0 || incy <= 0)
        return 0;
    count(&calls.vector, 1);
    return 1;
}

EXPORT void cblas_saxpy(int n, float alpha, const float *x, int incx, float *y, int incy)
{
    int is_cut = is_long(n, incx, incy);
    real.axpy(is_cut ? HEAD : n, alpha, x, incx, y, incy);
    if (is_cut && alpha != 0.0F) {
        touch_vector(x, n, incx, READ);
        touch_vector(y, n, incy, WRITE);
    }
}

EXPORT void cblas_sscal(int n, float alpha, float *x, int incx)
{
    int is_cut = is_long(n, incx, 1);
    real.scal(is_cut ? HEAD : n, alpha, x, incx);
    if (is_cut && alpha != 1.0F)
        touch_vector(x, n, incx, WRITE);
}

EXPORT void cblas_scopy(int n, const float *x, int incx, float *y, int incy)
{
    int is_cut = is_long(n, incx, incy);
    real.copy(is_cut ? HEAD : n, x, incx, y, incy);
    if (is_cut) {
        touch_vector(x, n, incx, READ);
        touch_vector(y, n, incy, WRITE);
    }
}

EXPORT float cblas_sdot(int n, const float *x, int incx, const float *y, int incy)
{
    int is_cut = is_long(n, incx, incy);
    if (is_cut) {
        touch_vector(x, n, incx, READ);
        touch_vector(y, n, incy, READ);
    }
    return real.dot(is_cut ? HEAD : n, x, incx, y, incy);
}

EXPORT float cblas_sasum(int n, const float *x, int incx)
{
    int is_cut = is_long(n, incx, 1);
    if (is_cut)
        touch_vector(x, n, incx, READ);
    return real.asum(is_cut ? HEAD : n, x, incx);
}
