#!/usr/bin/env bash
# ONNX Runtime's quantizer divides the bias of a Gemm by beta, and its quantized Gemm has no beta.
#
# Guess: a quantized Gemm computes alpha * A * B + beta * C, less what 8 bits lose, or quantize_static raises an error.
# Seen with onnxruntime 1.32.0 (onnx 1.23.2, numpy 2.4.6), CPU, for A * B = -4 ... 4 and C = 1. What is added to A * B:
#   alpha  beta   right   QDQ, optimizations off   QDQ, default   QOperator
#   1      1      1       1                        1              1
#   1      3      3       1                        0.33           0.33
#   1      0.5    0.5     1                        2              2
#   0.5    1      1       1                        1              0.5
# The quantized C is C / beta. In QDQ the Gemm stays, and multiplies it by beta: C. With default optimizations, and in
# QOperator format, it becomes QGemm, which has no beta: C / beta, and multiplies C by alpha too in QOperator format.
# PyTorch's addmm(beta=..., alpha=...) is exported as such a Gemm; Linear has 1 and 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import logging

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

logging.disable(logging.WARNING)
X = np.linspace(-4, 4, 9, dtype=np.float32).reshape(1, 9)
LEVELS = onnxruntime.GraphOptimizationLevel


class Samples(CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": X}]

    def get_next(self):
        return self.left.pop() if self.left else None


def added(path, level):
    """Return what a network adds to alpha * A * B: its output where A * B is 0."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return float(session.run(None, {"x": X})[0][0, 4])


for alpha, beta, expected in [
    (1.0, 1.0, [1, 1, 1, 1]),
    (1.0, 3.0, [3, 1, 0.33, 0.33]),
    (1.0, 0.5, [0.5, 1, 2, 2]),
    (0.5, 1.0, [1, 1, 1, 0.5]),
]:
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "b", "c"], ["y"], name="gemm", alpha=alpha, beta=beta)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 9])],
        [
            numpy_helper.from_array(np.eye(9, dtype=np.float32), "b"),
            numpy_helper.from_array(np.ones(9, np.float32), "c"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "float.onnx")
    quantize_static("float.onnx", "qdq.onnx", Samples(), quant_format=QuantFormat.QDQ)
    quantize_static("float.onnx", "operator.onnx", Samples(), quant_format=QuantFormat.QOperator)
    found = [
        added("float.onnx", LEVELS.ORT_ENABLE_ALL),
        added("qdq.onnx", LEVELS.ORT_DISABLE_ALL),
        added("qdq.onnx", LEVELS.ORT_ENABLE_ALL),
        added("operator.onnx", LEVELS.ORT_ENABLE_ALL),
    ]
    print(f"alpha {alpha}, beta {beta}: added", [round(value, 2) for value in found])
    assert np.allclose(found, expected, atol=0.05), "the behaviour has changed"
PROGRAM
