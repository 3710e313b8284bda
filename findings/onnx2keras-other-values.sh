#!/usr/bin/env bash
# onnx2keras pads a maximum with zeros, forgets Gemm's factors and a Slice's steps, and moves a one-sided padding.
#
# Guess: what the converter does not know it refuses, as ConvTranspose, LogSoftmax and a linear Resize are; padded poolings, which
# ResNets begin with, are right.
# Seen with onnx2keras 0.0.25 (tensorflow-cpu 2.21.0, onnx 1.23.2, numpy 2.4.6); onnxruntime 1.32.0 is right:
#                                                     right                  onnx2keras
#   MaxPool of -1 ... -16, 3 wide, stride 2, pads 1   -1, -2, -5, -6         0, 0, 0, -6
#     with dilations 2                                3 x 3                  4 x 4, as without them
#     with SAME_UPPER or SAME_LOWER, stride 1         4 x 4                  2 x 2: no padding
#   AveragePool of 1 ... 16, the same, pads 1         3.5, 5, 9.5, 11        1.6, 3.3, 6.3, 11: zeros count
#   Conv of 1, 2, 3, 4 by 1, 10, 100, pads 0 and 2    321, 432, 43, 4        210, 321, 432, 43
#   LRN of 1 ... 5, three channels, alpha 1           0.48, 0.55, 0.51 ...   0.08, 0.10, 0.15 ...
#   Gemm, beta 2                                      16, 36, 34, 81         15, 34, 33, 79
#     alpha 0.5, beta 2                               13, 18, 26.5, 36       23, 30, 50, 66
#   Slice with step 2                                 2, 4, 6                2, 3, 4, 5, 6
#   Softmax, opset 11, axis 1 of 1 x 2 x 2 x 3        over twelve numbers    over two
#   ReduceL2 over all                                 5.48                   2.24, 5
# Behind a ReLU a padded maximum is right, as no number is negative; without one, or with an activation that leaves
# negative numbers, the border differs. Only for padded poolings a line is logged: "Unable to use `same` padding. Add
# ZeroPadding2D layer to fix shapes."
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 onnx==1.23.2 onnxruntime==1.32.0 \
    numpy==2.4.6
# onnx2keras asks for `tensorflow`, which is larger and has the same modules.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps onnx2keras==0.0.25
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import numpy as np
import onnx
import onnxruntime
import tensorflow
from onnx import helper, numpy_helper
from onnx2keras import onnx_to_keras


def numbers(*values):
    return np.array(values, np.float32)


def row(*shape):
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


def outputs(operator, x, constants=(), opset=13, **attributes):
    weights = [numpy_helper.from_array(constant, f"w{number}") for number, constant in enumerate(constants)]
    node = helper.make_node(operator, ["x", *(weight.name for weight in weights)], ["y"], **attributes)
    start = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    graph = helper.make_graph([node], "graph", [start], [helper.make_empty_tensor_value_info("y")], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    by_keras = onnx_to_keras(model, ["x"], verbose=False)(tensorflow.constant(x))
    return session.run(None, {"x": x})[0].round(3), np.asarray(by_keras).round(3)


RIGHT = "right"
image, kernel = row(1, 1, 4, 4), numbers(1, 10, 100).reshape(1, 1, 3)
three = {"kernel_shape": [3, 3], "strides": [2, 2]}
softmax = np.zeros((1, 2, 2, 3), np.float32)
two, one, zero = (np.array([number]) for number in (2, 1, 0))
for label, found, seen in [
    ("MaxPool, pads, negative", outputs("MaxPool", -image, pads=[1] * 4, **three), [0, 0, 0, -6]),
    ("MaxPool, pads, positive", outputs("MaxPool", image, pads=[1] * 4, **three), RIGHT),
    ("MaxPool, dilations", outputs("MaxPool", row(1, 1, 8, 8), kernel_shape=[2, 2], strides=[2, 2], dilations=[2, 2]),
     row(1, 1, 8, 8)[0, 0, 1::2, 1::2].ravel()),
    ("MaxPool, SAME_UPPER", outputs("MaxPool", image, kernel_shape=[3, 3], strides=[1, 1], auto_pad="SAME_UPPER"),
     [11, 12, 15, 16]),
    ("AveragePool, pads", outputs("AveragePool", image, pads=[1] * 4, **three), [1.556, 3.333, 6.333, 11]),
    ("Conv", outputs("Conv", row(1, 1, 4), [kernel], kernel_shape=[3], pads=[1, 1]), RIGHT),
    ("Conv, pads 0 and 2", outputs("Conv", row(1, 1, 4), [kernel], kernel_shape=[3], pads=[0, 2]), [210, 321, 432, 43]),
    ("LRN", outputs("LRN", row(1, 5, 1, 1), size=3, alpha=1.0, beta=0.75, bias=1.0), [0.076, 0.098, 0.147, 0.195, 0.248]),
    ("Gemm", outputs("Gemm", row(2, 3), [row(3, 2), numbers(1, 2)]), RIGHT),
    ("Gemm, beta 2", outputs("Gemm", row(2, 3), [row(2, 3), numbers(1, 2)], transB=1, beta=2.0), [15, 34, 33, 79]),
    ("Gemm, alpha 0.5, beta 2", outputs("Gemm", row(2, 3), [row(3, 2), numbers(1, 2)], alpha=0.5, beta=2.0),
     [23, 30, 50, 66]),
    ("Slice, step 2", outputs("Slice", row(1, 6), [one, np.array([6]), one, two]), [2, 3, 4, 5, 6]),
    ("Slice", outputs("Slice", row(1, 6), [one, np.array([6]), one, one]), RIGHT),
    ("Softmax, opset 11", outputs("Softmax", softmax, opset=11, axis=1), [0.5] * 12),
    ("Softmax, opset 13", outputs("Softmax", softmax, axis=1), RIGHT),
    ("ReduceL2", outputs("ReduceL2", row(1, 2, 2), opset=11, keepdims=0), [2.236, 5]),
]:
    right, by_keras = found
    print(f"{label} | right {right.shape} {right.ravel().tolist()[:12]} | onnx2keras {by_keras.ravel().tolist()[:12]}")
    expected = right.ravel() if seen is RIGHT else np.array(seen)
    same = right.size == expected.size and np.allclose(right.ravel(), expected, atol=1e-2)
    assert by_keras.size == expected.size and np.allclose(by_keras.ravel(), expected, atol=1e-2), "the behaviour has changed"
    assert same == (seen is RIGHT), "onnxruntime's behaviour has changed"
PROGRAM
