/*
 * Stand-ins for Caffe's own loops: they touch the memory and compute next to nothing.
 *
 * The second tier of memory-only compute; memory_only_blas.c is the first. With
 * the products gone, Caffe's own loops take most of a run: im2col, the vector
 * functions, ReLU, pooling, random weights. libcaffe calls all of them through
 * its PLT or its vtables, by symbols that a preloaded library may define. This
 * library defines those of single precision.
 *
 * The rules, which README.md lists with the functions:
 * - Few numbers are computed for real. Labels, indices and selectors are few,
 *   and what Caffe does may depend on them.
 * - Of many numbers the real function gets the first few. Its code is then
 *   mapped in, and its side effects happen. The rest is touched, one byte in
 *   each page: reads where the loop reads, writes where it writes.
 * - A layer's real method runs on blobs that are small for the time of the
 *   call. So it asks for data and diffs in its own order, which allocates
 *   them, and touches what only it knows of, such as the mask of a pooling
 *   layer.
 *
 * The layout of a blob and the meaning of the symbols are those of Caffe 1.0.
 * pibench compares page faults and peaks with those of the real loops when it
 * builds this library (pibench/images/loops_check.py).
 */
#include <stddef.h>
#include <stdint.h>

#include "page_touch.h"

/* Prototypes instead of libc's headers: a bare cross compiler will do. */
void *dlopen(const char *file, int mode);
void *dlsym(void *handle, const char *name);
char *getenv(const char *name);
int strcmp(const char *a, const char *b);
size_t strlen(const char *text);
long write(int fd, const void *bytes, size_t size);
int dprintf(int fd, const char *format, ...);
void abort(void) __attribute__((noreturn));

#define RTLD_NEXT ((void *)-1L)
#define RTLD_LAZY 1
#define RTLD_NOLOAD 4

/* A C function under the name of a C++ one (Itanium C++ ABI, "Mangling"). */
#define STANDS_IN_FOR(symbol) __asm__(symbol) __attribute__((visibility("default")))

/* Up to this many numbers, everything is computed; of more, the first HEAD are. */
enum { FEW = 1024, HEAD = 64 };

/* ---------------------------------------------------------------------- the real functions */

/* Calls of stand-ins, and those that went to the real function; for PIBENCH_BLAS_REPORT. */
static struct {
    long vector, im2col, layer, filler, forwarded;
} calls;

static const char *wanted_report(void)
{
    const char *wanted = getenv("PIBENCH_BLAS_REPORT");
    return wanted ? wanted : "";
}

/*
 * Written with one system call: what is resident must not depend on whether a
 * report is wanted.
 */
static void report_start(void)
{
    static const char line[] = "memory-only loops: in effect\n";
    static int is_reported;
    if (is_reported)
        return;
    is_reported = 1;
    if (!strcmp(wanted_report(), "start") && write(2, line, strlen(line)) < 0)
        return; /* Nobody reads the messages: the same as without a report. */
}

/*
 * The function that a stand-in replaces; looked up at the first call of each.
 *
 * Caffe's program has libcaffe among its own libraries. To open it once more
 * would allocate the list of all its libraries, a block that stays and splits
 * free memory: 0.6 MiB in 1.0-SqNxt-23. Python loads it later than us, and with
 * RTLD_LOCAL, where RTLD_NEXT does not look.
 */
static void *real(void **known, const char *symbol)
{
    if (*known)
        return *known;
    report_start();
    void *found = dlsym(RTLD_NEXT, symbol);
    if (!found) {
        void *caffe = dlopen("libcaffe.so.1.0.0", RTLD_LAZY | RTLD_NOLOAD);
        found = caffe ? dlsym(caffe, symbol) : NULL;
    }
    if (!found) {
        dprintf(2, "memory-only loops: no %s behind them: is libcaffe.so.1.0.0 loaded?\n", symbol);
        abort();
    }
    return *known = found;
}

#define REAL(type, symbol)                                                                         \
    static void *known;                                                                            \
    type *real_one = (type *)real(&known, symbol)

__attribute__((destructor)) static void report(void)
{
    if (strcmp(wanted_report(), "1"))
        return;
    dprintf(2, "memory-only loops: vector %ld im2col %ld layer %ld filler %ld forwarded %ld\n",
            calls.vector, calls.im2col, calls.layer, calls.filler, calls.forwarded);
}

/* Whether n numbers are too few to stand in for. */
static int are_few(long n)
{
    if (n <= FEW) {
        calls.forwarded++;
        return 1;
    }
    return 0;
}

/* ------------------------------------------------------------------------ vector functions */

typedef void unary_fn(int n, const float *a, float *y);
typedef void binary_fn(int n, const float *a, const float *b, float *y);
typedef void power_fn(int n, const float *a, float b, float *y);
typedef void set_fn(int n, float value, float *y);
typedef void set_int_fn(int n, int value, int *y);
typedef void random_fn(int n, float a, float b, float *y);
typedef void bernoulli_fn(int n, float p, int *y);

#define HEAD_OF(n) (are_few(n) ? (n) : (calls.vector++, HEAD))

#define UNARY(name, symbol)                                                                        \
    void name(int n, const float *a, float *y) STANDS_IN_FOR(symbol);                              \
    void name(int n, const float *a, float *y)                                                     \
    {                                                                                              \
        REAL(unary_fn, symbol);                                                                    \
        int head = HEAD_OF(n);                                                                     \
        real_one(head, a, y);                                                                      \
        if (head < n) {                                                                            \
            touch_vector(a, n, 1, READ);                                                           \
            touch_vector(y, n, 1, WRITE);                                                          \
        }                                                                                          \
    }

UNARY(caffe_sqr, "_ZN5caffe9caffe_sqrIfEEviPKT_PS1_")
UNARY(caffe_exp, "_ZN5caffe9caffe_expIfEEviPKT_PS1_")
UNARY(caffe_log, "_ZN5caffe9caffe_logIfEEviPKT_PS1_")
UNARY(caffe_abs, "_ZN5caffe9caffe_absIfEEviPKT_PS1_")
UNARY(caffe_sqrt, "_ZN5caffe10caffe_sqrtIfEEviPKT_PS1_")

#define BINARY(name, symbol)                                                                       \
    void name(int n, const float *a, const float *b, float *y) STANDS_IN_FOR(symbol);              \
    void name(int n, const float *a, const float *b, float *y)                                     \
    {                                                                                              \
        REAL(binary_fn, symbol);                                                                   \
        int head = HEAD_OF(n);                                                                     \
        real_one(head, a, b, y);                                                                   \
        if (head < n) {                                                                            \
            touch_vector(a, n, 1, READ);                                                           \
            touch_vector(b, n, 1, READ);                                                           \
            touch_vector(y, n, 1, WRITE);                                                          \
        }                                                                                          \
    }

BINARY(caffe_add, "_ZN5caffe9caffe_addIfEEviPKT_S3_PS1_")
BINARY(caffe_sub, "_ZN5caffe9caffe_subIfEEviPKT_S3_PS1_")
BINARY(caffe_mul, "_ZN5caffe9caffe_mulIfEEviPKT_S3_PS1_")
BINARY(caffe_div, "_ZN5caffe9caffe_divIfEEviPKT_S3_PS1_")

/* A copy onto itself copies nothing, and Caffe checks for it: a blob shared in place. */
#define COPY "_ZN5caffe10caffe_copyIfEEviPKT_PS1_"
void caffe_copy(int n, const float *x, float *y) STANDS_IN_FOR(COPY);
void caffe_copy(int n, const float *x, float *y)
{
    REAL(unary_fn, COPY);
    int head = HEAD_OF(n);
    real_one(head, x, y);
    if (head < n && x != y) {
        touch_vector(x, n, 1, READ);
        touch_vector(y, n, 1, WRITE);
    }
}

#define POWX "_ZN5caffe10caffe_powxIfEEviPKT_S1_PS1_"
void caffe_powx(int n, const float *a, float b, float *y) STANDS_IN_FOR(POWX);
void caffe_powx(int n, const float *a, float b, float *y)
{
    REAL(power_fn, POWX);
    int head = HEAD_OF(n);
    real_one(head, a, b, y);
    if (head < n) {
        touch_vector(a, n, 1, READ);
        touch_vector(y, n, 1, WRITE);
    }
}

#define SET "_ZN5caffe9caffe_setIfEEviT_PS1_"
void caffe_set(int n, float value, float *y) STANDS_IN_FOR(SET);
void caffe_set(int n, float value, float *y)
{
    REAL(set_fn, SET);
    int head = HEAD_OF(n);
    real_one(head, value, y);
    if (head < n)
        touch_vector(y, n, 1, WRITE);
}

/* The mask of a pooling layer. */
#define SET_INT "_ZN5caffe9caffe_setIiEEviT_PS1_"
void caffe_set_int(int n, int value, int *y) STANDS_IN_FOR(SET_INT);
void caffe_set_int(int n, int value, int *y)
{
    REAL(set_int_fn, SET_INT);
    int head = HEAD_OF(n);
    real_one(head, value, y);
    if (head < n)
        touch_vector(y, n, 1, WRITE);
}

#define ADD_SCALAR "_ZN5caffe16caffe_add_scalarIfEEviT_PS1_"
void caffe_add_scalar(int n, float value, float *y) STANDS_IN_FOR(ADD_SCALAR);
void caffe_add_scalar(int n, float value, float *y)
{
    REAL(set_fn, ADD_SCALAR);
    int head = HEAD_OF(n);
    real_one(head, value, y);
    if (head < n)
        touch_vector(y, n, 1, WRITE);
}

/* Random weights. The real one also makes the generator, at its first call. */
#define RANDOM(name, symbol)                                                                       \
    void name(int n, float a, float b, float *y) STANDS_IN_FOR(symbol);                            \
    void name(int n, float a, float b, float *y)                                                   \
    {                                                                                              \
        REAL(random_fn, symbol);                                                                   \
        int head = HEAD_OF(n);                                                                     \
        real_one(head, a, b, y);                                                                   \
        if (head < n)                                                                              \
            touch_vector(y, n, 1, WRITE);                                                          \
    }

RANDOM(caffe_rng_uniform, "_ZN5caffe17caffe_rng_uniformIfEEviT_S1_PS1_")
RANDOM(caffe_rng_gaussian, "_ZN5caffe18caffe_rng_gaussianIfEEviT_S1_PS1_")

/* The mask of a dropout layer, and of weights that are sparse. */
#define BERNOULLI(name, symbol)                                                                    \
    void name(int n, float p, int *y) STANDS_IN_FOR(symbol);                                       \
    void name(int n, float p, int *y)                                                              \
    {                                                                                              \
        REAL(bernoulli_fn, symbol);                                                                \
        int head = HEAD_OF(n);                                                                     \
        real_one(head, p, y);                                                                      \
        if (head < n)                                                                              \
            touch_vector(y, n, 1, WRITE);                                                          \
    }

BERNOULLI(caffe_rng_bernoulli, "_ZN5caffe19caffe_rng_bernoulliIfEEviT_Pi")
BERNOULLI(caffe_rng_bernoulli_unsigned, "_ZN5caffe19caffe_rng_bernoulliIfEEviT_Pj")

/* ------------------------------------------------------------------------ im2col and col2im */

typedef void im2col_fn(const float *image, int channels, int height, int width, int kernel_h,
                       int kernel_w, int pad_h, int pad_w, int stride_h, int stride_w,
                       int dilation_h, int dilation_w, float *columns);
typedef void col2im_fn(const float *columns, int channels, int height, int width, int kernel_h,
                       int kernel_w, int pad_h, int pad_w, int stride_h, int stride_w,
                       int dilation_h, int dilation_w, float *image);

/* Positions of a kernel along one axis (src/caffe/util/im2col.cpp: output_h, output_w). */
static long positions(long size, long kernel, long pad, long stride, long dilation)
{
    long span = dilation * (kernel - 1) + 1;
    return stride > 0 ? (size + 2 * pad - span) / stride + 1 : 0;
}

/* The numbers in the column buffer; 0 where there are too few to stand in for. */
static long columns_of(long channels, long height, long width, long kernel_h, long kernel_w,
                       long pad_h, long pad_w, long stride_h, long stride_w, long dilation_h,
                       long dilation_w)
{
    long rows = positions(height, kernel_h, pad_h, stride_h, dilation_h);
    long columns = positions(width, kernel_w, pad_w, stride_w, dilation_w);
    long count = channels * kernel_h * kernel_w * rows * columns;
    if (rows <= 0 || columns <= 0 || are_few(count))
        return 0;
    calls.im2col++;
    return count;
}

#define IM2COL "_ZN5caffe10im2col_cpuIfEEvPKT_iiiiiiiiiiiPS1_"
im2col_fn im2col_cpu STANDS_IN_FOR(IM2COL);
void im2col_cpu(const float *image, int channels, int height, int width, int kernel_h,
                int kernel_w, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,
                int dilation_w, float *columns)
{
    static int is_mapped;
    REAL(im2col_fn, IM2COL);
    long count = columns_of(channels, height, width, kernel_h, kernel_w, pad_h, pad_w, stride_h,
                            stride_w, dilation_h, dilation_w);
    if (!count) {
        real_one(image, channels, height, width, kernel_h, kernel_w, pad_h, pad_w, stride_h,
                 stride_w, dilation_h, dilation_w, columns);
        return;
    }
    if (!is_mapped) {
        float pixel = 0, column = 0;
        real_one(&pixel, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, &column);
        is_mapped = 1;
    }
    touch_vector(image, (long)channels * height * width, 1, READ);
    touch_vector(columns, count, 1, WRITE);
}

#define COL2IM "_ZN5caffe10col2im_cpuIfEEvPKT_iiiiiiiiiiiPS1_"
col2im_fn col2im_cpu STANDS_IN_FOR(COL2IM);
void col2im_cpu(const float *columns, int channels, int height, int width, int kernel_h,
                int kernel_w, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,
                int dilation_w, float *image)
{
    static int is_mapped;
    REAL(col2im_fn, COL2IM);
    long count = columns_of(channels, height, width, kernel_h, kernel_w, pad_h, pad_w, stride_h,
                            stride_w, dilation_h, dilation_w);
    if (!count) {
        real_one(columns, channels, height, width, kernel_h, kernel_w, pad_h, pad_w, stride_h,
                 stride_w, dilation_h, dilation_w, image);
        return;
    }
    if (!is_mapped) {
        float pixel = 0, column = 0;
        real_one(&column, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, &pixel);
        is_mapped = 1;
    }
    touch_vector(columns, count, 1, READ);
    touch_vector(image, (long)channels * height * width, 1, WRITE);
}

/* ----------------------------------------------------------------------------------- layers */

/* The head of caffe::Blob (include/caffe/blob.hpp), with boost's and libstdc++'s members. */
struct shared_ptr {
    void *object, *counts;
};

struct blob {
    struct shared_ptr data, diff, shape_data;
    struct {
        int *begin, *end, *capacity;
    } shape;
    int count, capacity;
};

/* std::vector<Blob<float> *>. */
struct blobs {
    struct blob **begin, **end, **capacity;
};

/* std::vector<bool>: the first flag is the lowest bit. */
struct flags {
    const unsigned long *begin;
};

typedef const float *data_fn(const struct blob *blob);
typedef float *mutable_data_fn(struct blob *blob);
typedef void forward_fn(void *layer, const struct blobs *bottom, const struct blobs *top);
typedef void backward_fn(void *layer, const struct blobs *top, const struct flags *down,
                         const struct blobs *bottom);
typedef void fill_fn(void *filler, struct blob *blob);

static void read_data(const struct blob *blob)
{
    REAL(data_fn, "_ZNK5caffe4BlobIfE8cpu_dataEv");
    touch_vector(real_one(blob), blob->count, 1, READ);
}

static void read_diff(const struct blob *blob)
{
    REAL(data_fn, "_ZNK5caffe4BlobIfE8cpu_diffEv");
    touch_vector(real_one(blob), blob->count, 1, READ);
}

static void write_data(struct blob *blob)
{
    REAL(mutable_data_fn, "_ZN5caffe4BlobIfE16mutable_cpu_dataEv");
    touch_vector(real_one(blob), blob->count, 1, WRITE);
}

static void write_diff(struct blob *blob)
{
    REAL(mutable_data_fn, "_ZN5caffe4BlobIfE16mutable_cpu_diffEv");
    touch_vector(real_one(blob), blob->count, 1, WRITE);
}

/*
 * Whether a blob is large and is what this file takes it for: its count is the
 * product of its shape. Another class layout would hardly pass.
 */
static int is_large(const struct blob *blob)
{
    long axes = blob->shape.end - blob->shape.begin, count = 1;
    if (axes < 1 || axes > 32 || blob->count > blob->capacity || are_few(blob->count))
        return 0;
    for (long axis = 0; axis < axes; axis++)
        count *= blob->shape.begin[axis];
    if (count != blob->count) {
        calls.forwarded++;
        return 0;
    }
    return 1;
}

static int is_first_set(const struct flags *down) { return (int)(down->begin[0] & 1); }

/* ReLU loops over as many numbers as its bottom counts. */
#define RELU_FORWARD                                                                               \
    "_ZN5caffe9ReLULayerIfE11Forward_cpuERKSt6vectorIPNS_4BlobIfEESaIS5_EES9_"
forward_fn relu_forward STANDS_IN_FOR(RELU_FORWARD);
void relu_forward(void *layer, const struct blobs *bottom, const struct blobs *top)
{
    REAL(forward_fn, RELU_FORWARD);
    struct blob *below = bottom->begin[0];
    int count = below->count, is_cut = is_large(below);
    if (is_cut)
        below->count = HEAD;
    real_one(layer, bottom, top);
    below->count = count;
    if (!is_cut)
        return;
    calls.layer++;
    read_data(below);
    write_data(top->begin[0]);
}

#define RELU_BACKWARD                                                                              \
    "_ZN5caffe9ReLULayerIfE12Backward_cpuERKSt6vectorIPNS_4BlobIfEESaIS5_EERKS2_IbSaIbEES9_"
backward_fn relu_backward STANDS_IN_FOR(RELU_BACKWARD);
void relu_backward(void *layer, const struct blobs *top, const struct flags *down,
                   const struct blobs *bottom)
{
    REAL(backward_fn, RELU_BACKWARD);
    struct blob *below = bottom->begin[0];
    int count = below->count, is_cut = is_first_set(down) && is_large(below);
    if (is_cut)
        below->count = HEAD;
    real_one(layer, top, down, bottom);
    below->count = count;
    if (!is_cut)
        return;
    calls.layer++;
    read_data(below);
    read_diff(top->begin[0]);
    write_diff(below);
}

/*
 * Pooling loops over the images of its bottom, and of its top on the way back.
 * With none it still sets its top, its mask and its bottom's diff, as before
 * its loops: all of the pages, by caffe_set or for real.
 */
#define POOLING_FORWARD                                                                            \
    "_ZN5caffe12PoolingLayerIfE11Forward_cpuERKSt6vectorIPNS_4BlobIfEESaIS5_EES9_"
forward_fn pooling_forward STANDS_IN_FOR(POOLING_FORWARD);
void pooling_forward(void *layer, const struct blobs *bottom, const struct blobs *top)
{
    REAL(forward_fn, POOLING_FORWARD);
    struct blob *below = bottom->begin[0];
    if (!is_large(below)) {
        real_one(layer, bottom, top);
        return;
    }
    calls.layer++;
    int images = below->shape.begin[0];
    below->shape.begin[0] = 0;
    real_one(layer, bottom, top);
    below->shape.begin[0] = images;
    read_data(below);
}

#define POOLING_BACKWARD                                                                           \
    "_ZN5caffe12PoolingLayerIfE12Backward_cpuERKSt6vectorIPNS_4BlobIfEESaIS5_EERKS2_IbSaIbEES9_"
backward_fn pooling_backward STANDS_IN_FOR(POOLING_BACKWARD);
void pooling_backward(void *layer, const struct blobs *top, const struct flags *down,
                      const struct blobs *bottom)
{
    REAL(backward_fn, POOLING_BACKWARD);
    struct blob *above = top->begin[0];
    if (!is_first_set(down) || !is_large(bottom->begin[0]) || above->shape.begin == above->shape.end) {
        real_one(layer, top, down, bottom);
        return;
    }
    calls.layer++;
    int images = above->shape.begin[0];
    above->shape.begin[0] = 0;
    real_one(layer, top, down, bottom);
    above->shape.begin[0] = images;
    read_diff(above);
}

#define CONSTANT_FILLER "_ZN5caffe14ConstantFillerIfE4FillEPNS_4BlobIfEE"
fill_fn constant_fill STANDS_IN_FOR(CONSTANT_FILLER);
void constant_fill(void *filler, struct blob *blob)
{
    REAL(fill_fn, CONSTANT_FILLER);
    int count = blob->count, is_cut = is_large(blob);
    if (is_cut)
        blob->count = HEAD;
    real_one(filler, blob);
    blob->count = count;
    if (!is_cut)
        return;
    calls.filler++;
    write_data(blob);
}
