#!/usr/bin/env bash
# ONNX Runtime needs half as much memory again in its second pass with the same input as in its first one.
#
# Guess: a network is as large as it gets after one pass; more passes with an input of the same size take what is there.
# Seen with onnxruntime 1.32.0 (onnx 1.23.2, numpy 2.4.6), x86-64, glibc 2.36, one thread, for a network of an encoder, a
# decoder and skip connections on one image of 640 x 640. Peak RSS in MiB after each pass:
#                                  1     2     3     4
#   the default                  141   210   210   210
#   enable_mem_pattern=False     141   141   141   141
# The first pass takes its blobs from the arena one by one, and the session notes where they lie. From the second pass on it
# asks the arena for one block for all of them, which is new: what the first pass took stays in the arena beside it. Who
# measures one inference, or takes the peak from the warm-up, sizes a board with a third too little.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
cat >network.py <<'PROGRAM'
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(0)
nodes = []
constants = [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")]


def convolution(name, blob, inputs, outputs, stride=1):
    weights = (random.standard_normal((outputs, inputs, 3, 3)) * 0.05).astype(np.float32)
    constants.append(numpy_helper.from_array(weights, f"{name}_weights"))
    given = [blob, f"{name}_weights"]
    nodes.append(helper.make_node("Conv", given, [f"{name}_sum"], pads=[1] * 4, strides=[stride] * 2))
    nodes.append(helper.make_node("Relu", [f"{name}_sum"], [name]))
    return name, outputs


def twice(name, blob):
    nodes.append(helper.make_node("Resize", [blob, "", "twice"], [name], mode="nearest"))
    return name


blob, channels = "image", 3
skipped = []
for number, outputs in enumerate((16, 32, 64, 128)):
    blob, channels = convolution(f"down{number}", blob, channels, outputs, stride=2)
    skipped.append((blob, channels))
for number, (beside, more) in enumerate(skipped[-2::-1]):
    both = [twice(f"twice{number}", blob), beside]
    nodes.append(helper.make_node("Concat", both, [f"both{number}"], axis=1))
    blob, channels = convolution(f"up{number}", f"both{number}", channels + more, more)
convolution("map", twice("last", blob), channels, 1)
ends = [
    helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, number, 640, 640])
    for name, number in (("image", 3), ("map", 1))
]
graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "network.onnx")
PROGRAM
cat >passes.py <<'PROGRAM'
import sys

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.enable_mem_pattern = sys.argv[1] == "pattern"
session = onnxruntime.InferenceSession("network.onnx", options, providers=["CPUExecutionProvider"])
image = np.zeros((1, 3, 640, 640), np.float32)
for _ in range(4):
    session.run(None, {"image": image})
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024)
PROGRAM
venv/bin/python network.py
for choice in pattern none; do
    mapfile -t peak < <(venv/bin/python passes.py "$choice")
    echo "$choice: ${peak[*]} MiB"
    more=$((peak[1] - peak[0]))
    [ $((peak[3] - peak[1])) -le 2 ] || { echo "the third pass takes more" >&2; exit 1; }
    if [ "$choice" = pattern ]; then
        [ "$more" -ge 55 ] && [ "$more" -le 85 ]
    else
        [ "$more" -le 3 ]
    fi || { echo "the behaviour has changed" >&2; exit 1; }
done
