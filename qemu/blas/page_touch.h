/*
 * Touches of memory in place of arithmetic: one byte in each page of an operand.
 */
#ifndef PAGE_TOUCH_H
#define PAGE_TOUCH_H

#include <stdint.h>

/* The smallest page of the kernels we run on: with larger ones we touch more often than needed. */
#define PAGE 4096L

enum access { READ, WRITE };

static inline long larger(long a, long b) { return a > b ? a : b; }

/*
 * The first byte of a float or an int, volatile, or the compiler drops the access.
 *
 * A result is not read first: a fresh page would then be mapped twice, once as
 * the kernel's page of zeros, once to be written. On a little-endian machine
 * the byte is the lowest one of the mantissa, so a number stays finite.
 */
static inline void touch(const void *number, enum access access)
{
    if (access == WRITE)
        *(volatile char *)(uintptr_t)number = 0;
    else
        (void)*(const volatile char *)number;
}

/* One number in each page of n numbers of four bytes, inc (1 or more) apart. */
static inline void touch_vector(const void *x, long n, long inc, enum access access)
{
    const uint32_t *number = x;
    if (n <= 0)
        return;
    long step = larger(PAGE / (inc * (long)sizeof *number), 1);
    for (long i = 0; i < n; i += step)
        touch(number + i * inc, access);
    touch(number + (n - 1) * inc, access);
}

/* One number in each page of `lines` runs of `length` floats, ld apart. */
static inline void touch_matrix(const float *x, long lines, long length, long ld,
                                enum access access)
{
    if (lines <= 0 || length <= 0)
        return;
    if (ld == length) {
        touch_vector(x, lines * length, 1, access);
        return;
    }
    for (long line = 0; line < lines; line++)
        touch_vector(x + line * ld, length, 1, access);
}

#endif
