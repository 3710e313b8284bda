#!/usr/bin/env bash
# caffe-onnx leaves out each Caffe layer that it does not know, and takes one step where stride_h and stride_w are given.
#
# Guess: a layer that cannot be converted ends the conversion; the program checks the model that it writes.
# Seen with caffe-onnx 0.1.2 (onnx 1.17.0, onnxruntime 1.26.0, protobuf 3.20.3, numpy 2.4.6); Caffe's formulas are in
# tanh_layer.cpp, power_layer.cpp, base_conv_layer.cpp and pooling_layer.cpp:
#                                                                 ONNX                 Caffe
#   Convolution by 1, then TanH, of 0, 1, 2                       0, 1, 2              0, 0.76, 0.96
#     then Exp, Power with scale: 3, AbsVal or ELU                the input            as their formulas state
#   Convolution, kernel 3, stride_h: 2, stride_w: 2, of 9 x 9     7 x 7: stride 1      4 x 4
#   Pooling AVE, kernel 3, stride 2, pad 1, of 1 ... 25           4 in the corner      1.78
#           MAX, kernel 3, stride 3, of 7 x 7                     2 x 2                3 x 3
#               , stride 2, of 8 x 8                              4 x 4                4 x 4, the same numbers
# The unknown layer is not in the file, its input is the output of the network or, where it works in place, the input of the next
# layer; onnx.checker accepts that. Only a layer whose top has another name leaves the one after it without an input,
# which is reported. Shapes stay the same, so that nothing but the numbers shows it. Compare them with Caffe's.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check caffe-onnx==0.1.2 onnx==1.17.0 onnxruntime==1.26.0 \
    protobuf==3.20.3 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PROGRAM'
import contextlib
import io

import numpy as np
import onnx
import onnxruntime
from google.protobuf import text_format
from proto import caffe_upsample_pb2
from src.caffe2onnx import Caffe2Onnx

onnxruntime.set_default_logger_severity(3)  # it warns of weights that are inputs too


def convert(layers, image, weights=None):
    """Return the output of the ONNX model for an image; the first layer has the weights, where there are any."""
    dimensions = " ".join(f"dim: {size}" for size in image.shape)
    network = caffe_upsample_pb2.NetParameter()
    shape = f"input_param {{ shape {{ {dimensions} }} }}"
    text_format.Merge(f'layer {{ name: "data" type: "Input" top: "data" {shape} }} {layers}', network)
    trained = caffe_upsample_pb2.NetParameter()
    trained.CopyFrom(network)
    if weights is not None:
        blob = trained.layer[1].blobs.add()
        blob.shape.dim.extend(weights.shape)
        blob.data.extend(weights.ravel().tolist())
    with contextlib.redirect_stdout(io.StringIO()):
        model = Caffe2Onnx(network, trained, "net").createOnnxModel()
    onnx.checker.check_model(model)  # as its command does before it writes the file
    (output,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"data": image})
    return output


def convolution(parameters):
    parameters = f"convolution_param {{ num_output: 1 bias_term: false {parameters} }}"
    return f'layer {{ name: "a" type: "Convolution" bottom: "data" top: "a" {parameters} }}'


def pooling(parameters):
    return f'layer {{ name: "a" type: "Pooling" bottom: "data" top: "a" pooling_param {{ {parameters} }} }}'


def square(size):
    return np.arange(1, size * size + 1, dtype=np.float32).reshape(1, 1, size, size)


row, one = np.arange(3, dtype=np.float32).reshape(1, 1, 1, 3), np.ones((1, 1, 1, 1), np.float32)
for kind, parameters, image in [
    ("TanH", "", row), ("Exp", "", row), ("Power", "power_param { scale: 3 }", row), ("AbsVal", "", -row), ("ELU", "", -row),
]:
    for top in ("a", "b"):
        layer = f'layer {{ name: "x" type: "{kind}" bottom: "a" top: "{top}" {parameters} }}'
        seen = convert(convolution("kernel_size: 1") + layer, image, one)
        print(f"{kind}, bottom a, top {top}, of {image.ravel().tolist()}: {seen.ravel().tolist()}")
        assert np.array_equal(seen, image), "the layer is not left out now"
    layer = f'layer {{ name: "x" type: "{kind}" bottom: "a" top: "a" {parameters} }}'
    layer += ' layer { name: "r" type: "ReLU" bottom: "a" top: "r" }'
    assert np.array_equal(convert(convolution("kernel_size: 1") + layer, row, one), row), "the layer in place is not left out now"
seen = convert(convolution("kernel_size: 3 stride_h: 2 stride_w: 2"), square(9), np.ones((1, 1, 3, 3), np.float32))
print("stride_h and stride_w 2:", seen.shape)
assert seen.shape == (1, 1, 7, 7), "the strides are read now"
for parameters, size, shape, first in [
    ("pool: AVE kernel_size: 3 stride: 2 pad: 1", 5, 3, 4), ("kernel_size: 3 stride: 3", 7, 2, 17),
    ("kernel_size: 3 stride: 2", 8, 4, 19),
]:
    seen = convert(pooling(parameters), square(size))
    print(f"{parameters}, of {size} x {size}: {seen.shape}, first {seen.ravel()[0]:g}")
    assert seen.shape == (1, 1, shape, shape) and seen.ravel()[0] == first, "the pooling has changed"
PROGRAM
