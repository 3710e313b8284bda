/*
 * What an A64 instruction is counted as: decided once, when QEMU translates it.
 *
 * Encodings from the Arm Architecture Reference Manual for Armv8-A, chapter C4 (A64
 * instruction set encoding). A load or store of vector registers is a load or store.
 */
#ifndef PIBENCH_A64_H
#define PIBENCH_A64_H

#include <stdint.h>

enum class { MAC, SIMD, LOAD, STORE, BRANCH, OTHER, CLASSES };

struct decoded {
    enum class class;
    unsigned lanes; /* multiply-accumulates of one MAC instruction */
    unsigned bytes; /* moved by one load or store */
};

static inline unsigned bits(uint32_t word, unsigned high, unsigned low)
{
    return (word >> low) & ((1u << (high - low + 1)) - 1);
}

/* FMLA, FMLS (vector, by element), FMADD and its kin: lanes, 0 for any other instruction. */
static inline unsigned mac_lanes(uint32_t word)
{
    unsigned quad = bits(word, 30, 30);
    if ((word & 0xbf20fc00) == 0x0e20cc00) /* FMLA, FMLS vector */
        return bits(word, 22, 22) ? 2 : quad ? 4 : 2;
    if ((word & 0xbf80b400) == 0x0f801000) /* FMLA, FMLS by element */
        return bits(word, 22, 22) ? 2 : quad ? 4 : 2;
    if ((word & 0xff80f400) == 0x5f801000) /* the same, scalar */
        return 1;
    if ((word & 0xff000000) == 0x1f000000) /* FMADD, FMSUB, FNMADD, FNMSUB */
        return 1;
    return 0;
}

/* LD1 to LD4 and ST1 to ST4 of whole registers or of one lane. */
static inline unsigned structure_bytes(uint32_t word)
{
    static const unsigned char registers[16] = {4, 0, 4, 0, 3, 0, 3, 1, 2, 0, 2, 0, 0, 0, 0, 0};
    unsigned opcode = bits(word, 15, 12);
    if (!bits(word, 24, 24))
        return registers[opcode] * (bits(word, 30, 30) ? 16 : 8);
    unsigned elements = 1 + bits(word, 21, 21) + 2 * bits(word, 13, 13);
    unsigned scale = bits(word, 15, 14);
    if (scale == 3) /* replicated to all lanes */
        scale = bits(word, 11, 10);
    else if (scale == 2 && bits(word, 10, 10))
        scale = 3;
    return elements << scale;
}

static inline struct decoded load_or_store(uint32_t word)
{
    unsigned vector = bits(word, 26, 26), size = bits(word, 31, 30), opc = bits(word, 23, 22);
    unsigned load = bits(word, 22, 22), bytes;
    switch (bits(word, 29, 27)) {
    case 1: /* structures; exclusive and ordered accesses */
        bytes = vector ? structure_bytes(word) : (1u << size) << bits(word, 21, 21);
        if (!vector && bits(word, 23, 23)) /* ordered: bit 21 is no pair */
            bytes = 1u << size;
        break;
    case 3: /* from a literal, or a hint to prefetch one */
        if (!vector && size == 3)
            return (struct decoded){OTHER, 0, 0};
        load = 1;
        bytes = vector ? 4u << size : size == 1 ? 8 : 4;
        break;
    case 5: /* pairs */
        bytes = 2 * (vector ? 4u << size : size == 2 ? 8 : 4);
        break;
    default: /* one register */
        load = vector ? opc & 1 : opc != 0;
        bytes = vector && (opc & 2) ? 16 : 1u << size;
        if (!vector && size == 3 && opc == 2) /* a hint to prefetch */
            return (struct decoded){OTHER, 0, 0};
    }
    return (struct decoded){load ? LOAD : STORE, 0, bytes};
}

static inline struct decoded decode(uint32_t word)
{
    unsigned group = bits(word, 28, 25);
    if ((group & 5) == 4) /* x1x0 */
        return load_or_store(word);
    if ((group & 7) == 7) { /* x111 */
        unsigned lanes = mac_lanes(word);
        return (struct decoded){lanes ? MAC : SIMD, lanes, 0};
    }
    if ((word & 0xffffffe0) == 0xd50b7420) /* DC ZVA: a line of zeros */
        return (struct decoded){STORE, 0, 64};
    /* Hints, barriers and registers of the system lie among the branches. */
    if ((group & 14) == 10)
        return (struct decoded){(word & 0xff000000) == 0xd5000000 ? OTHER : BRANCH, 0, 0};
    return (struct decoded){OTHER, 0, 0};
}

#endif
