#!/usr/bin/env bash
# onnx2torch sums backwards in CumSum, multiplies by another PRelu slope and pads with zeros.
#
# Guess: what PyTorch computes otherwise is refused, as SAME_UPPER and the usual DepthToSpace are ("not implemented"), or
# warned about, as Resize is ("results might differ").
# Seen with onnx2torch 1.5.15 (torch 2.13.0, onnx 1.23.2, numpy 2.4.6); onnxruntime 1.32.0 is right:
#                                                         right                     onnx2torch
#   CumSum of 1, 2, 3, 4                                  1, 3, 6, 10               10, 9, 7, 4, as with reverse=1
#     exclusive                                           0, 1, 3, 6                9, 7, 4, 0
#   PRelu of two channels -1, -2 and -3, -4,
#     slopes 0.1 and 0.2 along the last axis              -0.1, -0.4, -0.3, -0.8    -0.1, -0.2, -0.6, -0.8
#   Pad, opset 2, value 3, of 1, 2                        3, 1, 2                   0, 1, 2
#   ConvTranspose of 1, 2, 3, 4 by 1, 10, 100, stride 2,
#     output_shape 7                                      10, 102 ... 40            1, 10, 102 ... 40, 400: 9 numbers
#   IsInf of infinity, -infinity; negative alone          no, yes                   yes, yes
#   NonZero of two rows of ones                           0, 0, 1, 1; 0, 1, 0, 1    0, 0; 0, 1; 1, 0; 1, 1
# Nothing is printed. Positions that a network counts from a mask with CumSum, as RoBERTa does, run from the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 onnx==1.23.2 onnxruntime==1.32.0 \
    numpy==2.4.6
# onnx2torch also asks for torchvision, whose operators are not needed here.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps onnx2torch==1.5.15
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import sys
from unittest import mock

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper

for name in ("torchvision", "torchvision.ops"):
    sys.modules[name] = mock.MagicMock()
from onnx2torch import convert


def numbers(*values):
    return np.array(values, np.float32)


def outputs(operator, x, constants=(), opset=13, **attributes):
    weights = [numpy_helper.from_array(constant, f"w{number}") for number, constant in enumerate(constants)]
    node = helper.make_node(operator, ["x", *(weight.name for weight in weights)], ["y"], **attributes)
    start = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    graph = helper.make_graph([node], "graph", [start], [helper.make_empty_tensor_value_info("y")], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    right = session.run(None, {"x": x})[0]
    with torch.no_grad():
        by_torch = convert(model).eval()(torch.tensor(x))
    return right.ravel(), np.asarray(by_torch).ravel()


RIGHT = "right"
row, zero, kernel = numbers(1, 2, 3, 4), np.array(0), numbers(1, 10, 100).reshape(1, 1, 3)
infinity = np.float32(np.inf)
for label, found, seen in [
    ("CumSum", outputs("CumSum", row, [zero]), [10, 9, 7, 4]),
    ("CumSum, reverse", outputs("CumSum", row, [zero], reverse=1), RIGHT),
    ("CumSum, exclusive", outputs("CumSum", row, [zero], exclusive=1), [9, 7, 4, 0]),
    ("PRelu, slopes along the last axis", outputs("PRelu", -row.reshape(1, 2, 1, 2), [numbers(0.1, 0.2)]),
     [-0.1, -0.2, -0.6, -0.8]),
    ("PRelu, slopes of channels", outputs("PRelu", -row.reshape(1, 2, 1, 2), [numbers(0.1, 0.2).reshape(2, 1, 1)]), RIGHT),
    ("Pad, opset 2", outputs("Pad", row[:2].reshape(1, 1, 2), opset=2, pads=[0, 0, 1, 0, 0, 0], value=3.0), [0, 1, 2]),
    ("ConvTranspose", outputs("ConvTranspose", row.reshape(1, 1, 4), [kernel], strides=[2]), RIGHT),
    ("ConvTranspose, output_shape", outputs("ConvTranspose", row.reshape(1, 1, 4), [kernel], strides=[2], output_shape=[7]),
     [1, 10, 102, 20, 203, 30, 304, 40, 400]),
    ("IsInf", outputs("IsInf", numbers(infinity, -infinity), detect_positive=0), [1, 1]),
    ("NonZero", outputs("NonZero", row.reshape(2, 2)), [0, 0, 0, 1, 1, 0, 1, 1]),
]:
    right, by_torch = (result.astype(np.float32).round(3) for result in found)
    print(f"{label} | right {right.tolist()} | onnx2torch {by_torch.tolist()}")
    expected = right if seen is RIGHT else np.array(seen)
    same = right.shape == expected.shape and np.allclose(right, expected, atol=1e-3)
    assert by_torch.shape == expected.shape and np.allclose(by_torch, expected, atol=1e-3), "the behaviour has changed"
    assert same == (seen is RIGHT), "onnxruntime's behaviour has changed"
PROGRAM
