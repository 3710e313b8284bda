"""Transparent huge pages, which the boards' kernels do not have.

Where the kernel always uses them, memory counts as resident in pieces of 2 MiB,
and a small network's peak varies by several MiB from run to run.
"""

from .procfs import read_text

SETTING = "/sys/kernel/mm/transparent_hugepage/enabled"
PR_SET_THP_DISABLE = 41  # linux/prctl.h


def huge_pages_in_use(switch_off, setting=SETTING):
    """Return whether programs get huge pages by default; `switch_off` disables them if possible.

    The switch applies to this process and its children from here on. QEMU's user mode does
    not pass it on (linux-user/syscall.c).
    """
    if "[always]" not in (read_text(setting) or ""):
        return False
    if not switch_off:
        return True
    import ctypes

    return ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0
