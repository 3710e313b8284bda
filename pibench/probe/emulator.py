"""What of a process is QEMU's user-mode emulator and what the program that it emulates.

Seen from outside, an emulated process is a process of QEMU, and its resident
memory that of both. The guest's pages lie where the guest believes them to
be, below 2^40, since the targets reserve the guest's address space
(QEMU_RESERVED_VA); QEMU's own program, heap and translated code lie where
Linux puts those of any position-independent program, far above.
"""

import os
import re

from .procfs import read_text

# The first mapping above 2^40: its address has more than ten digits.
ABOVE_GUEST = re.compile(r"^[0-9a-f]{11,}-", re.M)
RESIDENT = re.compile(r"^([0-9a-f]+)-[0-9a-f]+ .*|^Rss: +([0-9]+) kB", re.M)
# No emulator was seen to take more than 45 MB: a share above this is a mistake
# in telling the two apart, and no figure.
PLAUSIBLE_BYTES = 256 << 20
# The instructions `mrs x0, midr_el1` and `ret`: Linux and QEMU let any program
# read the main ID register (Documentation/arm64/cpu-feature-registers.rst).
READ_MAIN_ID = b"\x00\x00\x38\xd5\xc0\x03\x5f\xd6"


def is_emulated(pid):
    """Whether QEMU runs this process."""
    try:
        return "qemu" in os.path.basename(os.readlink("/proc/{}/exe".format(pid)))
    except OSError:
        return False


def emulator_rss_bytes(pid):
    """Resident bytes of the emulator in a process; None where there is none, or no telling."""
    if not is_emulated(pid):
        return None
    text = read_text("/proc/{}/smaps".format(pid)) or ""
    above = ABOVE_GUEST.search(text)
    if not above:
        return None
    shares_kib = {}
    address = None
    for found in RESIDENT.finditer(text, above.start()):
        if found.group(1):
            address = found.group(1)
        else:
            # By address: a mapping that grows while it is read comes twice.
            shares_kib[address] = int(found.group(2))
    total = sum(shares_kib.values()) * 1024
    return total if total < PLAUSIBLE_BYTES else None


def main_id_register():
    """The CPU's MIDR_EL1, 0x410fd034 for a Cortex-A53; None on another architecture."""
    if os.uname().machine != "aarch64":
        return None
    import ctypes
    import mmap

    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        code = mmap.mmap(-1, len(READ_MAIN_ID), prot=everything)
    except (OSError, ValueError):
        return None
    code.write(READ_MAIN_ID)
    start = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return ctypes.CFUNCTYPE(ctypes.c_uint64)(start)()
