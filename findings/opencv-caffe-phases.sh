#!/bin/sh
# OpenCV's Caffe importer runs layers that the prototxt keeps for training.
#
# Guess: `include { phase: TRAIN }` leaves a layer out, as Caffe does at inference.
# Seen with opencv-python-headless 4.14.0.94 (numpy 2.2.6): the importer ignores `include`. The
# network below has one layer for each phase; both are in the network, and 0 becomes 101, not 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    opencv-python-headless==4.14.0.94 numpy==2.2.6
"$folder/venv/bin/python" - <<'PROGRAM'
import cv2
import numpy as np

PROTOTXT = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 1 dim: 1 dim: 1 } } }
layer { name: "training" type: "Power" bottom: "data" top: "data"
  power_param { shift: 100 } include { phase: TRAIN } }
layer { name: "inference" type: "Power" bottom: "data" top: "out"
  power_param { shift: 1 } include { phase: TEST } }
"""
net = cv2.dnn.readNetFromCaffe(np.frombuffer(PROTOTXT.encode(), np.uint8))
net.setInput(np.zeros((1, 1, 1, 1), np.float32))
names, value = list(net.getLayerNames()), float(net.forward().item())
print("layers:", names, "output:", value)
assert (names, value) == (["training", "inference"], 101.0), "the behaviour has changed"
PROGRAM
