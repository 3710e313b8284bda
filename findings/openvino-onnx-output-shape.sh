#!/usr/bin/env bash
# OpenVINO's ONNX reader shifts a transposed convolution by a pixel where its output_shape leaves an odd padding.
#
# Guess: auto_pad is honoured, and with one group or with two identical ones each channel has the same values.
# Seen with openvino 2026.4.1 on CPU (onnx 1.23.2, numpy 2.4.6), for the row 1, 2, 3, 4, weights 1, 10, 100, stride 2
# and output_shape 8; the full result is 1, 10, 102, 20, 203, 30, 304, 40, 400, and onnxruntime 1.32.0 cuts off as ONNX
# documents: the last value for SAME_UPPER, else the first.
#                                      onnxruntime   openvino, one group   openvino, two groups
#   without auto_pad, or SAME_LOWER    the first     the first             the last
#   SAME_UPPER                         the last      the first             the last
# So group=1 ignores SAME_UPPER, and group=2 knows nothing else. Without output_shape all are right. Frameworks with
# "same" padding write both attributes; the depthwise upsampling of a segmentation network is off by a pixel.
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

FULL = [1, 10, 102, 20, 203, 30, 304, 40, 400]
CUT = {tuple(FULL[1:]): "first", tuple(FULL[:-1]): "last"}
CORE = openvino.Core()


def cut(groups, **attributes):
    """Return what onnxruntime and OpenVINO cut off, in the first channel."""
    x = np.tile(np.arange(1, 5, dtype=np.float32), (1, groups, 1, 1)).reshape(1, groups, 1, 4)
    weights = np.tile(np.array([1, 10, 100], np.float32), (groups, 1, 1, 1)).reshape(groups, 1, 1, 3)
    graph = helper.make_graph(
        [
            helper.make_node(
                "ConvTranspose", ["x", "w"], ["y"], strides=[1, 2], group=groups, **attributes
            )
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, groups, 1, 8])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "network.onnx")
    session = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"])
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    outputs = (
        session.run(None, {"x": x})[0],
        CORE.compile_model(CORE.read_model("network.onnx"), "CPU", exact)(x)[0],
    )
    return tuple(CUT[tuple(round(float(value)) for value in output[0, 0, 0])] for output in outputs)


SIZE = {"output_shape": [1, 8]}
for attributes, right, one, two in [
    (SIZE, "first", "first", "last"),
    (SIZE | {"auto_pad": "SAME_LOWER"}, "first", "first", "last"),
    (SIZE | {"auto_pad": "SAME_UPPER"}, "last", "first", "last"),
    ({"auto_pad": "SAME_LOWER"}, "first", "first", "first"),
    ({"auto_pad": "SAME_UPPER"}, "last", "last", "last"),
]:
    found = cut(1, **attributes), cut(2, **attributes)
    print(f"{attributes}: (onnxruntime, openvino) cut off with one group {found[0]}, with two {found[1]}")
    assert found == ((right, one), (right, two)), "the behaviour has changed"
PROGRAM
