#!/usr/bin/env bash
# onnx2fx resizes about half-pixel centres, whatever the file asks for, and quantizes to uint8 where int8 is asked for.
#
# Guess: a mode that PyTorch's interpolate does not have ends in an error, and so do the parameters of an LSTM that PyTorch's does
# not have.
# Seen with onnx2fx 0.0.1 (torch 2.13.0, onnx 1.23.2, numpy 2.4.6); onnxruntime 1.32.0 is right:
#                                          right                  onnx2fx
#   Resize of 1, 2, 3, 4, linear
#     to 8, half_pixel                     1, 1.25, 1.75 ...      the same
#     to 8, asymmetric                     1, 1.5, 2, 2.5 ...     1, 1.25, 1.75 ...
#     to 2, asymmetric                     1, 3                   1.5, 3.5
#     to 1, pytorch_half_pixel             1                      2.5
#   nearest, to 3, half_pixel              1, 2, 4                1, 2, 3
#     to 8, asymmetric, ceil               1, 2, 2, 3 ...         1, 1, 2, 2 ...
#     to 2, align_corners                  1, 4                   1, 3
#   Upsample of opset 9, linear, to 8      1, 1.5, 2, 2.5 ...     1, 1.25, 1.75 ...
#   QuantizeLinear to int8 of -2, 1, 200   -2, 1, 127             0, 1, 200
#   ConvTranspose, output_shape 8          10, 102, 20 ...        10 numbers: 1, 10, 102 ...
#   LSTM, clip 0.5, steps 1, 2, 3          0.17, 0.27, 0.32       0.37, 0.79, 0.95
#     HardSigmoid gates                    0.34, 0.83, 0.98       0.37, 0.79, 0.95
# No warning is printed. "asymmetric" is what exporters wrote for TensorFlow 1's and Darknet's upsampling; a segmentation mask
# moves by half a pixel. An int8 network has no negative activation.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx2fx==0.0.1 torch==2.13.0 onnx==1.23.2 \
    onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
venv/bin/python - 2>errors <<'PROGRAM' || { cat errors >&2; exit 1; }
import numpy as np
import onnx
import onnx2fx
import onnxruntime
import torch
from onnx import helper, numpy_helper

ROW = np.array([1, 2, 3, 4], np.float32).reshape(1, 1, 1, 4)
STEPS = np.array([1, 2, 3], np.float32).reshape(3, 1, 1)
HALF = [1, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4]
CORNER = [1, 1.5, 2, 2.5, 3, 3.5, 4, 4]


def check(label, operator, x, constants, right, by_onnx2fx, opset=13, kind=onnx.TensorProto.FLOAT, **attributes):
    """Compare an operator's first output from ONNX Runtime and onnx2fx with what was seen."""
    names = ["" if constant is None else f"c{k}" for k, constant in enumerate(constants)]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *names], ["y"], name="node", **attributes)], "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)], [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(constant), name) for constant, name in zip(constants, names) if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0].ravel().astype(float)
    assert np.allclose(expected, right, atol=0.01), "ONNX Runtime computes something else"
    with torch.no_grad():
        output = onnx2fx.convert(model).eval()(torch.from_numpy(x))
    output = output[0] if isinstance(output, (list, tuple)) else output
    seen = output.numpy().ravel().astype(float)
    print(f"{label}: right {np.round(expected, 2).tolist()}, onnx2fx {np.round(seen, 2).tolist()}")
    assert len(seen) == len(by_onnx2fx) and np.allclose(seen, by_onnx2fx, atol=0.01), "the values have changed"


def resize(label, size, right, seen, **attributes):
    check(f"Resize, {label}", "Resize", ROW, [None, np.array([1, 1, 1, size / 4], np.float32)], right, seen, **attributes)


asymmetric = {"coordinate_transformation_mode": "asymmetric"}
resize("linear to 8, half_pixel", 8, HALF, HALF, mode="linear")
resize("linear to 8, asymmetric", 8, CORNER, HALF, mode="linear", **asymmetric)
resize("linear to 2, asymmetric", 2, [1, 3], [1.5, 3.5], mode="linear", **asymmetric)
resize("linear to 1, pytorch_half_pixel", 1, [1], [2.5], mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
resize("nearest to 3, half_pixel", 3, [1, 2, 4], [1, 2, 3], mode="nearest")
resize("nearest to 8, asymmetric, ceil", 8, [1, 2, 2, 3, 3, 4, 4, 4], [1, 1, 2, 2, 3, 3, 4, 4],
       mode="nearest", nearest_mode="ceil", **asymmetric)
resize("nearest to 2, align_corners", 2, [1, 4], [1, 3], mode="nearest", coordinate_transformation_mode="align_corners")
check("Upsample, linear", "Upsample", ROW, [np.array([1, 1, 1, 2], np.float32)], CORNER, HALF, opset=9, mode="linear")
check("QuantizeLinear", "QuantizeLinear", np.array([-2, 1, 200], np.float32), [np.float32(1), np.int8(0)],
      [-2, 1, 127], [0, 1, 200], kind=onnx.TensorProto.INT8)
wide = [10, 102, 20, 203, 30, 304, 40, 400]
check("ConvTranspose", "ConvTranspose", ROW, [np.array([1, 10, 100], np.float32).reshape(1, 1, 1, 3)], wide, [1, *wide, 0],
      kernel_shape=[1, 3], strides=[1, 2], output_shape=[1, 8])
gates = [np.ones((1, 4, 1), np.float32), np.full((1, 4, 1), 0.5, np.float32)]
check("LSTM, clip", "LSTM", STEPS, gates, [0.17, 0.27, 0.32], [0.37, 0.79, 0.95], hidden_size=1, clip=0.5)
check("LSTM, HardSigmoid", "LSTM", STEPS, gates, [0.34, 0.83, 0.98], [0.37, 0.79, 0.95], hidden_size=1,
      activations=["HardSigmoid", "Tanh", "Tanh"])
PROGRAM
