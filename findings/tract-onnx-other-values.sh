#!/usr/bin/env bash
# tract overflows in Softplus, LogSoftmax and ReduceLogSumExp, halves or doubles Celu, and cuts an output_shape at one end.
#
# Guess: Softmax, Elu and a ConvTranspose with pads are right, so that their relatives are; float32 numbers of 100 are
# small ones.
# Seen with tract 0.23.9 (onnx 1.23.2, numpy 2.4.6); onnxruntime 1.32.0 is right:
#                                          tract               right
#   Softplus of 50, 100                    50, infinity        50, 100
#   LogSoftmax of 0, 50, 200               -inf, -inf, 0       -200, -150, 0
#   ReduceLogSumExp of 0, 100              infinity            100
#   Celu of -4, 1 with alpha 0.5           -1, 1               -0.5, 1: the result is not multiplied by alpha
#   Celu of -4, 1 with alpha 2             -0.86, 1            -1.73, 1
#   ConvTranspose, output_shape 7 of 9     1, 10, 102, ...     10, 102, ...: one number is cut off at either end; tract
#     (1, 2, 3, 4 by 1, 10, 100, stride 2)                     cuts both off at the end, for an odd excess too
# Softmax, Mish and Celu with alpha 1 are right. A network's random test input seldom leads to numbers of 100; an
# image with values up to 255 does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    tract==0.23.9 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnxruntime
import tract
from onnx import TensorProto, helper, numpy_helper

INFINITY = float("inf")


def outputs(operator, row, size, weights=None, **attributes):
    """Return the operator's output for a row of numbers, with tract and with onnxruntime."""
    row = np.array(row, np.float32).reshape(1, 1, 1, -1)
    constants = []
    if weights is not None:
        weights = np.array(weights, np.float32).reshape(1, 1, 1, -1)
        constants.append(numpy_helper.from_array(weights, "w"))
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"] + [each.name for each in constants], ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, row.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, size])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "model.onnx")
    (by_tract,) = tract.onnx().load("model.onnx").into_model().into_runnable().run([row])
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    return by_tract.to_numpy().ravel(), session.run(None, {"x": row})[0].ravel()


upsampling = {"weights": [1, 10, 100], "strides": [1, 2]}
for operator, row, options, right, expected in [
    ("Softplus", [50, 100], {}, [50, 100], [50, INFINITY]),
    ("LogSoftmax", [0, 50, 200], {}, [-200, -150, 0], [-INFINITY, -INFINITY, 0]),
    ("ReduceLogSumExp", [0, 100], {}, [100], [INFINITY]),
    ("Celu", [-4, 1], {"alpha": 0.5}, [0.5 * np.expm1(-8), 1], [np.expm1(-8), 1]),
    ("Celu", [-4, 1], {"alpha": 2.0}, [2 * np.expm1(-2), 1], [np.expm1(-2), 1]),
    (
        "ConvTranspose",
        [1, 2, 3, 4],
        {"output_shape": [1, 7], **upsampling},
        [10, 102, 20, 203, 30, 304, 40],
        [1, 10, 102, 20, 203, 30, 304],
    ),
    (
        "ConvTranspose",
        [1, 2, 3, 4],
        {"output_shape": [1, 8], **upsampling},
        [10, 102, 20, 203, 30, 304, 40, 400],
        [1, 10, 102, 20, 203, 30, 304, 40],
    ),
]:
    found, by_runtime = outputs(operator, row, len(right), **options)
    print(operator, row, options, "| tract", found.round(2), "| right", np.round(right, 2))
    assert np.allclose(by_runtime, right, atol=1e-4), "onnxruntime differs from the formula"
    assert np.allclose(found, expected, atol=1e-4), "the behaviour has changed"

for operator, row, options in [
    ("Softmax", [0, 50, 200], {}),
    ("Mish", [-4, 100], {}),
    ("Celu", [-4, 1], {}),
    ("ConvTranspose", [1, 2, 3, 4], {"pads": [0, 1, 0, 1], **upsampling}),
]:
    size = 7 if operator == "ConvTranspose" else len(row)
    found, by_runtime = outputs(operator, row, size, **options)
    print(operator, row, options, "| tract", found.round(2))
    assert np.allclose(found, by_runtime, atol=1e-4), "an operator that was right is wrong"
PROGRAM
