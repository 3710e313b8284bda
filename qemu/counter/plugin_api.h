/*
 * The part of QEMU's interface for TCG plugins that the counter uses.
 *
 * Debian ships no header for it. Names, types and numbers are QEMU's own, as its documentation
 * of the interface gives them (docs/devel/tcg-plugins.rst). API is the version that the QEMU
 * to be used speaks: 1 up to QEMU 8.2; 2 to 4 from QEMU 9.0 on, where inline operations work on a
 * scoreboard, and from version 3 on instructions are copied out.
 */
#ifndef PIBENCH_PLUGIN_API_H
#define PIBENCH_PLUGIN_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef API
#error "define API, the version of the plugin interface"
#endif

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;

typedef struct {
    const char *target_name;
    struct {
        int min;
        int cur;
    } version;
    bool system_emulation;
    struct {
        int smp_vcpus;
        int max_vcpus;
    } system;
} qemu_info_t;

struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef uint32_t qemu_plugin_meminfo_t;

enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

typedef void (*tb_translated_t)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*vcpu_t)(qemu_plugin_id_t, unsigned int vcpu);
typedef void (*ended_t)(qemu_plugin_id_t, void *userdata);
typedef void (*memory_t)(unsigned int vcpu, qemu_plugin_meminfo_t, uint64_t address, void *userdata);
typedef void (*system_call_t)(qemu_plugin_id_t, unsigned int vcpu, int64_t number, uint64_t a1,
                              uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                              uint64_t a7, uint64_t a8);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_translated_t);
void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t, vcpu_t);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, ended_t, void *userdata);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, system_call_t);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, memory_t,
                                      enum qemu_plugin_cb_flags, enum qemu_plugin_mem_rw,
                                      void *userdata);

/* The binary logarithm of an access's bytes. */
unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t index);

#if API >= 3
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *copy, size_t size);
#else
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
#endif

#if API >= 2
struct qemu_plugin_scoreboard;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} qemu_plugin_u64;
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *, unsigned int vcpu);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *,
                                                       enum qemu_plugin_op, qemu_plugin_u64,
                                                       uint64_t addend);
#else
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op,
                                              void *counter, uint64_t addend);
#endif

#endif
