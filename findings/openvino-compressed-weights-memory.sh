#!/usr/bin/env bash
# In OpenVINO, NNCF's compressed weights take a third of the memory of fully connected layers, and all of it, or more, of
# convolutions.
#
# Guess: compress_weights makes the network's memory smaller as it makes its file; the cache holds the small network too.
# Seen with nncf 3.4.0 and openvino 2026.4.1 (numpy 2.4.6), x86-64, one thread, INFERENCE_PRECISION_HINT f32: six 3x3
# convolutions of 512 channels on 14 x 14, and six fully connected layers of 2048. In MiB, memory above that before the network
# is read:
#                                   file    cached    peak     anonymous at the end
#   convolutions, float32             54        54     139                       63
#     compress_weights, int8          13        54     139 to 153               117
#     quantize, int8                  13        13      62                       23
#   fully connected, float32          96        96     220                      104
#     compress_weights, int8          24        24      77                       32
# A convolution's weights are turned back into float32 when the network is compiled, and are written to CACHE_DIR so. Beside
# the float32 network lies its file, whose pages the kernel can drop; the converted weights are in anonymous memory, which it
# cannot. Nothing is printed. quantize needs data to calibrate with, and changes the outputs more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nncf==3.4.0 openvino==2026.4.1 numpy==2.4.6
cd "$folder"
venv/bin/python - >log 2>&1 <<'PROGRAM' || { cat log >&2; exit 1; }
import nncf
import numpy as np
import openvino
from openvino import opset13

random = np.random.default_rng(0)


def network(kind):
    x = opset13.parameter({"conv": [1, 512, 14, 14], "dense": [1, 2048]}[kind], np.float32)
    y = x
    for _ in range(6):
        shape = {"conv": (512, 512, 3, 3), "dense": (2048, 2048)}[kind]
        weights = opset13.constant((random.normal(size=shape) * 0.02).astype(np.float32))
        if kind == "conv":
            y = opset13.relu(opset13.convolution(y, weights, [1, 1], [1, 1], [1, 1], [1, 1]))
        else:
            y = opset13.relu(opset13.matmul(y, weights, False, True))
    return openvino.Model([y], [x])


for kind in ("conv", "dense"):
    model = network(kind)
    openvino.save_model(model, f"{kind}-float.xml", compress_to_fp16=False)
    small = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    openvino.save_model(small, f"{kind}-compressed.xml", compress_to_fp16=False)
model = openvino.Core().read_model("conv-float.xml")
data = nncf.Dataset([random.normal(size=(1, 512, 14, 14)).astype(np.float32) for _ in range(3)])
openvino.save_model(nncf.quantize(model, data, subset_size=3), "conv-quantized.xml", compress_to_fp16=False)
PROGRAM
cat >measure.py <<'PROGRAM'
import os
import sys
from pathlib import Path

import numpy as np
import openvino


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


core = openvino.Core()
core.get_property("CPU", "FULL_DEVICE_NAME")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts again at what is resident now
before, anonymous = mib("VmRSS"), mib("RssAnon")
hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
if len(sys.argv) > 2:
    hints["CACHE_DIR"] = sys.argv[2]
network = core.compile_model(f"{sys.argv[1]}.xml", "CPU", hints)
x = np.ones(tuple(network.inputs[0].shape), np.float32)
for _ in range(2):
    network([x])
file = os.path.getsize(f"{sys.argv[1]}.bin") >> 20
cached = sum(path.stat().st_size for path in Path(sys.argv[2]).iterdir()) >> 20 if len(sys.argv) > 2 else 0
print(file, cached, round(mib("VmHWM") - before), round(mib("RssAnon") - anonymous))
PROGRAM
declare -A file cached peak anonymous
for name in conv-float conv-compressed conv-quantized dense-float dense-compressed; do
    read -r "file[$name]" _ "peak[$name]" "anonymous[$name]" < <(venv/bin/python measure.py "$name")
    read -r _ "cached[$name]" _ _ < <(venv/bin/python measure.py "$name" "cache-$name")
    echo "$name: file ${file[$name]}, cached ${cached[$name]}, peak ${peak[$name]}, anonymous ${anonymous[$name]} MiB"
done
((file[conv-compressed] * 3 < file[conv-float] && file[dense-compressed] * 3 < file[dense-float])) ||
    { echo "the sizes of the files have changed" >&2; exit 1; }
((peak[conv-compressed] * 10 > peak[conv-float] * 9 && anonymous[conv-compressed] > anonymous[conv-float] + 40)) ||
    { echo "compressed convolutions take less now" >&2; exit 1; }
((cached[conv-compressed] > 50)) || { echo "the cache is smaller now" >&2; exit 1; }
((peak[dense-compressed] * 2 < peak[dense-float] && peak[conv-quantized] * 3 < peak[conv-float] * 2)) ||
    { echo "the others have changed" >&2; exit 1; }
