"""Separate the memory of QEMU's user-mode emulator from that of the program it emulates.

Seen from outside, an emulated process is a process of QEMU, and its resident
memory is that of both. The guest's pages are at the guest's own addresses,
below 2^40, since the targets reserve the guest's address space
(QEMU_RESERVED_VA). QEMU's own program, heap and translated code are where
Linux puts those of any position-independent program, far above.
"""

import os
import re
import sys

GUEST_END = 1 << 40
HEADER = re.compile(rb"^([0-9a-f]+)-[0-9a-f]+ ", re.M)
RESIDENT = re.compile(rb"^([0-9a-f]+)-[0-9a-f]+ |^Rss: +([0-9]+) kB", re.M)
NARROW_BYTES = 4096
# No emulator was seen to take more than 45 MB: a share above this means that the two
# were not separated correctly, and is dropped.
PLAUSIBLE_BYTES = 256 << 20
# The instructions `mrs x0, midr_el1` and `ret`: Linux and QEMU let any program
# read the main ID register (Documentation/arm64/cpu-feature-registers.rst).
READ_MAIN_ID = b"\x00\x00\x38\xd5\xc0\x03\x5f\xd6"


def is_emulated(pid, proc="/proc"):
    """Return whether QEMU runs this process."""
    try:
        return "qemu" in os.path.basename(os.readlink("{}/{}/exe".format(proc, pid)))
    except OSError:
        return False


def emulator_rss_bytes(pid, proc="/proc"):
    """Return the emulator's resident bytes in a process; None if there is none, or unknown."""
    if not is_emulated(pid, proc):
        return None
    try:
        with open("{}/{}/smaps".format(proc, pid), "rb") as handle:
            text = handle.read()
    except OSError:
        return None
    shares_kib = {}
    address = 0
    for found in RESIDENT.finditer(text, before_emulator(text)):
        if found.group(1):
            address = int(found.group(1), 16)
        elif address >= GUEST_END:
            # By address: a mapping that grows while it is read appears twice.
            shares_kib[address] = int(found.group(2))
    if not shares_kib:
        return None
    total = sum(shares_kib.values()) * 1024
    return total if total < PLAUSIBLE_BYTES else None


def before_emulator(text):
    """Return a position shortly before the first mapping above the guest's, by bisection.

    The mappings are sorted by address, most are the guest's, and this program may
    be emulated itself, which makes reading them all slow.
    """
    low, high = 0, len(text)
    while high - low > NARROW_BYTES:
        middle = (low + high) // 2
        header = HEADER.search(text, middle)
        if header is None or int(header.group(1), 16) >= GUEST_END:
            high = middle
        else:
            low = header.start()
    return low


def main_id_register():
    """Return the CPU's MIDR_EL1, 0x410fd034 for a Cortex-A53; None on another architecture."""
    # A 32-bit Python under a 64-bit kernel cannot run these instructions.
    if os.uname().machine != "aarch64" or sys.maxsize < 2**32:
        return None
    return run_code(READ_MAIN_ID)


def run_code(instructions):
    """Return what a few machine instructions leave in x0; None where memory may not be executed."""
    import ctypes
    import mmap

    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        code = mmap.mmap(-1, len(instructions), prot=everything)
    except (OSError, ValueError):
        return None
    code.write(instructions)
    start = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return ctypes.CFUNCTYPE(ctypes.c_uint64)(start)()
