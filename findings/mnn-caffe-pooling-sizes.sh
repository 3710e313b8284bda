#!/bin/sh
# MNN's converter reads Caffe's round_mode and does not use it, and keeps a pooling window that lies in the padding alone.
#
# Guess: a field that the converter's parser accepts has its meaning; it refuses `ceil_mode`, which Caffe 1.0 has not.
# A converted pooling has the size that Caffe's has.
# Seen with MNN 3.6.1 (numpy 2.4.6), for a map of 9 x 9, windows of 2 and a stride of 2:
#   round_mode: FLOOR  5 x 5; Caffe 4 x 4 (pooling_layer.cpp: floor((9 - 2) / 2) + 1)
#   pad: 1             6 x 6; Caffe 5 x 5: "the last pooling starts strictly inside the image". The sixth row and column
#                      of an average are 0.
# Nothing is reported. Layers that need a certain size fail later or, as a global pooling does, take other values.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check MNN==3.6.1 numpy==2.4.6
# The converter would run pip (mnn-tools-run-pip.sh).
mkdir "$folder/first"
printf '#!/bin/sh\nexit 1\n' >"$folder/first/pip"
chmod +x "$folder/first/pip"
# A caffemodel of a network called n, without layers: pooling has no weights.
printf '\012\001n' >"$folder/net.caffemodel"
for rule in "round_mode: FLOOR" "pad: 1"; do
    cat >"$folder/net.prototxt" <<NETWORK
name: "n"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 9 dim: 9 } } }
layer { name: "p" type: "Pooling" bottom: "x" top: "y" pooling_param { pool: AVE kernel_size: 2 stride: 2 $rule } }
NETWORK
    PATH="$folder/first:$PATH" "$folder/venv/bin/mnnconvert" -f CAFFE --prototxt "$folder/net.prototxt" \
        --modelFile "$folder/net.caffemodel" --MNNModel "$folder/net.mnn" --bizCode n >/dev/null
    "$folder/venv/bin/python" - "$folder/net.mnn" "$rule" <<'PROGRAM'
import sys

import MNN
import numpy as np

network = MNN.Interpreter(sys.argv[1])
session = network.createSession()
image = network.getSessionInput(session)
values = np.ones((1, 1, 9, 9), np.float32)
of_caffe = MNN.Tensor_DimensionType_Caffe
image.copyFrom(MNN.Tensor(values.shape, MNN.Halide_Type_Float, values, of_caffe))
network.runSession(session)
pooled = network.getSessionOutput(session, "y")
size = pooled.getShape()
found = MNN.Tensor(size, MNN.Halide_Type_Float, np.empty(size, np.float32), of_caffe)
pooled.copyToHostTensor(found)
corner = np.array(found.getData()).reshape(size)[0, 0, -1, -1]
print(f"{sys.argv[2]}: {size[2]} x {size[3]}, last value {corner:g}")
expected = {"round_mode: FLOOR": ((1, 1, 5, 5), 1), "pad: 1": ((1, 1, 6, 6), 0)}
assert (tuple(size), corner) == expected[sys.argv[2]]
PROGRAM
done
