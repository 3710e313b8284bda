#!/bin/sh
# MNN's converter turns three of Caffe's layers into layers with other values, and reports nothing.
#
# Guess: what cannot be expressed is refused, as Tile and Clip are ("These Op Not Support").
# Seen with MNN 3.6.1 (numpy 2.4.6), on 3 channels of 4 x 4:
#   LRN with k: 2              has k 1
#   Scale with num_axes: 0     a factor for the whole blob is one for the first channel; the other channels are 0
#   MVN                        each value is off by one number; with normalize_variance: false, or across_channels, it
#                              is right
# Compare outputs with Caffe's before a converted network is measured.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check MNN==3.6.1 numpy==2.4.6
# The converter would run pip (mnn-tools-run-pip.sh).
mkdir "$folder/first"
printf '#!/bin/sh\nexit 1\n' >"$folder/first/pip"
chmod +x "$folder/first/pip"
PATH="$folder/first:$PATH" "$folder/venv/bin/python" - "$folder" <<'PROGRAM'
import subprocess
import sys
from pathlib import Path

import MNN
import numpy as np

folder = Path(sys.argv[1])
x = np.linspace(-3, 3, 48, dtype=np.float32).reshape(1, 3, 4, 4) ** 3
# Protobuf by hand: a layer (field 100) with its name, its type and one blob of one float, 3.
FACTOR = b"\xa2\x06\x13\x0a\x01l\x12\x05Scale\x3a\x07\x3a\x00\x2d\x00\x00\x40\x40"


def converted(kind, parameters, weights=b""):
    files = {name: str(folder / f"net.{name}") for name in ("prototxt", "caffemodel", "mnn")}
    Path(files["prototxt"]).write_text(
        'name: "n"\nlayer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }\n'
        f'layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {parameters} }}\n'
    )
    Path(files["caffemodel"]).write_bytes(b"\x0a\x01n" + weights)
    command = [str(folder / "venv/bin/mnnconvert"), "-f", "CAFFE", "--prototxt", files["prototxt"]]
    command += ["--modelFile", files["caffemodel"], "--MNNModel", files["mnn"], "--bizCode", "n"]
    subprocess.run(command, check=True, capture_output=True)
    network = MNN.Interpreter(files["mnn"])
    session = network.createSession()
    of_caffe = MNN.Tensor_DimensionType_Caffe
    network.getSessionInput(session).copyFrom(MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, of_caffe))
    network.runSession(session)
    output = network.getSessionOutput(session)
    found = MNN.Tensor(x.shape, MNN.Halide_Type_Float, np.empty_like(x), of_caffe)
    output.copyToHostTensor(found)
    return np.array(found.getData(), np.float32).reshape(x.shape)


def normalized(k):
    squares = np.pad(x * x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    sums = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
    return x / (k + 0.5 / 3 * sums) ** 0.75


near = {"rtol": 1e-4, "atol": 1e-4}
lrn = converted("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 k: 2 }")
print("LRN k: 2: off by", abs(lrn - normalized(2)).max(), "from k 2, by", abs(lrn - normalized(1)).max(), "from k 1")
assert np.allclose(lrn, normalized(1), **near)
assert not np.allclose(lrn, normalized(2), **near)

scaled = converted("Scale", "scale_param { num_axes: 0 }", FACTOR)
print("Scale by 3:", [float(channel) for channel in (scaled / x).mean(axis=(0, 2, 3))])
assert np.allclose(scaled[:, 0], 3 * x[:, 0], **near)
assert not scaled[:, 1:].any()

centred = x - x.mean(axis=(2, 3), keepdims=True)
mvn = converted("MVN", "")
off = mvn - centred / (x.std(axis=(2, 3), keepdims=True) + 1e-9)
print("MVN: off by", float(off[0, 0].min()), "to", float(off[0, 0].max()), "in the first channel")
assert np.allclose(off[0, 0], off[0, 0, 0, 0], **near)
assert abs(off[0, 0, 0, 0]) > 1
assert np.allclose(converted("MVN", "mvn_param { normalize_variance: false }"), centred, **near)
PROGRAM
