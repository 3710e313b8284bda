#!/usr/bin/env bash
# memray counts a mapped file of weights as if all of it were read, and misses a mapping that grows.
#
# Guess: memray's peak is the memory that the program has needed; weights that are mapped and not read cost nothing in it.
# Seen with memray 1.20.0 (numpy 2.4.6), x86-64, files and arrays of 64 MiB. Peak above that of the same program without
# them, in MiB:
#                                                                 memray    resident (VmHWM)
#   np.ones                                                           64                  64
#   np.empty, nothing written                                         64                   0
#   np.memmap of a file, ten bytes read                               64                   0
#   three of them, opened and closed one after another                64                   0
#   private mmap of 64 MiB, enlarged to 128 MiB and written           64                 128
# It follows mmap() and not mremap(), and counts what was asked for. An engine that maps its weights looks as large as one
# that copies them, and one that grows an arena by mremap looks smaller than it is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check memray==1.20.0 numpy==2.4.6
cd "$folder"
head -c 67108864 /dev/zero >weights.bin
cat >measure.py <<'PROGRAM'
import mmap
import sys

import memray
import numpy as np

SIZE = 64 << 20


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def work(case):
    if case == "ones":
        np.ones(SIZE, np.uint8)
    elif case == "empty":
        np.empty(SIZE, np.uint8)
    elif case == "memmap":
        np.memmap("weights.bin", mode="r")[:10].sum()
    elif case == "memmaps":
        for _ in range(3):
            np.memmap("weights.bin", mode="r")[:10].sum()
    elif case == "resized":
        mapping = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        mapping.resize(2 * SIZE)
        for start in range(0, 2 * SIZE, mmap.PAGESIZE):
            mapping[start] = 1


case = sys.argv[1]
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts again at what is resident now
before = mib("VmRSS")
with memray.Tracker(f"{case}.bin"):
    work(case)
resident = mib("VmHWM") - before
peak = memray.FileReader(f"{case}.bin").metadata.peak_memory / 2**20
print(round(peak), round(resident))
PROGRAM
failed=0
read -r base_peak base_resident < <(venv/bin/python measure.py nothing)
while read -r case peak resident; do
    read -r found_peak found_resident < <(venv/bin/python measure.py "$case")
    ((found_peak -= base_peak, found_resident -= base_resident)) || true
    echo "$case: memray $found_peak MiB, resident $found_resident MiB"
    if ((found_peak < peak - 5 || found_peak > peak + 5 || found_resident < resident - 8 || found_resident > resident + 8)); then
        echo "the behaviour has changed" >&2
        failed=1
    fi
done <<'CASES'
ones 64 64
empty 64 0
memmap 64 0
memmaps 64 0
resized 64 128
CASES
exit "$failed"
