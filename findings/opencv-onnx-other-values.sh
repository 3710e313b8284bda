#!/usr/bin/env bash
# OpenCV's ONNX importer turns SAME_LOWER into SAME_UPPER, leaves the zeros out of an average, and ignores dilations of pools.
#
# Guess: attributes of the common operators are used or refused, as a Resize with cubic and half_pixel or a Slice backwards
# are; all shapes are those that the file declares.
# Seen with opencv-python-headless 4.14.0.94 (onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6), for the row 1 ... 7 or 1 ... 4:
#                                                       right                 OpenCV
#   Conv by 1, 10, SAME_LOWER                           10, 21, 32 ... 76     21, 32 ... 76, 7: one pixel to the left
#   MaxPool, 2 wide, stride 2, SAME_LOWER               1, 3, 5, 7            2, 4, 6, 7; AveragePool likewise
#   AveragePool, 3 wide, pads 1, count_include_pad      1, 2, 3 ... 4.33      1.5, 2, 3 ... 6.5
#   MaxPool, 3 wide, dilation 2                         5, 6, 7               3, 4, 5, 6, 7; AveragePool likewise
#   ConvTranspose by 1, 10, 100, stride 2
#     output_shape 7                                    10, 102, 20, 203 ...  9 numbers: 1, 10, 102, 20 ...
#     SAME_UPPER                                        8 numbers: 1, 10 ...  7 numbers: 10, 102 ...
#   ConvTranspose by 1, 10, 100, dilation 2             1, 2, 13, 24 ...      6 numbers: 1, 12, 123, 234 ...
#   Resize of 1 ... 7, linear, half_pixel, scale 0.5    1.5, 3.5, 5.5         1.67, 4, 6.33: the factor is 3 / 7
#   Resize, nearest, floor, half_pixel, scale 2         1, 1, 1, 2, 2 ...     1, 1, 2, 2 ...: round_prefer_floor
#   Softmax, opset 11, axis 1, of eight zeros           0.125                 0.25: over the four channels alone
#   Softplus of 100                                     100                   infinity
# Shapes are not compared with the declared ones. A comparison of a board's engine with OpenCV stops at such layers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==4.14.0.94 onnx==1.23.2 \
    onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def outputs(operator, x, shape, opset=18, inputs=(), **attributes):
    """Return an operator's output with ONNX Runtime and with OpenCV."""
    names = ["" if constant is None else f"constant{number}" for number, constant in enumerate(inputs)]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *names], ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in zip(names, inputs) if value is not None],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "net.onnx")
    (right,) = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})
    net = cv2.dnn.readNetFromONNX("net.onnx")
    net.setInput(x)
    return right.ravel(), net.forward().ravel()


def row(*numbers):
    return np.array(numbers, np.float32).reshape(1, 1, 1, len(numbers))


def resized(x, width, scale, **attributes):
    scales = np.array([1, 1, 1, scale], np.float32)
    return outputs("Resize", x, (1, 1, 1, width), inputs=[None, scales], **attributes)


four, seven, kernel = row(1, 2, 3, 4), row(1, 2, 3, 4, 5, 6, 7), row(1, 10, 100)
zeros = np.zeros((1, 4, 1, 2), np.float32)
two, three = {"kernel_shape": [1, 2], "strides": [1, 2]}, {"kernel_shape": [1, 3]}
upsampled = [1, 10, 102, 20, 203, 30, 304, 40, 400]
for label, found, right, by_opencv in [
    (
        "Conv, SAME_LOWER",
        outputs("Conv", seven, seven.shape, inputs=[row(1, 10)], auto_pad="SAME_LOWER"),
        [10, 21, 32, 43, 54, 65, 76],
        [21, 32, 43, 54, 65, 76, 7],
    ),
    (
        "MaxPool, SAME_LOWER",
        outputs("MaxPool", seven, (1, 1, 1, 4), auto_pad="SAME_LOWER", **two),
        [1, 3, 5, 7],
        [2, 4, 6, 7],
    ),
    (
        "AveragePool, SAME_LOWER",
        outputs("AveragePool", seven, (1, 1, 1, 4), auto_pad="SAME_LOWER", **two),
        [1, 2.5, 4.5, 6.5],
        [1.5, 3.5, 5.5, 7],
    ),
    (
        "AveragePool, count_include_pad",
        outputs("AveragePool", seven, seven.shape, pads=[0, 1, 0, 1], count_include_pad=1, **three),
        [1, 2, 3, 4, 5, 6, 13 / 3],
        [1.5, 2, 3, 4, 5, 6, 6.5],
    ),
    (
        "MaxPool, dilation 2",
        outputs("MaxPool", seven, (1, 1, 1, 3), dilations=[1, 2], **three),
        [5, 6, 7],
        [3, 4, 5, 6, 7],
    ),
    (
        "AveragePool, dilation 2",
        outputs("AveragePool", seven, (1, 1, 1, 3), opset=19, dilations=[1, 2], **three),
        [3, 4, 5],
        [2, 3, 4, 5, 6],
    ),
    (
        "ConvTranspose, output_shape",
        outputs("ConvTranspose", four, (1, 1, 1, 7), inputs=[kernel], strides=[1, 2], output_shape=[1, 7]),
        upsampled[1:8],
        upsampled,
    ),
    (
        "ConvTranspose, SAME_UPPER",
        outputs("ConvTranspose", four, (1, 1, 1, 8), inputs=[kernel], strides=[1, 2], auto_pad="SAME_UPPER"),
        upsampled[:8],
        upsampled[1:8],
    ),
    (
        "ConvTranspose, dilation 2",
        outputs("ConvTranspose", four, (1, 1, 1, 8), inputs=[kernel], dilations=[1, 2]),
        [1, 2, 13, 24, 130, 240, 300, 400],
        [1, 12, 123, 234, 340, 400],
    ),
    (
        "Resize, linear, scale 0.5",
        resized(seven, 3, 0.5, mode="linear", coordinate_transformation_mode="half_pixel"),
        [1.5, 3.5, 5.5],
        [5 / 3, 4, 19 / 3],
    ),
    (
        "Resize, nearest, floor",
        resized(four, 8, 2, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="half_pixel"),
        [1, 1, 1, 2, 2, 3, 3, 4],
        [1, 1, 2, 2, 3, 3, 4, 4],
    ),
    ("Softmax, opset 11", outputs("Softmax", zeros, zeros.shape, 11, axis=1), [0.125] * 8, [0.25] * 8),
    ("Softplus", outputs("Softplus", 25 * four, four.shape), [25, 50, 75, 100], [25, 50, 75, np.inf]),
]:
    print(f"{label} | right {found[0].round(2)} | OpenCV {found[1].round(2)}")
    assert np.allclose(found[0], right, atol=1e-3), "ONNX Runtime's behaviour has changed"
    assert len(found[1]) == len(by_opencv), "the behaviour has changed"
    assert np.allclose(found[1], by_opencv, atol=1e-3), "the behaviour has changed"
PROGRAM
