"""Detect signs that this machine is emulated or virtual and not a board, despite its name.

Measurements there are not measurements of the board, above all its times. A
sign is something that QEMU or another hypervisor puts there, or that the
firmware of every Raspberry Pi provides and they do not.
"""

import os
import sys

from .emulator import run_code
from .procfs import read_text

TREE = "/proc/device-tree"
# The instructions `mrs x0, cntfrq_el0` and `ret`: Linux lets any program read it.
READ_TIMER_HZ = b"\x00\xe0\x3b\xd5\xc0\x03\x5f\xd6"
# QEMU's default for the Arm generic timer (target/arm/cpu.h: GTIMER_SCALE 16, in ns).
QEMU_TIMER_HZ = 62500000


def virtualization_reason(tree=TREE, timer_hz=None, architecture=None):
    """Return in words what shows that this is not a board, or None."""
    if (architecture or os.uname().machine) == "x86_64":
        return None
    compatible = (read_text(os.path.join(tree, "compatible")) or "").split("\0")
    if "linux,dummy-virt" in compatible:
        return "its device tree is a virtual machine's (linux,dummy-virt)"
    if has_fw_cfg(tree) or (read_text("/sys/class/dmi/id/sys_vendor") or "") == "QEMU":
        return "it has QEMU's own devices or firmware"
    if not (read_text(os.path.join(tree, "model")) or "").startswith("Raspberry Pi"):
        return None
    if (timer_hz or read_timer_hz()) == QEMU_TIMER_HZ:
        # A board's runs at 19.2 MHz (BCM2837 and before) or 54 MHz (BCM2711 and later).
        return "its timer runs at 62.5 MHz, as QEMU's does and no Raspberry Pi's"
    serials = ("serial-number", "system/linux,serial", "system/linux,revision")
    if not any(os.path.exists(os.path.join(tree, name)) for name in serials):
        return "its device tree lacks the serial number that a Raspberry Pi's firmware puts there"
    return None


def has_fw_cfg(tree):
    """Return whether QEMU's firmware configuration device for guests exists."""
    try:
        names = os.listdir(tree)
    except OSError:
        names = []
    return os.path.isdir("/sys/firmware/qemu_fw_cfg") or any(
        name.startswith("fw-cfg@") for name in names
    )


def read_timer_hz():
    """Return the reported frequency of the generic timer; None on another architecture."""
    if os.uname().machine != "aarch64" or sys.maxsize < 2**32:
        return None
    return run_code(READ_TIMER_HZ)
