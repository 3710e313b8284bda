#!/usr/bin/env bash
# OpenCV 5 moves each strided SAME_UPPER convolution and pooling by a pixel, which OpenCV 4 has right, and runs a reversed GRU
# forwards.
#
# Guess: a new engine for ONNX, with more operators, computes what the old one has right.
# Seen with opencv-python-headless 5.0.0.93 and 4.14.0.94 (onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6), for the row 1 ... 8
# by 1, 10, 100, or the numbers 1, 2, 3 in time; weights 1 and 0.5, hidden size 1:
#                                          right, onnxruntime      OpenCV 4.14       OpenCV 5.0
#   Conv, stride 2, SAME_UPPER             321, 543, 765, 87       right             210, 432, 654, 876
#     pads 0 and 1 in the file             321, 543, 765, 87       right             right
#     stride 1                             210, 321, 432 ...       right             right
#     depthwise; 3x3 of 4 x 4                                      right             the same shift
#   MaxPool, 3 wide, stride 2, SAME_UPPER  3, 5, 7, 8              right             2, 4, 6, 8
#   AveragePool, the same                  2, 4, 6, 7.5            right             1.5, 3, 5, 7
#   Conv, stride 2, SAME_LOWER             210, 432, 654, 876      321 ... 87        right
#   GRU, reverse                           0.315, 0.154, 0.047     refused           0.205, 0.288, 0.317, as forward
#   GRU, forward, its first output alone   0.205, 0.288, 0.317     refused           0.317
# An even size needs one pixel of padding; version 5 puts it before the image, version 4 behind it, whatever the file says.
# TensorFlow's "SAME" padding is SAME_UPPER in ONNX. Shapes agree, scores look like scores, and a
# detector's boxes move. Write the padding as numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
for version in 4.14.0.94 5.0.0.93; do
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$folder/opencv-${version%%.*}" \
        "opencv-python-headless==$version"
done
cd "$folder"
cat >compare.py <<'PROGRAM'
import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

NEW = cv2.__version__.startswith("5")
row = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 1, 8)
kernel = np.array([1, 10, 100], np.float32).reshape(1, 1, 1, 3)


def outputs(operator, x, constants=(), count=1, opset=13, **attributes):
    """Return what onnxruntime and OpenCV compute; OpenCV's is None if it refuses the network."""
    names = [f"w{number}" for number in range(len(constants))]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    weights = [numpy_helper.from_array(constant, name) for constant, name in zip(constants, names)]
    results = [helper.make_empty_tensor_value_info(f"y{number}") for number in range(count)]
    node = helper.make_node(operator, ["x", *names], [result.name for result in results], **attributes)
    graph = helper.make_graph([node], "graph", ends, results, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(made), "net.onnx")
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    right = session.run(None, {"x": x})[0].ravel()
    try:
        network = cv2.dnn.readNetFromONNX("net.onnx")
        network.setInput(x, "x")
        return right, np.ravel(network.forward(network.getUnconnectedOutLayersNames())[0])
    except cv2.error:
        return right, None


def convolved(auto_pad, stride, x=row, weights=kernel, **attributes):
    return outputs("Conv", x, [weights], auto_pad=auto_pad, strides=[min(stride, x.shape[2]), stride], **attributes)


def recurrent(direction, count):
    weights = [np.ones((1, 3, 1), np.float32), np.full((1, 3, 1), 0.5, np.float32)]
    x = np.array([1, 2, 3], np.float32).reshape(3, 1, 1)
    return outputs("GRU", x, weights, count, 14, hidden_size=1, direction=direction)


def pooled(operator):
    return outputs(operator, row, kernel_shape=[1, 3], strides=[1, 2], auto_pad="SAME_UPPER")


two = np.concatenate([row, row], 1)
image = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
square = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
forward, backward = [0.205, 0.288, 0.317], [0.315, 0.154, 0.047]
shifted = [210, 432, 654, 876]
for label, found, old, new in [
    ("Conv, stride 2, SAME_UPPER", convolved("SAME_UPPER", 2), True, shifted),
    ("Conv, stride 2, pads 0, 1", outputs("Conv", row, [kernel], pads=[0, 0, 0, 1], strides=[1, 2]), True, True),
    ("Conv, stride 1, SAME_UPPER", convolved("SAME_UPPER", 1), True, True),
    ("depthwise", convolved("SAME_UPPER", 2, two, np.concatenate([kernel, kernel]), group=2), True, shifted * 2),
    ("3x3", convolved("SAME_UPPER", 2, image, square), True, [83, 178, 330, 528]),
    ("MaxPool", pooled("MaxPool"), True, [2, 4, 6, 8]),
    ("AveragePool", pooled("AveragePool"), True, [1.5, 3, 5, 7]),
    ("Conv, stride 2, SAME_LOWER", convolved("SAME_LOWER", 2), [321, 543, 765, 87], True),
    ("GRU, reverse", recurrent("reverse", 2), None, forward),
    ("GRU, forward", recurrent("forward", 2), None, True),
    ("GRU, forward, one output", recurrent("forward", 1), None, forward[2:]),
]:
    right, by_opencv = found
    seen = new if NEW else old
    text = "refused" if by_opencv is None else by_opencv.round(3).tolist()
    print(f"{cv2.__version__} {label} | right {right.round(3).tolist()} | OpenCV {text}")
    if label == "GRU, reverse":
        assert np.allclose(right, backward, atol=1e-3)
    if seen is None:
        assert by_opencv is None, "OpenCV reads it now"
        continue
    expected = right if seen is True else np.array(seen)
    assert by_opencv is not None and by_opencv.shape == expected.shape, "the size has changed"
    assert np.allclose(by_opencv, expected, atol=1e-3), "OpenCV's behaviour has changed"
PROGRAM
for version in 4 5; do
    PYTHONPATH="$folder/opencv-$version" venv/bin/python compare.py 2>log || { cat log >&2; exit 1; }
done
