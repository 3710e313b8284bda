#!/usr/bin/env bash
# qemu-aarch64 7.2 keeps the pages of a heap that the emulated program has given back.
#
# Guess: a program that grows its heap by 64 MiB, writes to it and shrinks it again has its former RSS, emulated or not.
# Seen with Debian 12's qemu-user-static 7.2 (1:7.2+dfsg-7+deb12u18+b3), by the program's own /proc/self/statm:
#   an arm64 program: 75 MiB before and after brk() gave the 64 MiB back
#   the same calls made natively on x86-64: the 64 MiB are gone after the second brk()
# The call succeeds and a later read of the break is right; only the memory stays. What malloc trims (free() of the top
# of the heap) therefore stays resident too. Measured in such an emulator, a program that frees its buffers before it
# loads the next model seems to need both, and the peak at its end is higher than on the board.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download --quiet qemu-user-static >/dev/null 2>&1 && dpkg-deb -x qemu-user-static_*.deb qemu)
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keystone-engine==0.9.2
"$folder/venv/bin/python" - "$folder/shrink" <<'PROGRAM'
import struct
import sys
from pathlib import Path

from keystone import KS_ARCH_ARM64, KS_MODE_LITTLE_ENDIAN, Ks

BASE, HEADERS = 0x400000, 120
TEXT = """
    mov x0, #0              // brk(0): where the heap ends
    mov x8, #214
    svc #0
    mov x19, x0
    mov x1, #0x4000000      // 64 MiB more
    add x0, x19, x1
    mov x20, x0
    mov x8, #214
    svc #0
    mov x2, x19
touch:
    strb wzr, [x2]
    add x2, x2, #4096
    cmp x2, x20
    b.lo touch
    bl report
    mov x0, x19             // and back
    mov x8, #214
    svc #0
    bl report
    mov x0, #0
    mov x8, #93
    svc #0
report:                     // copy /proc/self/statm to standard output
    mov x0, #-100
    adr x1, path
    mov x2, #0
    mov x8, #56
    svc #0
    sub sp, sp, #256
    mov x1, sp
    mov x2, #256
    mov x8, #63
    svc #0
    mov x2, x0
    mov x0, #1
    mov x1, sp
    mov x8, #64
    svc #0
    add sp, sp, #256
    ret
path:
"""
code = bytes(Ks(KS_ARCH_ARM64, KS_MODE_LITTLE_ENDIAN).asm(TEXT, BASE + HEADERS)[0])
code += b"/proc/self/statm\0"
size = HEADERS + len(code)
elf = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 183, 1, BASE + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
elf += struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x10000)
Path(sys.argv[1]).write_bytes(elf + code)
PROGRAM
chmod +x "$folder/shrink"
qemu="$folder/qemu/usr/bin/qemu-aarch64-static"
"$qemu" --version | head -n 1
"$qemu" "$folder/shrink" >"$folder/emulated"
"$folder/venv/bin/python" - >"$folder/native" <<'PROGRAM'
import ctypes

libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
libc.sbrk.argtypes = [ctypes.c_ssize_t]
start = libc.sbrk(64 << 20)
ctypes.memset(start, 1, 64 << 20)
before = open("/proc/self/statm").read()
assert libc.sbrk(0) == start + (64 << 20), "something else has used the heap"
libc.sbrk(-(64 << 20))
print(before + open("/proc/self/statm").read(), end="")
PROGRAM
"$folder/venv/bin/python" - "$folder" <<'PROGRAM'
import sys
from pathlib import Path

mib = {}
for name in ("emulated", "native"):
    lines = (Path(sys.argv[1]) / name).read_text().splitlines()
    mib[name] = [int(line.split()[1]) * 4096 / 2**20 for line in lines]
    print(f"{name}: {mib[name][0]:.0f} MiB resident before the heap shrinks, {mib[name][1]:.0f} after")
assert mib["native"][0] - mib["native"][1] > 60, "the native program keeps its heap"
assert mib["emulated"][0] - mib["emulated"][1] < 1, "the behaviour has changed"
PROGRAM
