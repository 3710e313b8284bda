"""Programs for aarch64 on this machine: the settings of QEMU's user-mode emulator, and ELF files.

Sources: the System V gABI, chapters "ELF Header" and "Program Header"; "ELF
for the Arm 64-bit Architecture" for e_machine 183; Linux's
include/uapi/asm-generic/unistd.h for the numbers of system calls.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

RESERVED_VA: Final = 1 << 39
"""Bytes of address space reserved for the guest.

With the reservation, QEMU lays a program out as a kernel does, so its heap can grow.
Without it, libraries follow the program directly, the heap ends after 16 MiB, and
the C library falls back on mappings that waste up to 32 MiB of a large network
(QEMU 7.2, linux-user/elfload.c). The reservation uses no memory.
"""
_IMPLEMENTER_ARM: Final = 0x41
_PARTS: Final = {"cortex-a53": 0xD03, "cortex-a72": 0xD08}
"""Primary part numbers of MIDR_EL1, from the cores' technical reference manuals."""

ET_EXEC, ET_DYN = 2, 3
_EM_AARCH64 = 183
_PT_LOAD, _PT_INTERP = 1, 3
_HEADER = "16sHHIQQQIHHHHHH"
_HEADER_BYTES = struct.calcsize("<" + _HEADER)
_SEGMENT = "<IIQQQQQQ"
_SEGMENT_BYTES = struct.calcsize(_SEGMENT)
_EXIT_0: Final = (
    0xD2800000,  # mov x0, #0
    0xD2800BA8,  # mov x8, #93  (exit)
    0xD4000001,  # svc #0
)


def needed() -> bool:
    """Return whether arm64 programs have to be emulated on this machine."""
    return platform.machine() not in ("aarch64", "arm64")


def environment(cpu: str) -> dict[str, str]:
    """Return the environment variables that configure an emulator started by the kernel.

    The kernel starts it without any option of pibench. `cpu` is the device's CPU model:
    QEMU's default offers features that a Raspberry Pi 3 lacks.
    """
    return {"QEMU_CPU": cpu, "QEMU_RESERVED_VA": hex(RESERVED_VA)}


def is_cpu(cpu: str, main_id_register: int | None) -> bool:
    """Return whether MIDR_EL1 identifies that CPU model, in any revision."""
    if main_id_register is None:
        return False
    found = main_id_register >> 24, (main_id_register >> 4) & 0xFFF
    return found == (_IMPLEMENTER_ARM, _PARTS.get(cpu))


def aarch64_header(kind: int, *, entry: int = 0, segments: int = 0) -> bytes:
    """Return the 64-byte header of an aarch64 program: `kind` is ET_EXEC, or ET_DYN for a PIE."""
    ident = b"\x7fELF" + bytes([2, 1, 1])  # 64 bits, little-endian, version 1
    sizes = (0, 0, _HEADER_BYTES, _SEGMENT_BYTES, segments, 0, 0, 0)
    return struct.pack("<" + _HEADER, ident, kind, _EM_AARCH64, 1, entry, _HEADER_BYTES, *sizes)


def aarch64_program() -> bytes:
    """Return a complete aarch64 program that needs no library and exits with 0."""
    return _static_program(_EXIT_0)


def cpu_report_program() -> bytes:
    """Return an aarch64 program that prints MIDR_EL1 (8 bytes) and uname(2)'s structure.

    It shows which CPU and machine other aarch64 programs see. `seen_by_programs` in
    pibench/probe/machine.py reads its output.
    """
    return _static_program(
        (
            0xD10803FF,  # sub sp, sp, #512
            0xD5380000,  # mrs x0, midr_el1
            0xF90003E0,  # str x0, [sp]
            0x910023E0,  # add x0, sp, #8
            0xD2801408,  # mov x8, #160  (uname)
            0xD4000001,  # svc #0
            0xD2800020,  # mov x0, #1
            0x910003E1,  # mov x1, sp
            0xD28031C2,  # mov x2, #398
            0xD2800808,  # mov x8, #64  (write)
            0xD4000001,  # svc #0
            *_EXIT_0,
        )
    )


def _static_program(instructions: Sequence[int]) -> bytes:
    base = 0x400000
    code = struct.pack(f"<{len(instructions)}I", *instructions)
    start = _HEADER_BYTES + _SEGMENT_BYTES
    size = start + len(code)
    segment = struct.pack(_SEGMENT, _PT_LOAD, 5, 0, base, base, size, size, 0x10000)
    return aarch64_header(ET_EXEC, entry=base + start, segments=1) + segment + code


def is_static(path: Path) -> bool:
    """Return whether `path` is a 64-bit ELF program without a dynamic loader (no PT_INTERP).

    Raises OSError when it cannot be read.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or header[:5] != b"\x7fELF\x02":
            return False
        order = "<" if header[5] == 1 else ">"
        fields = struct.unpack(order + _HEADER, header)
        kind, table_offset, entry_bytes, entries = fields[1], fields[5], fields[9], fields[10]
        file.seek(table_offset)
        table = file.read(entry_bytes * entries)
    if kind not in (ET_EXEC, ET_DYN) or entry_bytes < 4 or len(table) < entry_bytes * entries:
        return False
    starts = range(0, entry_bytes * entries, entry_bytes)
    types = {struct.unpack_from(order + "I", table, start)[0] for start in starts}
    return _PT_LOAD in types and _PT_INTERP not in types
