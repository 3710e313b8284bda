#!/usr/bin/env bash
# numpy.load(..., mmap_mode="r") copies the weights of an .npz file, and once more at each access.
#
# Guess: mmap_mode maps an uncompressed .npz as it maps an .npy, or is refused; an array that was read stays the same object.
# Seen with numpy 2.4.6, for 64 MiB of weights, all of which are read. Above the memory of the imported library, in MiB:
#                                              anonymous    type
#   w.npy, mmap_mode="r"                               0    memmap
#   w.npz of np.savez, four arrays                    66    ndarray, writeable
#     one of them, asked for four times               66    four arrays
# Nothing is printed. Mapped pages can be dropped by the kernel when memory is short, anonymous ones cannot; and code that
# names file["w0"] wherever it needs the weights reads the file and takes the memory each time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6
cd "$folder"
cat >measure.py <<'PROGRAM'
import sys

import numpy as np


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


if sys.argv[1] == "write":
    np.savez("w.npz", **{f"w{number}": np.ones(4 << 20, np.float32) for number in range(4)})
    np.save("w.npy", np.ones(16 << 20, np.float32))
    sys.exit()
before = mib("RssAnon")
file = np.load("w.npy" if sys.argv[1] == "npy" else "w.npz", mmap_mode="r")
arrays = {
    "npy": lambda: [file],
    "npz": lambda: [file[f"w{number}"] for number in range(4)],
    "again": lambda: [file["w0"] for _ in range(4)],
}[sys.argv[1]]()
assert sum(array.sum(dtype=np.float64) for array in arrays) == 16 << 20
print(round(mib("RssAnon") - before), type(arrays[0]).__name__, arrays[0].flags.writeable)
PROGRAM
venv/bin/python measure.py write
read -r npy npy_type npy_writeable < <(venv/bin/python measure.py npy)
read -r npz npz_type npz_writeable < <(venv/bin/python measure.py npz)
read -r again _ _ < <(venv/bin/python measure.py again)
echo "npy: $npy MiB, $npy_type, writeable $npy_writeable"
echo "npz: $npz MiB, $npz_type, writeable $npz_writeable; one array four times: $again MiB"
((npy < 10)) && [ "$npy_type" = memmap ] || { echo "an .npy is not mapped any more" >&2; exit 1; }
((npz > 55 && again > 55)) && [ "$npz_type" = ndarray ] || { echo "an .npz is mapped now" >&2; exit 1; }
