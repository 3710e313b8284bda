#!/usr/bin/env bash
# onnx.shape_inference.infer_shapes takes four times the memory of the weights, on top of the model that it is given.
#
# Guess: shapes depend on a few numbers of each weight; inferring them takes little memory, by name or by object.
# Seen with onnx 1.23.2 (numpy 2.4.6), for one convolution with 64 MiB of weights. Peak memory above what there was before
# the call, in MiB:
#   onnx.load                                                      128     the file and its parsed form; 64 remain
#   checker.check_model(model)                                     135
#   checker.check_model(model, full_check=True)                    199
#   shape_inference.infer_shapes(model)                            263
#   version_converter.convert_version(model, 18)                   332
#   shape_inference.infer_shapes_path(file, file)                  135
#   infer_shapes of a model loaded with load_external_data=False   7, and the same shapes
# Each call writes the model to bytes, parses these in C++, and returns the way it came. On a board of 512 MB a network of
# 100 MB runs, and its shapes cannot be inferred; save the weights with save_as_external_data and leave them there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 numpy==2.4.6
cd "$folder"
cat >make.py <<'PROGRAM'
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "weights"], ["conv"]), helper.make_node("Relu", ["conv"], ["y"])],
    "graph",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 512, 16, 16])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 512, 9, 9])],
    [numpy_helper.from_array(np.ones((512, 512, 8, 8), np.float32), "weights")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.save(model, "network.onnx")
onnx.save(model, "beside.onnx", save_as_external_data=True, location="beside.bin")
PROGRAM
cat >measure.py <<'PROGRAM'
import sys

import onnx
import onnx.checker
import onnx.shape_inference
import onnx.version_converter


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def sizes(model):
    return [
        [dimension.dim_value for dimension in each.type.tensor_type.shape.dim]
        for each in model.graph.value_info
    ]


case = sys.argv[1]
given, result = None, None
if case not in ("load", "infer_shapes_path"):
    given = onnx.load(
        "beside.onnx" if case == "without_weights" else "network.onnx",
        load_external_data=case != "without_weights",
    )
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts again at what is resident now
before = mib("VmRSS")
if case == "load":
    result = onnx.load("network.onnx")
elif case == "check_model":
    onnx.checker.check_model(given)
elif case == "full_check":
    onnx.checker.check_model(given, full_check=True)
elif case == "convert_version":
    result = onnx.version_converter.convert_version(given, 18)
elif case == "infer_shapes_path":
    onnx.shape_inference.infer_shapes_path("network.onnx", "inferred.onnx")
else:
    result = onnx.shape_inference.infer_shapes(given)
peak = mib("VmHWM") - before
if case == "infer_shapes_path":
    result = onnx.load("inferred.onnx")
if case in ("infer_shapes", "without_weights", "infer_shapes_path"):
    assert sizes(result) == [[1, 512, 9, 9]], "the shapes differ"
print(round(peak))
PROGRAM
venv/bin/python make.py
failed=0
while read -r name low high; do
    peak=$(venv/bin/python measure.py "$name")
    echo "$name: peak $peak MiB above what there was, weights 64 MiB"
    if ((peak < low || peak > high)); then
        echo "the behaviour has changed" >&2
        failed=1
    fi
done <<'CASES'
load 115 150
check_model 115 150
full_check 180 215
infer_shapes 240 285
convert_version 300 360
infer_shapes_path 115 150
without_weights 0 20
CASES
exit "$failed"
