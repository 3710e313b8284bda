#!/bin/sh
# OpenCV's Caffe importer accepts parameters of some layers and computes without them.
#
# Guess: a parameter that the importer does not implement ends the import with an error.
# Seen with opencv-python-headless 4.14.0.94 (numpy 2.2.6), for the input 0, 1, 2:
#   Log   log_param { shift: 1 }       log(x) instead of log(1 + x): minus infinity for 0
#   LRN   lrn_param { k: 2 }           x / (1 + x * x) instead of x / (2 + x * x)
#   Swish swish_param { beta: 2 }      x * sigmoid(x) instead of x * sigmoid(2 x)
# The shift, scale and base of Exp and Power are applied, so that no rule by type can be guessed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    opencv-python-headless==4.14.0.94 numpy==2.2.6
"$folder/venv/bin/python" - <<'PROGRAM'
import cv2
import numpy as np

X = np.array([0.0, 1.0, 2.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def of_opencv(layer):
    text = (
        'layer { name: "data" type: "Input" top: "data"\n'
        "  input_param { shape { dim: 1 dim: 1 dim: 1 dim: 3 } } }\n"
        'layer { name: "l" bottom: "data" top: "l" ' + layer + " }\n"
    )
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8))
    net.setInput(X.astype(np.float32).reshape(1, 1, 1, 3))
    return net.forward().ravel()


with np.errstate(divide="ignore"):
    cases = {
        'type: "Log" log_param { shift: 1 }': (np.log(1 + X), np.log(X)),
        'type: "LRN" lrn_param { local_size: 1 alpha: 1 beta: 1 k: 2 }': (
            X / (2 + X * X), X / (1 + X * X),
        ),
        'type: "Swish" swish_param { beta: 2 }': (X * sigmoid(2 * X), X * sigmoid(X)),
    }
for layer, (right, without) in cases.items():
    found = of_opencv(layer)
    print(layer, "| Caffe:", right.round(4), "| OpenCV:", found.round(4))
    assert np.allclose(found, without, atol=1e-5), "the behaviour has changed"
    assert not np.allclose(found, right, atol=1e-5), "the parameter is applied now"
for layer, right in {
    'type: "Exp" exp_param { base: 2 scale: 2 shift: 1 }': 2.0 ** (1 + 2 * X),
    'type: "Power" power_param { power: 2 scale: 3 shift: 1 }': (1 + 3 * X) ** 2,
}.items():
    assert np.allclose(of_opencv(layer), right, rtol=1e-5), "the behaviour has changed"
PROGRAM
