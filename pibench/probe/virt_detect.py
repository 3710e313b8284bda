"""Signs that this machine is an emulated or virtual one, and no board, whatever it calls itself.

What runs on one is not measured on the board, and its times least of all. A
sign is something that QEMU or another hypervisor puts there, or that the
firmware of every Raspberry Pi does and they do not.
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


def virtualization_reason(tree=TREE, timer_hz=None):
    """What shows that this is no board, in words; None where nothing does."""
    if os.uname().machine == "x86_64":
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
    told = ("serial-number", "system/linux,serial", "system/linux,revision")
    if not any(os.path.exists(os.path.join(tree, name)) for name in told):
        return "its device tree lacks the serial number that a Raspberry Pi's firmware puts there"
    return None


def has_fw_cfg(tree):
    """Whether QEMU's device for its guests' firmware is there."""
    try:
        names = os.listdir(tree)
    except OSError:
        names = []
    return os.path.isdir("/sys/firmware/qemu_fw_cfg") or any(
        name.startswith("fw-cfg@") for name in names
    )


def read_timer_hz():
    """The frequency that the generic timer is said to have; None on another architecture."""
    if os.uname().machine != "aarch64" or sys.maxsize < 2**32:
        return None
    return run_code(READ_TIMER_HZ)
