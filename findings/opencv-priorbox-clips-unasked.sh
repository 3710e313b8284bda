#!/bin/sh
# OpenCV's Caffe importer clips SSD's prior boxes to the image where the network file does not ask for it.
#
# Guess: a field that a file leaves out has the default of the SSD fork's schema (clip: false), which is also what the
# fork's own tools write: nothing.
# Seen with opencv-python-headless 4.14.0.94 (numpy 2.2.6), for boxes of 10 pixels around (2, 2) in an image of 16 x 16:
#   clip left out      first box 0, 0, 0.4375, 0.4375
#   clip: false        first box -0.1875, -0.1875, 0.4375, 0.4375
#   min_size: 10.5     a box of 10.5 pixels; the fork stores the size in an integer, so that its box has 10
# A clipped box has another centre and another size, and every location is decoded relative to them: detections at the
# border move. Write `clip: false` and whole sizes into a file that OpenCV reads.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    opencv-python-headless==4.14.0.94 numpy==2.2.6
"$folder/venv/bin/python" - <<'PROGRAM'
import cv2
import numpy as np

INPUTS = {"map": (1, 1, 4, 4), "image": (1, 3, 16, 16)}


def first_box(parameters):
    heads = [
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in shape)
        + " } } }\n"
        for name, shape in INPUTS.items()
    ]
    text = "".join(heads) + (
        'layer { name: "prior" type: "PriorBox" bottom: "map" bottom: "image" top: "prior"\n'
        f"  prior_box_param {{ {parameters} variance: 0.1 }} }}\n"
    )
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8))
    for name, shape in INPUTS.items():
        net.setInput(np.zeros(shape, np.float32), name)
    return net.forward("prior").reshape(2, -1)[0, :4]


for parameters, expected in (
    ("min_size: 10", (0, 0, 0.4375, 0.4375)),
    ("min_size: 10 clip: false", (-0.1875, -0.1875, 0.4375, 0.4375)),
    ("min_size: 10.5 clip: false", ((2 - 5.25) / 16,) * 2 + ((2 + 5.25) / 16,) * 2),
):
    box = first_box(parameters)
    print(f"{parameters}: {', '.join(f'{value:g}' for value in box)}")
    assert np.allclose(box, expected, atol=1e-6), expected
PROGRAM
