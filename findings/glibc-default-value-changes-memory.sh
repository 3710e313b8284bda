#!/usr/bin/env bash
# Setting a variable of glibc's malloc to the value that it has anyway changes the memory of a program.
#
# Guess: MALLOC_TRIM_THRESHOLD_=131072, MALLOC_TOP_PAD_=131072, MALLOC_MMAP_THRESHOLD_=131072 and MALLOC_MMAP_MAX_=65536 name
# the defaults, so that nothing changes.
# Seen with glibc 2.36 (Debian 12) and Python 3.11, x86-64: a program that eight times takes a block of 16 MiB and one of 8 MiB,
# fills them and frees both. Resident at the end, in MiB above the start, and page faults of 4 KiB:
#                                                resident    page faults
#   no variable                                        24         12,288, for the first two rounds
#   any of the four, with its default value             0         49,168, for all eight
#   GLIBC_TUNABLES=glibc.malloc.arena_max=8            24         12,288
# glibc raises two thresholds when a mapped block is freed, until one of the four is set: then they stay. So a wrapper that
# "writes the defaults down", to make a measurement repeatable, measures another program: less memory at the end, and
# more page faults, which take time. `man mallopt` has it, in the text on M_MMAP_THRESHOLD.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/program.py" <<'PROGRAM'
import ctypes
import resource

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


def mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


before, start = mib(), faults()
for _ in range(8):
    large, small = libc.malloc(16 << 20), libc.malloc(8 << 20)
    ctypes.memset(large, 1, 16 << 20)
    ctypes.memset(small, 1, 8 << 20)
    libc.free(large)
    libc.free(small)
print(round(mib() - before), faults() - start)
PROGRAM
getconf GNU_LIBC_VERSION
failed=0
while read -r variable least most few many; do
    read -r resident faults < <(env "$variable" python3 "$folder/program.py")
    echo "$variable: $resident MiB resident at the end, $faults page faults"
    if ((resident < least || resident > most || faults < few || faults > many)); then
        echo "the behaviour has changed" >&2
        failed=1
    fi
done <<'CASES'
UNRELATED=1 23 25 12000 13000
MALLOC_TRIM_THRESHOLD_=131072 0 1 49000 50000
MALLOC_TOP_PAD_=131072 0 1 49000 50000
MALLOC_MMAP_THRESHOLD_=131072 0 1 49000 50000
MALLOC_MMAP_MAX_=65536 0 1 49000 50000
GLIBC_TUNABLES=glibc.malloc.arena_max=8 23 25 12000 13000
CASES
exit "$failed"
