#!/usr/bin/env bash
# X2Paddle divides LRN's alpha twice, leaves the padding out of averages and forgets the coefficients of three inputs.
#
# Guess: layers that every network of the AlexNet family has are right; what is not is refused, as ELU, Exp, Log, Tile and MVN are.
# Seen with x2paddle 1.6.0 (paddlepaddle 3.3.1, protobuf 3.20.3, numpy 2.4.6); Caffe's formulas are in lrn_layer.cpp,
# pooling_layer.cpp and eltwise_layer.cpp:
#                                                               PaddlePaddle        Caffe
#   LRN of five fives over five channels, alpha 1, beta 1       1.25, 1, 0.83 ...   0.31, 0.24, 0.19 ...
#   LRN WITHIN_CHANNEL, 3 x 3, of 3 x 3 threes on one channel   1.5 everywhere      0.6 in the corners, 0.3 in the middle
#   Pooling AVE, kernel 3, stride 2, pad 1, of 1 ... 25         4 in the corner     1.78
#           MAX, kernel 2, stride 2, pad 1, of 5 x 5            4 x 4, -3.4e38      3 x 3
#           AVE and MAX, kernel 3, stride 2, of 6 x 6           the same numbers
#   Eltwise SUM of three inputs x, coeff: 1, -1 and 2           3 x                 2 x
#               of two inputs                                   the same numbers
# PaddlePaddle's own LocalResponseNorm takes the mean of the squares, not the sum that its documentation has; the converter
# divides alpha by local_size for a sum. AlexNet, GoogLeNet and CaffeNet have LRN. Nothing is reported.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check x2paddle==1.6.0 paddlepaddle==3.3.1 protobuf==3.20.3 \
    six==1.17.0 requests==2.34.2 numpy==2.4.6
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import importlib.util
import subprocess

import numpy as np
import paddle

LAYER = """
name: "net%d"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: %d dim: %d dim: %d dim: %d } } }
layer { name: "l" type: "%s" %s top: "l" %s }
"""
number = 0


def output(x, kind, parameters, inputs=1):
    """Return what the converted network computes."""
    global number
    number += 1
    bottoms = 'bottom: "data" ' * inputs
    with open("net.prototxt", "w") as file:
        file.write(LAYER % (number, *x.shape, kind, bottoms, parameters))
    open("net.caffemodel", "wb").close()  # these layers have no weights
    folder = f"converted{number}"
    arguments = f"--framework caffe --prototxt net.prototxt --weight net.caffemodel --save_dir {folder}".split()
    # Without the last option it reports each conversion to its makers.
    subprocess.run(
        ["venv/bin/x2paddle", *arguments, "--disable_feedback", "True"], check=True, capture_output=True
    )
    specification = importlib.util.spec_from_file_location(folder, f"{folder}/x2paddle_code.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    (net,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, paddle.nn.Layer) and value.__module__ == folder
    ]
    model = net()
    model.eval()
    return model(paddle.to_tensor(x)).numpy()


def caffe_lrn_within(x, size):
    """Caffe: the mean over a padded window of the channel, zeros included."""
    padded = np.pad(x[0, 0] ** 2, size // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return x[0, 0] / (1 + windows.mean((2, 3)))


def caffe_average(image, kernel, stride, pad):
    """Caffe: zeros within the padding count; windows start before the padding at the end."""
    side = -(-(image.shape[0] + 2 * pad - kernel) // stride) + 1
    side -= (side - 1) * stride >= image.shape[0] + pad
    padded = np.pad(image, pad)
    return np.array(
        [
            [padded[i * stride : i * stride + kernel, j * stride : j * stride + kernel].mean() for j in range(side)]
            for i in range(side)
        ]
    )


def show(label, found, expected, right):
    print(f"{label} | PaddlePaddle {found.ravel().round(2)} | Caffe {np.ravel(right).round(2)}")
    assert found.size == np.size(expected), "the behaviour has changed"
    assert np.allclose(found.ravel(), np.ravel(expected), rtol=1e-3), "the behaviour has changed"


fives = np.full((1, 5, 1, 1), 5, np.float32)
squares = 25 * np.array([3, 4, 5, 4, 3])
lrn = output(fives, "LRN", "lrn_param { local_size: 5 alpha: 1 beta: 1 }")
show("LRN", lrn, 5 / (1 + squares / 25), 5 / (1 + squares / 5))
threes = np.full((1, 1, 3, 3), 3, np.float32)
within = output(threes, "LRN", "lrn_param { local_size: 3 alpha: 1 beta: 1 norm_region: WITHIN_CHANNEL }")
show("LRN WITHIN_CHANNEL", within, np.full(9, 1.5), caffe_lrn_within(threes, 3))
image = np.arange(1, 26, dtype=np.float32).reshape(1, 1, 5, 5)
average = output(image, "Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }")
without = [4, 5.5, 7, 11.5, 13, 14.5, 19, 20.5, 22]
show("Pooling AVE, pad 1", average, without, caffe_average(image[0, 0], 3, 2, 1))
most = output(image, "Pooling", "pooling_param { pool: MAX kernel_size: 2 stride: 2 pad: 1 }")
lowest = np.finfo(np.float32).min
rows = [[1, 3, 5, lowest], [11, 13, 15, lowest], [21, 23, 25, lowest], [lowest] * 4]
show("Pooling MAX, pad 1", most, rows, np.array(rows)[:3, :3])
even = np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6)
average = output(even, "Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }")
middle = np.array([1, 3, 4.5])
right = (middle[None] + 6 * middle[:, None]).ravel()
show("Pooling AVE", average, right, right)
row = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 1, 4)
three = output(row, "Eltwise", "eltwise_param { operation: SUM coeff: 1 coeff: -1 coeff: 2 }", inputs=3)
show("Eltwise, three inputs", three, 3 * row, 2 * row)
two = output(row, "Eltwise", "eltwise_param { operation: SUM coeff: 1 coeff: -2 }", inputs=2)
show("Eltwise, two inputs", two, -row, -row)
PROGRAM
