#!/usr/bin/env bash
# ncnn.Mat reads a numpy view in the order of memory, not in the order of the view.
#
# Guess: ncnn.Mat(array) honours the strides of the array, or raises an error.
# Seen with the Python package ncnn 1.0.20261020 (numpy 2.4.6): the Mat has the shape of the view and the values
# of the memory below it, from the first byte of the view on.
#   image.transpose(2, 0, 1)   an image in height, width, channel: colours and rows are mixed
#   image[1:, 1:]              a crop: its rows run on into the columns that were cut off
#   image[:, ::2]              every second column: the columns between are taken too
# Mat.clone() copies the wrong values. np.ascontiguousarray(view) before the call makes all three right.
# The usual way from an OpenCV or Pillow image to a network is such a transpose. The network runs, the scores
# look like scores, and they belong to another picture.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    ncnn==1.0.20261020 numpy==2.4.6
"$folder/venv/bin/python" - <<'PROGRAM'
import ncnn
import numpy as np

image = np.arange(3 * 4 * 2, dtype=np.float32).reshape(3, 4, 2)
plane = np.ascontiguousarray(image[:, :, 0])
for name, view, first in [
    ("transpose(2, 0, 1)", image.transpose(2, 0, 1), [0, 1, 2, 3]),
    ("[1:, 1:]", plane[1:, 1:], [10, 12, 14, 16]),
    ("[:, ::2]", plane[:, ::2], [0, 2, 4, 6]),
]:
    mat = ncnn.Mat(view)
    copy = mat.clone()
    found = np.array(mat)
    print(name, "| numpy:", view.ravel()[:4].tolist(), "| ncnn:", found.ravel()[:4].tolist())
    assert found.shape == view.shape, "the shape is no longer that of the view"
    assert found.ravel()[:4].tolist() == first, "the behaviour has changed"
    assert np.array_equal(np.array(copy), found), "clone() no longer agrees with the Mat"
    assert not np.array_equal(found, view), "the strides are honoured now"
    contiguous = np.ascontiguousarray(view)
    assert np.array_equal(np.array(ncnn.Mat(contiguous)), view), "a contiguous array is wrong too"
PROGRAM
