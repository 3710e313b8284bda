#!/usr/bin/env bash
# QONNX drops the ReLU between two quantizers, and takes columns for channels where no axis is named, and one DepthToSpace for
# the other.
#
# Guess: a network has the same values after a transformation, and what does not fit the new layer is left as it is, as linear
# Resize is.
# Seen with qonnx 1.0.0 (onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6):
#                                                        before                    after
#   QCDQToQuant: QuantizeLinear, Clip, DequantizeLinear, scale 1, of -100, -60, -20, 20, 60, 100
#     int8, Clip from 0 to 127, a ReLU                   0, 0, 0, 20, 60, 100      -64, -60, -20, 20, 60, 63
#     int8, Clip from 0 to 50                            0, 0, 0, 20, 50, 50       -32, -32, -20, 20, 31, 31
#     int8, Clip from -50 to 50                          -50 ... 50                -63, -60, -20, 20, 60, 63
#     uint8, Clip from 0 to 50                           0, 0, 0, 20, 50, 50       0, 0, 0, 20, 60, 63
#     int8, Clip from -127 to 127; uint8, 0 to 63        right                     right
#   the same without Clip, channels of 2x2 threes, scales 1 and 10
#     axis=1                                             3, 3, 3, 3, 0, 0, 0, 0    3, 3, 3, 3, 0, 0, 0, 0
#     without axis, which is 1                           3, 3, 3, 3, 0, 0, 0, 0    3, 0, 3, 0, 3, 0, 3, 0
#   SubPixelToDeconvolution: Conv with the channels 1 to 8, DepthToSpace with blocksize 2
#     mode="CRD"                                         1, 2, 3, 4, 5, 6, 7, 8    1, 2, 3, 4, 5, 6, 7, 8
#     mode="DCR", and without mode, which is DCR         1, 3, 5, 7, 2, 4, 6, 8    1, 2, 3, 4, 5, 6, 7, 8
#   ResizeConvolutionToDeconvolution: Resize of 10, 20 over 30, 40 by 2, mode="nearest"
#     nearest_mode="ceil", asymmetric: the first row     10, 20, 20, 20            10, 10, 20, 20
# Nothing is printed. Of the limits of Clip only their difference is read: 128 numbers are seven bits, whose sign is that of
# the type.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check qonnx==1.0.0 onnx==1.23.2 onnxruntime==1.32.0 \
    numpy==2.4.6
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.qcdq_to_qonnx import QCDQToQuant
from qonnx.transformation.resize_conv_to_deconv import ResizeConvolutionToDeconvolution
from qonnx.transformation.subpixel_to_deconv import SubPixelToDeconvolution


def both(transformation, x, nodes, constants, opset=13):
    """Return what the network gives in ONNX Runtime, and what it gives in QONNX after the transformation."""
    x = np.array(x, np.float32)
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    right = session.run(None, {"x": x})[0]
    changed = ModelWrapper(model).transform(transformation)
    replaced = {node.op_type for node in changed.graph.node}
    assert replaced in ({"Quant"}, {"ConvTranspose"}), f"not replaced: {replaced}"
    return right, execute_onnx(changed, {"x": x})["y"]


def clipped(least, most, dtype=np.int8):
    """Quantize and dequantize with the scale 1; between, clip."""
    constants = {"scale": np.float32(1), "zero": dtype(0), "least": dtype(least), "most": dtype(most)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["quantized"]),
        helper.make_node("Clip", ["quantized", "least", "most"], ["clipped"]),
        helper.make_node("DequantizeLinear", ["clipped", "scale", "zero"], ["y"]),
    ]
    return both(QCDQToQuant(), [[-100, -60, -20, 20, 60, 100]], nodes, constants)


def scaled(**axis):
    """Quantize two channels of 2x2 numbers by their scales, 1 and 10."""
    constants = {"scale": np.array([1, 10], np.float32), "zero": np.zeros(2, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["quantized"], **axis),
        helper.make_node("DequantizeLinear", ["quantized", "scale", "zero"], ["y"], **axis),
    ]
    return both(QCDQToQuant(), np.full((1, 2, 2, 2), 3), nodes, constants)


POINT = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0, 0, 0, 0], "group": 1}


def to_space(**mode):
    """Compute eight channels from a pixel, 1 to 8 times its value, and lay them out as two of 2x2 pixels."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["channels"], **POINT),
        helper.make_node("DepthToSpace", ["channels"], ["y"], blocksize=2, **mode),
    ]
    weights = np.arange(1, 9, dtype=np.float32).reshape(8, 1, 1, 1)
    return both(SubPixelToDeconvolution(), np.ones((1, 1, 1, 1)), nodes, {"w": weights})


def resized(**options):
    """Double the height and width of an image, and multiply by one."""
    nodes = [
        helper.make_node("Resize", ["x", "", "factors"], ["larger"], mode="nearest", **options),
        helper.make_node("Conv", ["larger", "w"], ["y"], **POINT),
    ]
    constants = {"factors": np.array([1, 1, 2, 2], np.float32), "w": np.ones((1, 1, 1, 1), np.float32)}
    image = np.array([[10, 20], [30, 40]]).reshape(1, 1, 2, 2)
    return both(ResizeConvolutionToDeconvolution(), image, nodes, constants)


ASYMMETRIC = {"coordinate_transformation_mode": "asymmetric"}
for label, (right, found), expected in [
    ("int8, -127 to 127", clipped(-127, 127), None),
    ("int8, 0 to 127", clipped(0, 127), [-64, -60, -20, 20, 60, 63]),
    ("int8, 0 to 50", clipped(0, 50), [-32, -32, -20, 20, 31, 31]),
    ("int8, -50 to 50", clipped(-50, 50), [-63, -60, -20, 20, 60, 63]),
    ("uint8, 0 to 63", clipped(0, 63, np.uint8), None),
    ("uint8, 0 to 50", clipped(0, 50, np.uint8), [0, 0, 0, 20, 60, 63]),
    ("axis=1", scaled(axis=1), None),
    ("no axis", scaled(), [3, 0, 3, 0, 3, 0, 3, 0]),
    ("CRD", to_space(mode="CRD"), None),
    ("DCR", to_space(mode="DCR"), [1, 2, 3, 4, 5, 6, 7, 8]),
    ("no mode", to_space(), [1, 2, 3, 4, 5, 6, 7, 8]),
    ("nearest, floor", resized(nearest_mode="floor", **ASYMMETRIC), None),
    ("nearest, ceil", resized(nearest_mode="ceil", **ASYMMETRIC), [10, 10, 20, 20]),
]:
    print(label, "| before", right.ravel()[:8].tolist(), "| after", found.ravel()[:8].tolist())
    if expected is None:
        assert np.array_equal(right, found), "what was right has changed"
    else:
        assert list(found.ravel()[: len(expected)]) == expected, "the behaviour has changed"
        assert not np.array_equal(right, found), "ONNX Runtime has the same values"
PROGRAM
