#!/usr/bin/env bash
# TVM's ONNX frontend ignores output_shape, and does not pad a MaxPool of stride 2 with SAME_LOWER.
#
# Guess: a tensor that the frontend makes has the size that the file declares for it, or the import fails.
# Seen with apache-tvm 0.27.0.post1 (onnx 1.23.2, numpy 2.4.6), CPU; onnxruntime 1.32.0 and ONNX's shape inference agree
# on the right column:
#                                                            TVM            right
#   ConvTranspose of 4, kernel 3, stride 2, output_shape 7   9 numbers      7
#                                           output_shape 10  9 numbers      10
#   MaxPool of 1 ... 7, 2 wide, stride 2, SAME_LOWER         2, 4, 6        1, 3, 5, 7
#   MaxPool, stride 1, SAME_LOWER; AveragePool; SAME_UPPER   right
# The file's own declaration of the output is not compared. Upsampled maps that are to be joined with a skip connection
# of the declared size fail far from there, or, in a network that ends there, give a mask of another size.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    apache-tvm==0.27.0.post1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnxruntime
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx


def outputs(operator, row, size, **attributes):
    """Return an operator's output for a row of numbers, with TVM and with onnxruntime."""
    row = np.array(row, np.float32).reshape(1, 1, 1, -1)
    constants = []
    if operator == "ConvTranspose":
        weights = np.array([1, 10, 100], np.float32).reshape(1, 1, 1, 3)
        constants.append(numpy_helper.from_array(weights, "w"))
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"] + [each.name for each in constants], ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, row.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, size])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    machine = relax.VirtualMachine(tvm.compile(from_onnx(model), target="llvm"), tvm.cpu())
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = machine["main"](tvm.runtime.tensor(row)).numpy()
    return found.ravel(), session.run(None, {"x": row})[0].ravel()


full = [1, 10, 102, 20, 203, 30, 304, 40, 400]
pool = {"kernel_shape": [1, 2], "strides": [1, 2]}
lower, upper = {"auto_pad": "SAME_LOWER"}, {"auto_pad": "SAME_UPPER"}
for operator, row, attributes, right, expected in [
    ("ConvTranspose", [1, 2, 3, 4], {"strides": [1, 2]}, full, full),
    ("ConvTranspose", [1, 2, 3, 4], {"strides": [1, 2], "output_shape": [1, 7]}, full[1:8], full),
    ("ConvTranspose", [1, 2, 3, 4], {"strides": [1, 2], "output_shape": [1, 10]}, [*full, 0], full),
    ("MaxPool", range(1, 8), pool | lower, [1, 3, 5, 7], [2, 4, 6]),
    ("MaxPool", range(1, 8), pool | upper, [2, 4, 6, 7], [2, 4, 6, 7]),
    ("MaxPool", range(1, 8), pool | lower | {"strides": [1, 1]}, range(1, 8), range(1, 8)),
    ("AveragePool", range(1, 8), pool | lower, [1, 2.5, 4.5, 6.5], [1, 2.5, 4.5, 6.5]),
]:
    found, by_runtime = outputs(operator, list(row), len(right), **attributes)
    print(operator, attributes, "| TVM", found, "| right", list(right))
    assert np.array_equal(by_runtime, list(right)), "onnxruntime differs from the documentation"
    assert np.array_equal(found, list(expected)), "the behaviour has changed"
PROGRAM
