/*
 * A Cortex-A53's data caches, roughly (Cortex-A53 manual, ARM DDI 0500, and the BCM2837 for the
 * sizes): L1 of 32 KiB in 4 ways, L2 of 512 KiB, lines of 64 bytes, the line used longest ago
 * goes. Both allocate on reads and on writes, until a run of whole lines is written: from the 4th
 * on they bypass L1, from the 16th on L2 too ("read allocate mode", and CPUACTLR_EL1's
 * L1RADIS and RADIS at reset).
 *
 * L2 has 16 ways, and here as many as lines: which lines collide in it depends on the frames
 * that the kernel happens to hand out, and on how far apart the rows lie that the counted BLAS
 * copies together. Neither is the board's. What is left are misses for want of room, alike
 * wherever memory lies.
 *
 * Left out: that L1 replaces at random, the prefetcher, and DC ZVA, whose address QEMU does not
 * tell. Instructions do not pass through.
 */
#ifndef PIBENCH_CACHE_H
#define PIBENCH_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { LINE_SHIFT = 6, L1_SETS = 128, L1_WAYS = 4, L2_LINES = 8192 };
enum { LINE_BYTES = 1 << LINE_SHIFT, BUCKET_BITS = 14, BUCKETS = 1 << BUCKET_BITS };
enum { NOT_INTO_L1 = 4, NOT_INTO_L2 = 16 };

/* A tag is the line's number plus 1: 0 is empty. */
static uint64_t l1_tags[L1_SETS][L1_WAYS];
static uint64_t l1_misses, l2_misses;

/* A line of L2: in the ring of all lines by use, and in the list of its bucket. 0 is no line. */
struct l2_line {
    uint64_t tag;
    uint16_t newer, older, next;
};

/* The first is the ring's head: `newer` is the line used longest ago, `older` the one used last. */
static struct l2_line l2_lines[L2_LINES + 1];
static uint16_t l2_buckets[BUCKETS], l2_taken;

/* The line that stores are filling, how much of it, and whole ones in a row before it. */
static uint64_t filling;
static unsigned filled_bytes, whole_lines;

/* Whether L1 had the line. If so, or if it is to be allocated, it is now the first of its set. */
static inline bool l1_touched(uint64_t line, bool allocate)
{
    uint64_t *ways = l1_tags[line % L1_SETS], tag = line + 1;
    if (ways[0] == tag)
        return true;
    int at = 1;
    while (at < L1_WAYS - 1 && ways[at] != tag)
        at++;
    bool there = ways[at] == tag;
    if (!there && !allocate)
        return false;
    memmove(ways + 1, ways, at * sizeof *ways);
    ways[0] = tag;
    return there;
}

/* Fibonacci hashing: neighbours and equal distances spread alike. */
static inline uint16_t *l2_bucket(uint64_t tag)
{
    return &l2_buckets[tag * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BUCKET_BITS)];
}

static inline void l2_take_out(uint16_t index)
{
    l2_lines[l2_lines[index].newer].older = l2_lines[index].older;
    l2_lines[l2_lines[index].older].newer = l2_lines[index].newer;
}

static inline void l2_put_last_used(uint16_t index)
{
    l2_lines[index].newer = 0;
    l2_lines[index].older = l2_lines[0].older;
    l2_lines[l2_lines[0].older].newer = index;
    l2_lines[0].older = index;
}

/* A line that is free, or that of the tag used longest ago. */
static inline uint16_t l2_room(void)
{
    if (l2_taken < L2_LINES)
        return ++l2_taken;
    uint16_t index = l2_lines[0].newer, *link = l2_bucket(l2_lines[index].tag);
    while (*link != index)
        link = &l2_lines[*link].next;
    *link = l2_lines[index].next;
    l2_take_out(index);
    return index;
}

/* Whether L2 had the line. If so, or if it is to be allocated, it is now the one used last. */
static inline bool l2_touched(uint64_t line, bool allocate)
{
    uint64_t tag = line + 1;
    uint16_t *first = l2_bucket(tag), index = *first;
    while (index && l2_lines[index].tag != tag)
        index = l2_lines[index].next;
    bool there = index;
    if (there) {
        l2_take_out(index);
    } else if (!allocate) {
        return false;
    } else {
        index = l2_room();
        l2_lines[index].tag = tag;
        /* Read now: making room may have changed the bucket's first. */
        l2_lines[index].next = *first;
        *first = index;
    }
    l2_put_last_used(index);
    return there;
}

/* An access that straddles two lines counts for its first: QEMU splits most of them anyway. */
static inline void load_from(uint64_t address)
{
    uint64_t line = address >> LINE_SHIFT;
    if (line + 1 == filling)
        filling = whole_lines = 0;
    if (l1_touched(line, true))
        return;
    l1_misses++;
    l2_misses += !l2_touched(line, true);
}

static inline void store_to(uint64_t address, unsigned bytes)
{
    uint64_t line = address >> LINE_SHIFT;
    if (line + 1 == filling) {
        filled_bytes += bytes;
        return;
    }
    if (l1_touched(line, false))
        return;
    whole_lines = filling && filled_bytes >= LINE_BYTES ? whole_lines + 1 : 0;
    filling = line + 1;
    filled_bytes = bytes;
    if (whole_lines + 1 < NOT_INTO_L1)
        l1_touched(line, true);
    l1_misses++;
    l2_misses += !l2_touched(line, whole_lines + 1 < NOT_INTO_L2);
}

#endif
