#!/usr/bin/env bash
# tract takes more than twice the memory of the weights to read a network from ONNX, and half as much again as from NNEF.
#
# Guess: a small engine for devices reads weights once; the same network takes the same memory from either format, as
# both have the weights as plain numbers.
# Seen with tract 0.23.9 (onnx 1.23.2, numpy 2.4.6), x86-64, glibc, eight 3x3 convolutions of 512 channels on 14 x 14, 72 MiB
# of weights. Peak memory above that of the imported library, and what remains after a run, in MiB:
#                                               peak          remains
#   network.onnx                                155 to 191    85 to 191
#     with MALLOC_MMAP_THRESHOLD_=65536         155           85
#   network.onnx, weights beside it             155 to 191    85 to 191
#   network.nnef.tar, written by tract          100 to 110    85 to 103
# Both results are the same numbers. ONNX is parsed into one copy and turned into another before the first is freed; what is
# freed then stays with malloc, more or less of it from run to run, as no later block is as large. Convert on a PC, and
# take the NNEF file to the board.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tract==0.23.9 onnx==1.23.2 numpy==2.4.6
cd "$folder"
cat >make.py <<'PROGRAM'
import numpy as np
import onnx
import tract
from onnx import TensorProto, helper, numpy_helper

CHANNELS, LAYERS = 512, 8
generator = np.random.default_rng(0)
nodes, weights, last = [], [], "x"
for number in range(LAYERS):
    values = generator.normal(0, 0.01, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
    weights.append(numpy_helper.from_array(values, f"weights{number}"))
    nodes.append(
        helper.make_node("Conv", [last, f"weights{number}"], [f"conv{number}"], pads=[1] * 4)
    )
    last = f"conv{number}"
shape = [1, CHANNELS, 14, 14]
graph = helper.make_graph(
    nodes,
    "graph",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
    [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
    weights,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, "network.onnx")
onnx.save(model, "beside.onnx", save_as_external_data=True, location="beside.bin")
tract.nnef().write_model_to_tar(tract.onnx().load("network.onnx").into_model(), "network.nnef.tar")
PROGRAM
cat >load.py <<'PROGRAM'
import sys

import numpy as np
import tract


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


image = np.ones((1, 512, 14, 14), np.float32)
before = mib("VmRSS")
name = sys.argv[1]
model = tract.nnef().load(name) if name.endswith(".tar") else tract.onnx().load(name).into_model()
network = model.into_runnable()
(result,) = network.run([image])
print(round(mib("VmHWM") - before), round(mib("VmRSS") - before), result.to_numpy().sum())
PROGRAM
venv/bin/python make.py
failed=0
judge() { # judge NAME THRESHOLD PEAK_FROM PEAK_TO REMAINS_TO
    read -r peak remains sum < <(env ${2:+MALLOC_MMAP_THRESHOLD_=$2} venv/bin/python load.py "$1")
    echo "$1${2:+, threshold $2}: peak $peak MiB, remains $remains MiB, sum of the result $sum"
    if ((peak < $3 || peak > $4 || remains > $5)); then
        echo "the behaviour has changed" >&2
        failed=1
    fi
    [[ $sum == "${first:=$sum}" ]] || { echo "the results differ" >&2; failed=1; }
}
judge network.onnx "" 140 210 210
judge network.onnx 65536 140 165 95
judge beside.onnx "" 140 210 210
judge network.nnef.tar "" 85 125 115
judge network.nnef.tar 65536 85 115 95
exit "$failed"
