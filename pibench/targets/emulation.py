"""How QEMU's user-mode emulator is told what to emulate, for targets that run its processes."""

from __future__ import annotations

import platform
from typing import Final

EMULATED_CPU: Final = "cortex-a53"
"""QEMU's default CPU offers what a Raspberry Pi 3 lacks (SVE, half precision)."""

RESERVED_VA: Final = 1 << 39
"""Bytes of address space kept for the guest.

With it QEMU lays a program out as a kernel does, so that its heap can grow.
Without it libraries follow the program at once, the heap ends after 16 MiB, and
the C library falls back on mappings that waste up to 32 MiB of a large network
(QEMU 7.2, linux-user/elfload.c). No memory is taken by it.
"""

ENVIRONMENT: Final = {"QEMU_CPU": EMULATED_CPU, "QEMU_RESERVED_VA": hex(RESERVED_VA)}
"""The same for an emulator that the kernel starts, which has no command line of ours."""

_IMPLEMENTER_ARM: Final = 0x41
_PART_CORTEX_A53: Final = 0xD03


def is_cortex_a53(main_id_register: int | None) -> bool:
    """Whether MIDR_EL1 is a Cortex-A53's, whatever its revision (Arm DDI 0500, 4.3.1)."""
    if main_id_register is None:
        return False
    return (main_id_register >> 24, (main_id_register >> 4) & 0xFFF) == (
        _IMPLEMENTER_ARM,
        _PART_CORTEX_A53,
    )


def needed() -> bool:
    """Whether arm64 programs have to be emulated on this machine."""
    return platform.machine() not in ("aarch64", "arm64")
