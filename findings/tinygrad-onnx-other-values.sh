#!/usr/bin/env bash
# tinygrad's ONNX runner rounds halves up for uint8 and to even for int8, and takes VALID for SAME_LOWER in ConvTranspose.
#
# Guess: quantizing has one rule of rounding (ONNX: to the nearest even), and "no padding" is the easy case.
# Seen with tinygrad 0.14.0 (onnx 1.23.2, numpy 2.4.6), its device PYTHON; onnxruntime 1.32.0 and onnx.reference agree on the
# right column:
#                                                       tinygrad                   right
#   QuantizeLinear of -1.5, -0.5, 0.5, 1.5, scale 1
#     int8, zero point 0                                -2, 0, 0, 2                -2, 0, 0, 2
#     uint8, zero point 128                             127, 128, 129, 130         126, 128, 128, 130
#   ConvTranspose of 1, 2, 3, 4 by 1, 10, 100, stride 2
#     without auto_pad                                  9 numbers: 1, 10, 102 ...  9 numbers
#     auto_pad VALID                                    8 numbers: 10, 102 ...     9 numbers: 1, 10, 102 ...
#   ReduceLogSumExp of 0, 100                           infinity                   100
# Half of the halves become a number that is one too large, never one that is too small. Activations are uint8 in most
# quantized networks, and halves are common where the scale is a power of two.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    tinygrad==0.14.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
export DEV=PYTHON CACHEDB="$folder/cache.db"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tinygrad import Tensor
from tinygrad.nn.onnx import OnnxRunner


def outputs(operator, x, constants, shape, dtype=TensorProto.FLOAT, **attributes):
    """Return the operator's first output with tinygrad, with onnxruntime and with onnx.reference."""
    x = np.array(x, np.float32)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *constants], ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", dtype, shape)],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "model.onnx")
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    return (
        OnnxRunner("model.onnx")({"x": Tensor(x)})["y"].numpy().ravel(),
        session.run(None, {"x": x})[0].ravel(),
        ReferenceEvaluator(model).run(None, {"x": x})[0].ravel(),
    )


def judge(text, found, right, expected):
    print(f"{text} | tinygrad {found[0]} | right {np.array(right)}")
    assert np.allclose(found[1], right), "onnxruntime differs"
    assert np.allclose(found[2], right), "the reference differs"
    assert np.array_equal(found[0], expected), "the behaviour has changed"


halves = [-1.5, -0.5, 0.5, 1.5]
to_even = np.array([-2, 0, 0, 2])
for zero, dtype, expected in [
    (np.int8(0), TensorProto.INT8, to_even),
    (np.uint8(128), TensorProto.UINT8, [127, 128, 129, 130]),
    (np.uint8(3), TensorProto.UINT8, [2, 3, 4, 5]),
]:
    constants = {"s": np.float32(1), "z": zero}
    found = outputs("QuantizeLinear", halves, constants, [4], dtype)
    judge(f"QuantizeLinear, {zero.dtype}, zero point {zero}", found, to_even + int(zero), expected)

full = [1, 10, 102, 20, 203, 30, 304, 40, 400]
weights = {"w": np.array([1, 10, 100], np.float32).reshape(1, 1, 1, 3)}
for auto_pad, right, expected in [
    ({}, full, full),
    ({"auto_pad": "VALID"}, full, full[1:]),
    ({"auto_pad": "SAME_LOWER"}, full[1:], full[1:]),
    ({"auto_pad": "SAME_UPPER"}, full[:-1], full[:-1]),
]:
    shape = [1, 1, 1, len(right)]
    found = outputs("ConvTranspose", [[[[1, 2, 3, 4]]]], weights, shape, strides=[1, 2], **auto_pad)
    judge(f"ConvTranspose {auto_pad}", found, right, expected)

found = outputs("ReduceLogSumExp", [[0, 100]], {}, [1, 1])
judge("ReduceLogSumExp of 0, 100", found, [100], [np.inf])
PROGRAM
