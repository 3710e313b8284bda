/*
 * A Cortex-A53's data caches, roughly: L1 of 32 KiB in 4 ways, L2 of 512 KiB in 16, lines of
 * 64 bytes (Cortex-A53 manual, and the BCM2837 for the sizes), the line used longest ago
 * goes. Both allocate on reads and writes. There is no prefetcher, addresses are virtual, and
 * instructions do not pass through: misses are a bound, and alike from run to run.
 */
#ifndef PIBENCH_CACHE_H
#define PIBENCH_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { LINE_SHIFT = 6, L1_SETS = 128, L1_WAYS = 4, L2_SETS = 512, L2_WAYS = 16 };

/* Tags of each set, the one used last first. A tag is the line's number plus 1: 0 is empty. */
static uint64_t l1_tags[L1_SETS][L1_WAYS], l2_tags[L2_SETS][L2_WAYS];
static uint64_t l1_misses, l2_misses;

/* Whether the line was there; it is now, and first. */
static inline bool touched(uint64_t *ways, int count, uint64_t tag)
{
    int at = 0;
    while (at < count - 1 && ways[at] != tag)
        at++;
    bool there = ways[at] == tag;
    memmove(ways + 1, ways, at * sizeof *ways);
    ways[0] = tag;
    return there;
}

/* An access that straddles two lines counts for its first: QEMU splits most of them anyway. */
static inline void access_memory(uint64_t address)
{
    uint64_t line = address >> LINE_SHIFT;
    uint64_t *ways = l1_tags[line % L1_SETS];
    if (ways[0] == line + 1 || touched(ways, L1_WAYS, line + 1))
        return;
    l1_misses++;
    l2_misses += !touched(l2_tags[line % L2_SETS], L2_WAYS, line + 1);
}

#endif
