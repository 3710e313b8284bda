#!/usr/bin/env bash
# OpenCV's Darknet importer has other defaults than Darknet: no activation, other pooling steps, another normalisation.
#
# Guess: a field that a .cfg file leaves out has Darknet's default; a field that the importer does not know, or a value, ends
# the import, as `groups` of a softmax and the activation `elu` do ("not implemented", "Unsupported activation").
# Seen with opencv-python-headless 4.14.0.94 (numpy 2.4.6) and Debian 12's darknet 0.0.0+git20180914.61c9d02e-2+b4, for
# 1, 2, 3 ... of one channel behind a convolution that copies them:
#                                                       Darknet                     OpenCV
#   [convolutional] without `activation`                0.73, 0.88, 0.95, 0.98:     1, 2, 3, 4
#                                                       logistic
#   [connected] without `activation`, 0.5 and 2         0.62, 0.88                  0.5, 2
#   [maxpool] size=3, no stride, of 4 x 4               6, 7, 8, 8, 10 ...: 4 x 4   6, 8, 14, 16: 2 x 2
#   [maxpool], nothing else                             1, 2, 3, 4 ...: 4 x 4       6, 8, 14, 16: 2 x 2
#   batch_normalize=1, variance 1e-6                    (x - mean) / 0.001001       (x - mean) / 0.001414
#     variance 1                                        the same numbers
#   [upsample] stride=2, scale=3                        3, 3, 6, 6 ...              1, 1, 2, 2 ...
#   [softmax] temperature=2, of four channels           0.10, 0.17, 0.28, 0.46      0.03, 0.09, 0.24, 0.64
#   [softmax] of a row of four pixels                   0.03, 0.09, 0.24, 0.64      1, 1, 1, 1: over the channels
#   [reorg] stride=2, reverse=1, of 4 x 2 x 2           1, 5, 2, 6, 9 ...           1, 3, 9, 11, 2 ...
# Darknet adds 1e-6 to the square root, OpenCV to the variance. Nothing is printed. Convolutions with pad and padding, pools
# with size, stride and padding, shortcut, route, reorg and avgpool agree. A channel that is all but pruned has such a variance.
set -euo pipefail
[ "$(uname -m)" = x86_64 ] || { echo "this one needs Debian's darknet for x86-64" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==4.14.0.94 numpy==2.4.6
cd "$folder"
apt-get download --quiet darknet >/dev/null 2>&1
dpkg-deb -x darknet_*.deb .
dpkg-deb -f darknet_*.deb Version | grep -q git20180914.61c9d02e || { echo "another version of darknet" >&2; exit 1; }
# Darknet's library names four of OpenCV's for windows and cameras, none of which is called here.
mkdir empty
for library in core highgui imgcodecs videoio; do
    nm --dynamic --undefined-only usr/lib/darknet/libdarknet.so | awk '$2 ~ /cv/ { print "void " $2 "(void) {}" }' \
        >names.c
    gcc -shared -o "empty/libopencv_$library.so.406" -Wl,-soname,"libopencv_$library.so.406" names.c
done
cat >compare.py <<'PROGRAM'
import ctypes
import struct

import cv2
import numpy as np

darknet = ctypes.CDLL("usr/lib/darknet/libdarknet.so")
darknet.load_network.restype = ctypes.c_void_p
darknet.load_network.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
darknet.network_predict.restype = ctypes.POINTER(ctypes.c_float)
darknet.network_predict.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
COPY = "[convolutional]\nfilters=1\nsize=1\nstride=1\npad=0\nactivation=linear\n\n"
PLAIN = COPY.replace("activation=linear\n", "")
NORMAL = COPY.replace("filters", "batch_normalize=1\nfilters")


def outputs(shape, layers, weights, numbers):
    """Return the first numbers of Darknet's output, and OpenCV's whole output."""
    channels, height, width = shape
    size = f"height={height}\nwidth={width}\nchannels={channels}\n"
    with open("network.cfg", "w") as file:
        file.write(f"[net]\nbatch=1\nsubdivisions=1\n{size}\n{layers}")
    with open("network.weights", "wb") as file:
        file.write(struct.pack("<iiiq", 0, 2, 0, 0) + np.array(weights, np.float32).tobytes())
    x = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(1, *shape)
    network = cv2.dnn.readNetFromDarknet("network.cfg", "network.weights")
    network.setInput(x)
    by_opencv = network.forward()
    loaded = darknet.load_network(b"network.cfg", b"network.weights", 0)
    return darknet.network_predict(loaded, x.ctypes.data)[:numbers], by_opencv.ravel()


row, square, four = (1, 1, 4), (1, 4, 4), (4, 1, 1)
softmax = [0.032, 0.087, 0.237, 0.644]
pooled = [6, 8, 14, 16]
for label, found, by_darknet, by_opencv in [
    ("convolutional", outputs(row, COPY, [0, 1], 4), [1, 2, 3, 4], [1, 2, 3, 4]),
    ("convolutional without activation", outputs(row, PLAIN, [0, 1], 4), [0.731, 0.881, 0.953, 0.982], [1, 2, 3, 4]),
    ("connected", outputs((1, 1, 1), "[connected]\noutput=2\n", [0, 0, 0.5, 2], 2), [0.622, 0.881], [0.5, 2]),
    ("maxpool size=3", outputs(square, COPY + "[maxpool]\nsize=3\n", [0, 1], 5), [6, 7, 8, 8, 10], pooled),
    ("maxpool", outputs(square, COPY + "[maxpool]\n", [0, 1], 4), [1, 2, 3, 4], pooled),
    ("maxpool size=2 stride=2", outputs(square, COPY + "[maxpool]\nsize=2\nstride=2\n", [0, 1], 4), pooled, pooled),
    ("variance 1e-6", outputs(row, NORMAL, [0, 1, 0, 1e-6, 1], 2), [999.0, 1998.0], [707.1, 1414.2, 2121.3, 2828.4]),
    ("variance 1", outputs(row, NORMAL, [0, 1, 0, 1, 1], 2), [1, 2], [1, 2, 3, 4]),
    (
        "upsample scale=3",
        outputs((1, 1, 2), COPY + "[upsample]\nstride=2\nscale=3\n", [0, 1], 8),
        [3, 3, 6, 6, 3, 3, 6, 6],
        [1, 1, 2, 2, 1, 1, 2, 2],
    ),
    ("softmax", outputs(four, "[softmax]\n", [], 4), softmax, softmax),
    ("softmax temperature=2", outputs(four, "[softmax]\ntemperature=2\n", [], 4), [0.102, 0.167, 0.276, 0.455], softmax),
    ("softmax of a row", outputs(row, COPY + "[softmax]\n", [0, 1], 4), softmax, [1, 1, 1, 1]),
    ("reorg", outputs((4, 2, 2), "[reorg]\nstride=2\n", [], 4), [1, 3, 9, 11], None),
    ("reorg reverse=1", outputs((4, 2, 2), "[reorg]\nstride=2\nreverse=1\n", [], 4), [1, 5, 2, 6], [1, 3, 9, 11, 2]),
]:
    print(f"{label} | Darknet {np.round(found[0], 3).tolist()} | OpenCV {found[1].round(3).tolist()}")
    assert np.allclose(found[0], by_darknet, rtol=1e-3, atol=1e-3), "Darknet's behaviour has changed"
    by_opencv = by_darknet if by_opencv is None else by_opencv
    if label.startswith("reorg"):
        found = found[0], found[1][: len(by_opencv)]
    assert found[1].shape == (len(by_opencv),), "the size of OpenCV's output has changed"
    assert np.allclose(found[1], by_opencv, rtol=1e-3, atol=1e-3), "OpenCV's behaviour has changed"
PROGRAM
LD_LIBRARY_PATH="$folder/empty" venv/bin/python compare.py >rows 2>log || { cat log >&2; exit 1; }
grep " | " rows
