#!/usr/bin/env bash
# safetensors' two ways to read a file for numpy have the same peak RSS, and one of them needs half of that memory.
#
# Guess: load_file maps the file and returns arrays in the mapping; reading the file first takes one copy more, visibly.
# Seen with safetensors 0.8.0 (numpy 2.4.6), for 64 weights of 4 MiB, 256 MiB in all. Memory above that of the imported
# library, in MiB:
#                                             peak (VmHWM)    most anonymous (RssAnon)    remains
#   safetensors.numpy.load_file               512             256                         256, anonymous
#   safetensors.numpy.load(bytes)             512             512                         256, anonymous
#   np.memmap of each, read completely        256               0                         256, mapped
# load_file copies each array out of the mapping, whose pages stay resident until the end: they count in the peak, and the
# kernel can drop them when memory is short. What remains it cannot drop, as it could with mapped weights. Neither "mapped,
# so it needs no memory" nor "peak RSS, so it needs 512 MiB" tells whether a network fits a board.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
from safetensors.numpy import save_file

save_file(
    {f"weights{number}": np.full((1024, 1024), number, np.float32) for number in range(64)},
    "network.safetensors",
)
PROGRAM
cat >measure.py <<'PROGRAM'
import json
import sys
import threading
import time

import numpy as np
from safetensors.numpy import load, load_file

FILE = "network.safetensors"


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def mapped():
    """Return the weights as arrays in the mapped file, every page read once."""
    with open(FILE, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    bytes_of_file = np.memmap(FILE, np.uint8, "r")
    weights = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        weights[name] = bytes_of_file[start:end].view(np.float32).reshape(entry["shape"])
        weights[name].sum()
    return weights


most_anonymous, loaded = 0.0, threading.Event()


def sample():
    global most_anonymous
    while not loaded.is_set():
        most_anonymous = max(most_anonymous, mib("RssAnon"))
        time.sleep(0.001)


sampler = threading.Thread(target=sample)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts again at what is resident now
before, anonymous = mib("VmRSS"), mib("RssAnon")
sampler.start()
if sys.argv[1] == "load_file":
    weights = load_file(FILE)
elif sys.argv[1] == "load":
    with open(FILE, "rb") as file:
        weights = load(file.read())
else:
    weights = mapped()
loaded.set()
sampler.join()
print(
    round(mib("VmHWM") - before),
    round(most_anonymous - anonymous),
    round(mib("VmRSS") - before),
    round(mib("RssAnon") - anonymous),
)
assert all((weights[f"weights{number}"] == number).all() for number in range(64))
PROGRAM
failed=0
while read -r name peak anonymous remains_anonymous; do
    read -r -a found < <(venv/bin/python measure.py "$name")
    echo "$name: peak ${found[0]} MiB, most anonymous ${found[1]}, remains ${found[2]}, of it anonymous ${found[3]}"
    for pair in "${found[0]} $peak" "${found[1]} $anonymous" "${found[2]} 256" "${found[3]} $remains_anonymous"; do
        read -r is was <<<"$pair"
        if ((is < was - 40 || is > was + 30)); then
            echo "the behaviour has changed: $is MiB where it was $was" >&2
            failed=1
        fi
    done
done <<'CASES'
load_file 512 256 256
load 512 512 256
memmap 256 0 0
CASES
exit "$failed"
