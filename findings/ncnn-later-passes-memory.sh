#!/usr/bin/env bash
# ncnn's peak memory grows in the fourth pass with the same input.
#
# Guess: the pools of a network keep what a pass has freed, so that the second pass with an input of the same size finds
# all that it needs, and the peak is that of the first pass.
# Seen with ncnn 1.0.20261020 (numpy 2.4.6), x86-64, glibc 2.36, one thread, for a network of an encoder, a decoder and skip
# connections on one image of 640 x 640, with a new extractor for each pass. Peak RSS in MiB:
#   after pass 1 to 3    325
#   after pass 4 to 20   370
# A pool gives out the first free block that is large enough, also a much larger one, and the blocks come back in another
# order than they went. So a large blob of a later pass finds its block taken, and a new one is made. Two passes, a warm-up
# and one that counts, have a peak that is an eighth too low here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ncnn==1.0.20261020 numpy==2.4.6
cd "$folder"
cat >network.py <<'PROGRAM'
from pathlib import Path

import numpy as np

random = np.random.default_rng(0)
lines = ["Input image 0 1 image"]
weights = b""


def convolution(name, blob, inputs, outputs, stride=1):
    global weights
    values = outputs * inputs * 9
    fields = f"0={outputs} 1=3 2=1 3={stride} 4=1 5=0 6={values} 9=1"
    lines.append(f"Convolution {name} 1 1 {blob} {name} {fields}")
    weights += bytes(4) + (random.standard_normal(values) * 0.05).astype("<f4").tobytes()
    return name, outputs


def twice(name, blob):
    lines.append(f"Interp {name} 1 1 {blob} {name} 0=1 1=2.0 2=2.0")
    return name


blob, channels = "image", 3
skipped = []
for number, outputs in enumerate((16, 32, 64, 128)):
    blob, channels = convolution(f"down{number}", blob, channels, outputs, stride=2)
    if number < 3:
        lines.append(f"Split split{number} 1 2 {blob} {blob}_a {blob}_b")
        skipped.append((f"{blob}_b", channels))
        blob += "_a"
for number, (beside, more) in enumerate(reversed(skipped)):
    above = twice(f"twice{number}", blob)
    lines.append(f"Concat both{number} 2 1 {above} {beside} both{number} 0=0")
    blob, channels = convolution(f"up{number}", f"both{number}", channels + more, more)
convolution("map", twice("last", blob), channels, 1)
blobs = sum(int(line.split()[3]) for line in lines)
text = "\n".join(["7767517", f"{len(lines)} {blobs}", *lines])
Path("network.param").write_text(f"{text}\n")
Path("network.bin").write_bytes(weights)
PROGRAM
cat >passes.py <<'PROGRAM'
import ncnn
import numpy as np

network = ncnn.Net()
network.opt.num_threads = 1
network.load_param("network.param")
network.load_model("network.bin")
image = ncnn.Mat(np.zeros((3, 640, 640), np.float32))
for _ in range(20):
    with network.create_extractor() as extractor:
        extractor.input("image", image)
        code, found = extractor.extract("map")
        assert code == 0 and np.array(found).shape == (1, 640, 640)
    del code, found
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024)
PROGRAM
venv/bin/python network.py
mapfile -t peak < <(venv/bin/python passes.py)
echo "peak after each pass, MiB: ${peak[*]}"
[ $((peak[2] - peak[0])) -le 5 ] || { echo "the second or third pass takes more" >&2; exit 1; }
more=$((peak[3] - peak[2]))
[ "$more" -ge 35 ] && [ "$more" -le 55 ] || { echo "the fourth pass takes $more MiB more" >&2; exit 1; }
[ $((peak[19] - peak[3])) -le 15 ] || { echo "later passes grow too" >&2; exit 1; }
