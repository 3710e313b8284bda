#!/usr/bin/env bash
# OpenCV's dnn takes eight times the memory of 3x3 convolutions' weights, from the first run on, and reports one.
#
# Guess: a network that has been read has its size; a run adds its maps, and getMemoryConsumption tells both.
# Seen with opencv-python-headless 4.14.0.94 (onnx 1.23.2, numpy 2.4.6), x86-64, one thread: six 3x3 convolutions of 512
# channels on 14 x 14, 54 MiB of weights. Memory above that of the imported library, in MiB:
#                                         after reading   peak, after the first run
#   as it is                                         57                         450
#   enableWinograd(False)                            57                         120
#   getMemoryConsumption: weights, maps                                   54 and 5, for both
# Outputs are the same but for rounding. Winograd's method keeps 64 numbers for the 9 of each kernel, made at the first run,
# beside the weights that were read. It is on unless one turns it off, and takes a third of the time here. The 3x3
# convolutions of VGG-16 have 56 MiB of weights: a board of 512 MB does not have that memory.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==4.14.0.94 onnx==1.23.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PROGRAM'
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(0)
nodes, weights = [], []
for number in range(6):
    kernel = (random.normal(size=(512, 512, 3, 3)) * 0.01).astype(np.float32)
    weights.append(numpy_helper.from_array(kernel, f"w{number}"))
    nodes.append(helper.make_node("Conv", [f"x{number}", f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Relu", [f"c{number}"], [f"x{number + 1}"]))
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 512, 14, 14)) for name in ("x0", "x6")]
graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "net.onnx")
PROGRAM
cat >measure.py <<'PROGRAM'
import sys

import cv2
import numpy as np


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


cv2.setNumThreads(1)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts again at what is resident now
before = mib("VmRSS")
net = cv2.dnn.readNetFromONNX("net.onnx")
if sys.argv[1] == "without":
    net.enableWinograd(False)
read = mib("VmRSS") - before
x = np.random.default_rng(1).normal(size=(1, 512, 14, 14)).astype(np.float32)
net.setInput(x)
y = net.forward()
peak = mib("VmHWM") - before
weights, maps = (size / 2**20 for size in net.getMemoryConsumption((1, 512, 14, 14)))
np.save(f"{sys.argv[1]}.npy", y)
print(round(read), round(peak), round(weights), round(maps))
PROGRAM
read -r with_read with_peak weights maps < <(venv/bin/python measure.py with)
read -r without_read without_peak other_weights other_maps < <(venv/bin/python measure.py without)
echo "with Winograd: $with_read MiB after reading, peak $with_peak MiB, reported $weights and $maps MiB"
echo "without:       $without_read MiB after reading, peak $without_peak MiB, reported $other_weights and $other_maps MiB"
venv/bin/python -c '
import numpy as np
a, b = np.load("with.npy"), np.load("without.npy")
assert np.allclose(a, b, atol=1e-3 * np.abs(b).max()), "the outputs differ"'
((with_read < 80 && without_read < 80)) || { echo "reading takes more now" >&2; exit 1; }
((with_peak > 400 && without_peak < 150)) || { echo "the behaviour has changed" >&2; exit 1; }
((weights == 54 && other_weights == 54 && maps < 10 && other_maps < 10)) || { echo "the report has changed" >&2; exit 1; }
