#!/usr/bin/env bash
# OpenVINO's ONNX reader reduces over all axes where the network names one, and takes an old Softmax for a new one.
#
# Guess: what the reader accepts has its meaning, in each opset; operators of one family are read alike.
# Seen with openvino 2026.4.1 on CPU (onnx 1.23.2, numpy 2.4.6), for ones of 2 x 3 x 4; onnxruntime 1.32.0 and the
# operators' documentation agree:
#   ReduceL1, ReduceLogSum, ReduceLogSumExp with axes=[1], opset 13 to 17   1 x 1 x 1 instead of 2 x 1 x 4
#     in opset 12 and 18, and the other seven Reduce operators              right
#   Softmax with axis=1, opset 11 and 12                                    1/3 instead of 1/12
#     in opset 10 and 13, and LogSoftmax and Hardmax                        right
# Nothing is printed. Before opset 13 Softmax takes the axes from `axis` on as one row, and axis is 1 by default.
# The files declare the size of their output, which OpenVINO does not compare.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

ONES = np.ones((2, 3, 4), np.float32)
REDUCE = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
CORE = openvino.Core()


def same(operator, opset, axis):
    """Return whether OpenVINO and onnxruntime agree, and OpenVINO's output."""
    reduces = operator.startswith("Reduce")
    as_input = reduces and opset >= (13 if operator == "ReduceSum" else 18)
    attributes = {} if as_input else {"axes": [axis]} if reduces else {"axis": axis}
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "axes"] if as_input else ["x"], ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ONES.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 1, 4) if reduces else ONES.shape)],
        [numpy_helper.from_array(np.array([axis], np.int64), "axes")] if as_input else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "network.onnx")
    session = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": ONES})[0]
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    found = CORE.compile_model(CORE.read_model("network.onnx"), "CPU", exact)(ONES)[0]
    return expected.shape == found.shape and bool(np.allclose(expected, found, atol=1e-4)), found


wrong = []
for opset in (10, 11, 12, 13, 17, 18):
    for operator in [f"Reduce{name}" for name in REDUCE] + ["Softmax", "LogSoftmax", "Hardmax"]:
        agree, found = same(operator, opset, 1)
        if not agree:
            wrong.append((operator, opset))
            print(f"{operator}, opset {opset}: openvino gives {found.ravel()[0]:.4g} in {found.shape}")
expected = [("Softmax", 11), ("Softmax", 12)]
expected += [(f"Reduce{name}", opset) for opset in (13, 17) for name in ("L1", "LogSum", "LogSumExp")]
assert wrong == expected, "the behaviour has changed"
PROGRAM
