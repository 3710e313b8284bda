"""Settings of QEMU's user-mode emulator, for targets that run its processes."""

from __future__ import annotations

import platform
from typing import Final

RESERVED_VA: Final = 1 << 39
"""Bytes of address space reserved for the guest.

With the reservation, QEMU lays a program out as a kernel does, so its heap can grow.
Without it, libraries follow the program directly, the heap ends after 16 MiB, and
the C library falls back on mappings that waste up to 32 MiB of a large network
(QEMU 7.2, linux-user/elfload.c). The reservation uses no memory.
"""

OVERHEAD_BYTES: Final = 200 << 20
"""QEMU's own memory: 45 MB at most with `caffe time`, 90 with Python, plus a machine's devices."""

_IMPLEMENTER_ARM: Final = 0x41
_PARTS: Final = {"cortex-a53": 0xD03, "cortex-a72": 0xD08}
"""Primary part numbers of MIDR_EL1, from the cores' technical reference manuals."""


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
