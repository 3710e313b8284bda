/*
 * Counts what an emulated program executes: a plugin for QEMU's user-mode emulator.
 *
 *   -plugin libpibench_counter.so[,cache=on][,blocks=on]
 *
 * A block of instructions is decoded once, when QEMU translates it. Each time it runs, one
 * counter goes up; what was executed is the blocks' contents times their counters. The
 * program marks stretches by a system call that no kernel has, MARK with a number: what
 * follows belongs to that stretch, until the next mark. Counters are not atomic and belong to
 * no thread: the last line says how many threads there were, and counts are good for one alone.
 *
 * When the program ends its standard output gets a line per stretch, in the order of their
 * first marks: PREFIX and an object of JSON. Nothing is written to any file. With blocks=on it gets
 * lines of BLOCK_PREFIX too: of each time that a marked stretch was left, which blocks had run in it
 * how often, and then of each such block its address and its words.
 */
#define _POSIX_C_SOURCE 200809L  /* open_memstream */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "a64.h"
#include "cache.h"
#include "plugin_api.h"

EXPORTED int qemu_plugin_version = API;
EXPORTED int qemu_plugin_install(qemu_plugin_id_t, const qemu_info_t *, int, char **);

#define PREFIX "PIBENCH-COUNT "
#define BLOCK_PREFIX "PIBENCH-BLOCK "
enum { MARK = 0x70696265, MAX_BLOCKS = 1 << 20, MAX_STRETCHES = 1 << 16 };

static const uint64_t OUTSIDE = UINT64_MAX;

struct counts {
    uint64_t instructions[CLASSES], macs, bytes_loaded, bytes_stored, l1_misses, l2_misses;
};

struct block {
    struct counts once;
    uint64_t runs, runs_summed, address;
    uint32_t *words;
    size_t length;
    bool reported;
};

static struct block *blocks;
static size_t block_count, stretch_count, current;
static uint64_t stretch_marks[MAX_STRETCHES];
static struct counts *stretches;
static uint64_t l1_misses_summed, l2_misses_summed;
static unsigned threads;
/* Written when the program has ended: its own output would get into the lines. */
static FILE *runs_text;
static char *runs_of_marks;
static size_t runs_length;
static bool with_cache, with_blocks, full;

#if API >= 2
static struct qemu_plugin_scoreboard *scores;
#endif

static uint64_t runs_of(size_t index)
{
#if API >= 2
    return ((uint64_t *)qemu_plugin_scoreboard_find(scores, 0))[index];
#else
    return blocks[index].runs;
#endif
}

static void count_runs(struct qemu_plugin_tb *tb, size_t index)
{
#if API >= 2
    qemu_plugin_u64 entry = {scores, index * sizeof(uint64_t)};
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64, entry, 1);
#else
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64,
                                             &blocks[index].runs, 1);
#endif
}

static uint32_t word_of(const struct qemu_plugin_insn *instruction)
{
    uint32_t word = 0;
#if API >= 3
    qemu_plugin_insn_data(instruction, &word, sizeof word);
#else
    memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
#endif
    return word;
}

static void loaded(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *userdata)
{
    (void)vcpu, (void)info, (void)userdata;
    load_from(address);
}

static void stored(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *userdata)
{
    (void)vcpu, (void)userdata;
    store_to(address, 1u << qemu_plugin_mem_size_shift(info));
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    if (block_count == MAX_BLOCKS) {
        full = true;
        return;
    }
    struct block *block = &blocks[block_count];
    struct counts *once = &block->once;
    if (with_blocks) {
        block->length = qemu_plugin_tb_n_insns(tb);
        block->address = qemu_plugin_tb_vaddr(tb);
        block->words = calloc(block->length, sizeof *block->words);
        full |= !block->words;
    }
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, i);
        uint32_t word = word_of(instruction);
        struct decoded found = decode(word);
        if (block->words)
            block->words[i] = word;
        once->instructions[found.class]++;
        once->macs += found.lanes;
        *(found.class == LOAD ? &once->bytes_loaded : &once->bytes_stored) += found.bytes;
        if (with_cache && (found.class == LOAD || found.class == STORE))
            qemu_plugin_register_vcpu_mem_cb(instruction, found.class == LOAD ? loaded : stored,
                                             QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
    }
    count_runs(tb, block_count++);
}

/* Give the current stretch all that ran since this was last called. */
static void sum_up(void)
{
    struct counts *sum = &stretches[current];
    bool reported = with_blocks && stretch_marks[current] != OUTSIDE;
    if (reported)
        fprintf(runs_text, BLOCK_PREFIX "{\"mark\": %lld, \"runs\": [[0, 0]",
                (long long)stretch_marks[current]);
    for (size_t i = 0; i < block_count; i++) {
        uint64_t runs = runs_of(i) - blocks[i].runs_summed;
        if (!runs)
            continue;
        const struct counts *once = &blocks[i].once;
        for (int class = 0; class < CLASSES; class++)
            sum->instructions[class] += runs * once->instructions[class];
        sum->macs += runs * once->macs;
        sum->bytes_loaded += runs * once->bytes_loaded;
        sum->bytes_stored += runs * once->bytes_stored;
        blocks[i].runs_summed += runs;
        if (reported) {
            blocks[i].reported = true;
            fprintf(runs_text, ", [%zu, %llu]", i, (unsigned long long)runs);
        }
    }
    if (reported)
        fprintf(runs_text, "]}\n");
    sum->l1_misses += l1_misses - l1_misses_summed;
    sum->l2_misses += l2_misses - l2_misses_summed;
    l1_misses_summed = l1_misses;
    l2_misses_summed = l2_misses;
}

static void enter(uint64_t mark)
{
    for (current = 0; current < stretch_count; current++)
        if (stretch_marks[current] == mark)
            return;
    if (stretch_count == MAX_STRETCHES) {
        full = true;
        current = 0;
        return;
    }
    stretch_marks[stretch_count++] = mark;
}

static void system_called(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t mark,
                          uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                          uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != MARK)
        return;
    sum_up();
    enter(mark);
}

static void thread_started(qemu_plugin_id_t id, unsigned int vcpu)
{
    (void)id, (void)vcpu;
    threads++;
}

static void write_stretch(uint64_t mark, const struct counts *sum)
{
    static const char *const names[CLASSES] = {
        [MAC] = "mac_instructions", [SIMD] = "simd_instructions", [LOAD] = "load_instructions",
        [STORE] = "store_instructions", [BRANCH] = "branch_instructions",
        [OTHER] = "other_instructions",
    };
    printf(PREFIX "{\"mark\": %lld", (long long)mark);
    for (int class = 0; class < CLASSES; class++)
        printf(", \"%s\": %llu", names[class], (unsigned long long)sum->instructions[class]);
    printf(", \"macs\": %llu, \"bytes_loaded\": %llu, \"bytes_stored\": %llu",
            (unsigned long long)sum->macs, (unsigned long long)sum->bytes_loaded,
            (unsigned long long)sum->bytes_stored);
    if (with_cache)
        printf(", \"l1_misses\": %llu, \"l2_misses\": %llu",
                (unsigned long long)sum->l1_misses, (unsigned long long)sum->l2_misses);
    printf("}\n");
}

static void write_block(size_t index)
{
    printf(BLOCK_PREFIX "{\"block\": %zu, \"address\": %llu, \"words\": \"", index,
           (unsigned long long)blocks[index].address);
    for (size_t i = 0; i < blocks[index].length; i++)
        printf("%08x", blocks[index].words[i]);
    printf("\"}\n");
}

static void ended(qemu_plugin_id_t id, void *userdata)
{
    (void)id, (void)userdata;
    sum_up();
    for (size_t i = 0; i < stretch_count; i++)
        write_stretch(stretch_marks[i], &stretches[i]);
    if (runs_text) {
        fclose(runs_text);
        fputs(runs_of_marks, stdout);
    }
    for (size_t i = 0; i < block_count; i++)
        if (blocks[i].reported)
            write_block(i);
    printf(PREFIX "{\"threads\": %u, \"blocks\": %zu, \"full\": %s}\n", threads, block_count,
            full ? "true" : "false");
    fflush(stdout);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        bool *option = !strcmp(argv[i], "cache=on") ? &with_cache
                     : !strcmp(argv[i], "blocks=on") ? &with_blocks : NULL;
        if (!option) {
            fprintf(stderr, "pibench counter: unknown option %s\n", argv[i]);
            return -1;
        }
        *option = true;
    }
    if (strcmp(info->target_name, "aarch64")) {
        fprintf(stderr, "pibench counter: counts aarch64 programs, not %s\n", info->target_name);
        return -1;
    }
    blocks = calloc(MAX_BLOCKS, sizeof *blocks);
    stretches = calloc(MAX_STRETCHES, sizeof *stretches);
    if (with_blocks)
        runs_text = open_memstream(&runs_of_marks, &runs_length);
    if (!blocks || !stretches || (with_blocks && !runs_text))
        return -1;
#if API >= 2
    scores = qemu_plugin_scoreboard_new(MAX_BLOCKS * sizeof(uint64_t));
#endif
    /* What comes before the first mark. */
    enter(OUTSIDE);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_init_cb(id, thread_started);
    qemu_plugin_register_vcpu_syscall_cb(id, system_called);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
