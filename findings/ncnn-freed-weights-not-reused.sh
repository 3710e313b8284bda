#!/usr/bin/env bash
# On x86-64 a network that ncnn has loaded takes twice the memory of its weights; on arm64 it does not.
#
# Guess: ncnn writes each layer's weights in the order of its kernels and frees what it read, so that the next layer is
# read into the memory that is free: a loaded network takes little more than its weights, on every machine.
# Seen with ncnn 1.0.20261020, x86-64, glibc 2.36: 64 convolutions 1x1 of 512 channels, 64 MiB of weights:
#   resident after load_model                                    128 MiB more than before
#   with MALLOC_MMAP_THRESHOLD_=65536                             65 MiB more
# ncnn asks for blocks aligned to 64 bytes there. glibc's posix_memalign looks for a block that is 96 bytes larger, and so
# never takes the one of the same size that was just freed. On arm64 the alignment is malloc's own 16 bytes, and freed
# blocks serve again: the same program prints 64 there. ResNet-152-v2 takes 810 MiB on a PC and 600 MiB on an emulated
# Cortex-A53: a peak that was measured on a PC is off by far more than the few per cent that other networks suggest.
set -euo pipefail
[ "$(uname -m)" = x86_64 ] || { echo "this one is about x86-64" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ncnn==1.0.20261020 numpy==1.26.4
cd "$folder"
cat > load.py <<'PROGRAM'
import sys

import ncnn
import numpy as np

LAYERS, CHANNELS = 64, 512


def resident_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


lines = ["Input data 0 1 data 0=8 1=8 2=%d" % CHANNELS]
with open("net.bin", "wb") as file:
    for number in range(LAYERS):
        bottom = "data" if number == 0 else "conv%d" % (number - 1)
        lines.append(
            "Convolution conv%d 1 1 %s conv%d 0=%d 1=1 5=0 6=%d"
            % (number, bottom, number, CHANNELS, CHANNELS * CHANNELS)
        )
        # 0 says that the weights are float32.
        file.write(np.zeros(1, "<u4").tobytes())
        file.write(np.full(CHANNELS * CHANNELS, 0.001, "<f4").tobytes())
with open("net.param", "w") as file:
    file.write("7767517\n%d %d\n%s\n" % (len(lines), len(lines), "\n".join(lines)))

ncnn.set_omp_num_threads(1)
net = ncnn.Net()
net.opt.num_threads = 1
before = resident_mib()
if net.load_param("net.param") or net.load_model("net.bin"):
    sys.exit("ncnn could not read the model")
print(round(resident_mib() - before))
PROGRAM
default=$("$folder/venv/bin/python" load.py)
mapped=$(MALLOC_MMAP_THRESHOLD_=65536 "$folder/venv/bin/python" load.py)
echo "64 MiB of weights: $default MiB more resident, $mapped MiB with blocks that are mapped"
[ "$default" -ge 115 ] && [ "$mapped" -le 75 ]
