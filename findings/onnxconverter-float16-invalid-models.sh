#!/usr/bin/env bash
# onnxconverter-common's float16 conversion writes models that ONNX Runtime refuses: for nodes without names, for a Cast
# to float, and for a Constant that is a single number.
#
# Guess: convert_float_to_float16 returns a valid model or raises an error. A node's name is optional in ONNX and means
# nothing.
# Seen with onnxconverter-common 1.16.0 (onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6), keep_io_types=True. Unless
# noted it returns without an error, and onnxruntime refuses what it returned:
#   x * Sigmoid(x), nodes without names     two nodes with the name x_cast_to_; with names right
#   two Resize in a row, without names      AttributeError: 'list' object has no attribute 'input'; with names right
#   Cast to int32, Cast back to float       the output is declared as float16 and the Cast keeps `to` = float
#   Constant with value_float: 2, then Mul  the constant stays float, the other factor is float16; with a tensor right
# onnx.checker finds the names, and the types only with full_check=True. Converters that leave names out are common
# (helper.make_node has none), and Resize in a row is a decoder or a feature pyramid.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnxconverter-common==1.16.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxconverter_common.float16 import convert_float_to_float16

onnxruntime.set_default_logger_severity(4)
X = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
SCALES = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
TWO = numpy_helper.from_array(np.array(2, np.float32))


def node(operator, inputs, output, **attributes):
    return operator, inputs, output, attributes


NETWORKS = {
    "x * Sigmoid(x)": [node("Sigmoid", ["x"], "s"), node("Mul", ["x", "s"], "y")],
    "two Resize": [
        node("Resize", ["x", "", "scales"], "r", mode="nearest"),
        node("Resize", ["r", "", "scales"], "y", mode="nearest"),
    ],
    "Cast to float": [
        node("Cast", ["x"], "i", to=TensorProto.INT32),
        node("Cast", ["i"], "f", to=TensorProto.FLOAT),
        node("Relu", ["f"], "y"),
    ],
    "Constant, number": [node("Constant", [], "c", value_float=2.0), node("Mul", ["x", "c"], "y")],
    "Constant, tensor": [node("Constant", [], "c", value=TWO), node("Mul", ["x", "c"], "y")],
}


def run(model):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": X})[0]


def outcome(nodes, named):
    """Return what becomes of a network: right, other values, or what refuses it."""
    side = 8 if nodes[0][0] == "Resize" else 2
    graph = helper.make_graph(
        [
            helper.make_node(operator, inputs, [output], name=f"node{number}" if named else None, **attributes)
            for number, (operator, inputs, output, attributes) in enumerate(nodes)
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, side, side])],
        [SCALES] if side == 8 else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    expected = run(model)
    try:
        half = convert_float_to_float16(model, keep_io_types=True)
    except AttributeError:
        return "AttributeError"
    try:
        return "right" if np.allclose(run(half), expected, atol=0.01) else "other values"
    except Exception:
        return "refused by onnxruntime"


REFUSED = "refused by onnxruntime"
for name, expected in {
    "x * Sigmoid(x)": ("right", REFUSED),
    "two Resize": ("right", "AttributeError"),
    "Cast to float": (REFUSED, REFUSED),
    "Constant, number": (REFUSED, REFUSED),
    "Constant, tensor": ("right", "right"),
}.items():
    found = outcome(NETWORKS[name], True), outcome(NETWORKS[name], False)
    print(f"{name}: {found[0]}; nodes without names: {found[1]}")
    assert found == expected, "the behaviour has changed"
PROGRAM
