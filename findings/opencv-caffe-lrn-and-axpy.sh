#!/usr/bin/env bash
# OpenCV's Caffe importer normalises ten thousand times weaker where LRN has no alpha, and adds the wrong input in Axpy.
#
# Guess: a field that a prototxt leaves out has Caffe's default (caffe.proto: alpha 1), and a layer type of SENet that the
# importer accepts (Axpy: a factor for each channel times the second input, plus the third) computes that.
# Seen with opencv-python-headless 4.14.0.94 (4.6.0.66 has both, 4.5.1.48 only Axpy), numpy 2.2.6:
#   LRN of fives over 5 channels: 0.43 for the middle one with `alpha: 1`, 4.99 without the field: its default is 0.0001
#   Axpy of factor 2, inputs 10 and 1: 12 = 2 * 1 + 10, where 2 * 10 + 1 = 21 is right
# No warning is printed. SENet's published networks have an Axpy in every block.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==4.14.0.94 numpy==2.2.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import cv2
import numpy as np

INPUT = 'layer { name: "%s" type: "Input" top: "%s" input_param { shape { dim: 1 dim: %d dim: %d dim: %d } } }\n'


def middle(fields):
    """Return what LRN makes of the third of five channels of fives."""
    text = INPUT % ("x", "x", 5, 1, 1)
    text += 'layer { name: "n" type: "LRN" bottom: "x" top: "n" lrn_param { local_size: 5 %s } }' % fields
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8))
    net.setInput(np.full((1, 5, 1, 1), 5, np.float32), "x")
    return round(float(net.forward()[0, 2, 0, 0]), 2)


def axpy():
    text = INPUT % ("factor", "factor", 1, 1, 1) + INPUT % ("a", "a", 1, 2, 2) + INPUT % ("b", "b", 1, 2, 2)
    text += 'layer { name: "y" type: "Axpy" bottom: "factor" bottom: "a" bottom: "b" top: "y" }'
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8))
    for name, value, shape in (("factor", 2, (1, 1, 1, 1)), ("a", 10, (1, 1, 2, 2)), ("b", 1, (1, 1, 2, 2))):
        net.setInput(np.full(shape, value, np.float32), name)
    return float(net.forward()[0, 0, 0, 0])


right = round(5 / (1 + 1 / 5 * 5 * 25) ** 0.75, 2)
seen = middle("alpha: 1"), middle(""), axpy()
print("LRN with alpha 1, by Caffe's formula:", right)
print("LRN with alpha 1, LRN without, Axpy:", *seen)
raise SystemExit(seen != (right, 4.99, 12.0))
PROGRAM
