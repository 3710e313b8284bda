#!/usr/bin/env bash
# OpenCV's Caffe importer refuses an `input` line without a size, which Caffe itself drops.
#
# Guess: a network of layers that OpenCV has is read wherever Caffe reads it.
# Seen with opencv-python-headless 4.14.0.94 (numpy 2.2.6): a file with `input: "data"`, neither input_shape nor
# input_dim, and an Input layer that makes "data" is refused: "Duplicate blobs produced by multiple sources". Without
# the line it is read, and computes.
# Caffe 1.0 upgrades such a file (UpgradeNetInput in src/caffe/util/upgrade_proto.cpp): with neither of the sizes it only
# clears the names, and the layer's own shape holds. Published deploy files have this form.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    opencv-python-headless==4.14.0.94 numpy==2.2.6
"$folder/venv/bin/python" - <<'PROGRAM'
import cv2
import numpy as np

LAYERS = """
layer { name: "input" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 1 dim: 1 dim: 2 } } }
layer { name: "double" type: "Power" bottom: "data" top: "out" power_param { scale: 2 } }
"""


def read(text: str) -> cv2.dnn.Net:
    return cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8))


net = read(LAYERS)
net.setInput(np.ones((1, 1, 1, 2), np.float32))
print("without the line:", net.forward().ravel().tolist())
try:
    read('input: "data"' + LAYERS)
except cv2.error as error:
    print("with it:", error.err)
    assert "Duplicate blobs" in error.err, "the error has changed"
else:
    raise SystemExit("the line is dropped now")
PROGRAM
