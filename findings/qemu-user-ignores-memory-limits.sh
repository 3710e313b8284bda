#!/usr/bin/env bash
# qemu-aarch64 7.2 accepts a limit of a program's memory, reports success and does not set it.
#
# Guess: a program that limits itself (setrlimit, `ulimit -v`, Python's resource.setrlimit) to a board's memory has that limit
# in the emulator, or the call fails.
# Seen with Debian 12's qemu-user-static 7.2 (1:7.2+dfsg-7+deb12u18+b3), for an arm64 program that sets a limit of 32 MiB and
# then maps 64 MiB of anonymous memory; the same calls natively on x86-64:
#                            setrlimit and     limit that is read    mmap of
#                            prlimit64         afterwards            64 MiB
#   RLIMIT_AS,   native      0                 32 MiB                fails: no memory
#                emulated    0                 unlimited             succeeds
#   RLIMIT_DATA, native      0                 32 MiB                fails: no memory
#                emulated    0                 unlimited             succeeds
#   RLIMIT_NOFILE, emulated  0                 as it was set
# A limit that the emulator gets from outside (`ulimit -v` before it starts) does work, but its own memory counts in it. A test
# "this network runs within 512 MiB" that limits itself thus passes in an emulated container with any network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download --quiet qemu-user-static >/dev/null 2>&1 && dpkg-deb -x qemu-user-static_*.deb qemu)
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keystone-engine==0.9.2
qemu="$folder/qemu/usr/bin/qemu-aarch64-static"
"$qemu" --version | head -n 1
cd "$folder"
venv/bin/python - "$qemu" <<'PROGRAM'
import ctypes
import errno
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

from keystone import KS_ARCH_ARM64, KS_MODE_LITTLE_ENDIAN, Ks

BASE, HEADERS, LIMIT, BLOCK = 0x400000, 120, 32 << 20, 64 << 20
SETRLIMIT = "mov x0, #%d\n mov x1, sp\n mov x8, #164"
PRLIMIT64 = "mov x0, #0\n mov x1, #%d\n mov x2, sp\n mov x3, #0\n mov x8, #261"
TEXT = """
    sub sp, sp, #64
    mov x9, #%d
    str x9, [sp]            // the soft and the hard limit
    str x9, [sp, #8]
    %s
    svc #0
    str x0, [sp, #16]       // what the call returns
    mov x0, #%d
    add x1, sp, #32
    mov x8, #163            // getrlimit
    svc #0
    mov x0, #0
    mov x1, #%d
    mov x2, #3              // read and write
    mov x3, #0x22           // private and anonymous
    mov x4, #-1
    mov x5, #0
    mov x8, #222            // mmap
    svc #0
    str x0, [sp, #24]
    mov x0, #1
    add x1, sp, #16
    mov x2, #24
    mov x8, #64             // write
    svc #0
    mov x0, #0
    mov x8, #93
    svc #0
"""


def emulated(call, number, limit):
    """Return what the call returned, the limit that is read afterwards, and whether mmap succeeded."""
    text = TEXT % (limit, call % number, number, BLOCK)
    code = bytes(Ks(KS_ARCH_ARM64, KS_MODE_LITTLE_ENDIAN).asm(text, BASE + HEADERS)[0])
    size = HEADERS + len(code)
    elf = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 183, 1, BASE + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x10000)
    program = Path("limit")
    program.write_bytes(elf + code)
    program.chmod(0o755)
    output = subprocess.run([sys.argv[1], "./limit"], check=True, capture_output=True).stdout
    result, address, soft = struct.unpack("<qqq", output)
    return result, soft, address > 0


def native(number):
    """Do the same in a child process of this machine."""
    child = os.fork()
    if child == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
        resource.setrlimit(number, (LIMIT, LIMIT))
        address = libc.mmap(None, BLOCK, 3, 0x22, -1, 0)
        refused = address == ctypes.c_void_p(-1).value and ctypes.get_errno() == errno.ENOMEM
        os._exit(0 if refused and resource.getrlimit(number)[0] == LIMIT else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


for name in ("RLIMIT_AS", "RLIMIT_DATA"):
    number = getattr(resource, name)
    refused = native(number)
    print(f"{name}, native: the limit is set, mmap refused: {refused}")
    assert refused, "the native program is not limited"
    for call in (SETRLIMIT, PRLIMIT64):
        found = emulated(call, number, LIMIT)
        kind = "setrlimit" if call is SETRLIMIT else "prlimit64"
        print(f"{name}, emulated: {kind} returns {found[0]}, limit afterwards {found[1]}, mmap succeeds: {found[2]}")
        assert found == (0, resource.getrlimit(number)[0], True), "the behaviour has changed"
found = emulated(SETRLIMIT, resource.RLIMIT_NOFILE, 64)
print(f"RLIMIT_NOFILE, emulated: returns {found[0]}, limit afterwards {found[1]}")
assert found == (0, 64, True), "the behaviour has changed"
PROGRAM
