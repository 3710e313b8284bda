#!/usr/bin/env bash
# Chainer's CaffeFunction averages over fewer windows than Caffe, and convolves without the dilation.
#
# Guess: a pooling has the size that it has in Caffe, whose rule (rounded up) the class applies to MAX; a field that its own
# schema knows has its meaning, or the layer is skipped with a warning as unknown types are.
# Seen with chainer 7.8.1 (protobuf 3.20.3, numpy 1.23.5); Caffe's formulas are in pooling_layer.cpp and conv_layer.cpp:
#                                                              CaffeFunction    Caffe
#   Pooling AVE, kernel 3, stride 2, of 32 x 32                15 x 15          16 x 16
#           MAX, the same                                      16 x 16          16 x 16
#           MAX, kernel 2, stride 2, pad 1, of 5 x 5           4 x 4            3 x 3 (the fourth row is -infinity)
#   Convolution, kernel 3, dilation 2, pad 2, of 5 x 5         7 x 7            5 x 5
#   Convolution, kernel 1 x 3, dilation 2, of 1 ... 9          6, 9, 12 ...     9, 12, 15 ...
# The pooling of 32 x 32 is that of Caffe's own cifar10_quick. No warning is printed. Where a fully connected layer
# follows, it fails; a network that ends in a global pooling gives other scores.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    setuptools==65.5.0 wheel==0.48.0 numpy==1.23.5 protobuf==3.20.3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-build-isolation chainer==7.8.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PROGRAM'
import math
import warnings

import chainer
import numpy as np
from chainer.links.caffe import CaffeFunction
from chainer.links.caffe.protobuf3 import caffe_pb2
from google.protobuf import text_format


def output(layer, image, weights=None):
    """Return what CaffeFunction computes for one layer, and the warnings that it gave."""
    network = caffe_pb2.NetParameter()
    text_format.Merge(f'layer {{ name: "y" bottom: "x" top: "y" {layer} }}', network)
    if weights is not None:
        blob = network.layer[0].blobs.add()
        blob.shape.dim.extend(weights.shape)
        blob.data.extend(weights.ravel().tolist())
    with open("network.caffemodel", "wb") as file:
        file.write(network.SerializeToString())
    with warnings.catch_warnings(record=True) as seen, chainer.using_config("train", False):
        warnings.simplefilter("always")
        function = CaffeFunction("network.caffemodel")
        (result,) = function(inputs={"x": chainer.Variable(image)}, outputs=["y"])
    return result.array[0, 0], [str(each.message) for each in seen if "layer" in str(each.message)]


def caffe_pooled(size, kernel, stride, pad):
    """Return the pooled size by pooling_layer.cpp."""
    pooled = math.ceil((size + 2 * pad - kernel) / stride) + 1
    if pad and (pooled - 1) * stride >= size + pad:
        pooled -= 1
    return pooled


for pool, size, kernel, stride, pad, expected in [
    ("AVE", 32, 3, 2, 0, 15),
    ("MAX", 32, 3, 2, 0, 16),
    ("AVE", 4, 3, 2, 1, 2),
    ("AVE", 4, 2, 2, 0, 2),
    ("MAX", 5, 2, 2, 1, 4),
]:
    image = -np.ones((1, 1, size, size), np.float32)
    parameters = f"pool: {pool} kernel_size: {kernel} stride: {stride} pad: {pad}"
    found, warned = output(f'type: "Pooling" pooling_param {{ {parameters} }}', image)
    right = caffe_pooled(size, kernel, stride, pad)
    print(f"{parameters}, {size} x {size} | CaffeFunction {found.shape} | Caffe {right} x {right}")
    assert found.shape == (expected, expected), "the behaviour has changed"
    assert not warned, "there is a warning now"
    if (pool, size) == ("MAX", 5):
        assert np.isneginf(found[3]).all(), "the fourth row is finite now"

image = np.arange(1, 26, dtype=np.float32).reshape(1, 1, 5, 5)
parameters = "num_output: 1 bias_term: false kernel_size: 3 dilation: 2 pad: 2"
found, warned = output(
    f'type: "Convolution" convolution_param {{ {parameters} }}',
    image,
    np.ones((1, 1, 3, 3), np.float32),
)
right = (5 + 2 * 2 - (2 * (3 - 1) + 1)) // 1 + 1
print(f"{parameters}, 5 x 5 | CaffeFunction {found.shape} | Caffe {right} x {right}")
assert found.shape == (7, 7) and right == 5 and not warned, "the behaviour has changed"

row = np.arange(1, 10, dtype=np.float32)
parameters = "num_output: 1 bias_term: false kernel_h: 1 kernel_w: 3 dilation: 2"
found, warned = output(
    f'type: "Convolution" convolution_param {{ {parameters} }}',
    row.reshape(1, 1, 1, 9),
    np.ones((1, 1, 1, 3), np.float32),
)
right = [row[i] + row[i + 2] + row[i + 4] for i in range(5)]
print(f"{parameters} | CaffeFunction {found.ravel()} | Caffe {np.array(right)}")
assert found.ravel().tolist() == [row[i : i + 3].sum() for i in range(7)], "the behaviour has changed"
assert not warned, "there is a warning now"
PROGRAM
