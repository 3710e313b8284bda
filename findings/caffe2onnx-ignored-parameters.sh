#!/usr/bin/env bash
# caffe2onnx turns a subtraction into an addition, and leaves out six more parameters of Caffe's layers.
#
# Guess: what cannot be expressed ends the conversion, as it does for ELU, Exp and Tile ("Failed type not support").
# Seen with caffe2onnx 2.0.1 (onnx 1.16.2, onnxruntime 1.19.2, protobuf 3.20.3, numpy 1.26.4):
#                                                              ONNX               Caffe
#   Eltwise SUM, coeff: 1 and -1, of x and 2 x                 3 x                -x
#   LRN with k: 2, of five channels of five                    0.43 in the middle  0.42
#   LRN WITHIN_CHANNEL                                         as across channels
#   InnerProduct with transpose: true                          the weights' rows   the weights' columns
#   Reshape with axis: 2                                       all axes are one    the first two stay
#   Pooling with pad_h: 1 and no pad_w                         no padding at all
#   a layer with include { phase: TRAIN }                      is an output of the network
# "converting caffe model to onnx model completed successfully" is printed each time. Compare the outputs with Caffe's
# before a converted network is measured.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    setuptools==65.5.0 wheel==0.48.0 onnx==1.16.2 onnxruntime==1.19.2 protobuf==3.20.3 numpy==1.26.4
# caffe2onnx asks for onnx 1.6.0, which has no wheel for a current Python. What it leaves out does not depend on it.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation caffe2onnx==2.0.1
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import contextlib
import io

import numpy as np
import onnxruntime
from caffe2onnx.proto import caffe_upsample_pb2
from caffe2onnx.src.caffe2onnx import Caffe2Onnx
from google.protobuf import text_format

onnxruntime.set_default_logger_severity(3)  # it warns of weights that are inputs too
ROW = np.arange(1, 4, dtype=np.float32).reshape(1, 1, 1, 3)
CHANNELS = np.full((1, 5, 1, 1), 5, np.float32)
SQUARE = np.arange(1, 26, dtype=np.float32).reshape(1, 1, 5, 5)


def outputs(layers, image, weights=None):
    """Convert the layers after an Input layer; return the outputs of the ONNX model by name."""
    dimensions = " ".join(f"dim: {size}" for size in image.shape)
    network = caffe_upsample_pb2.NetParameter()
    text_format.Merge(
        f'layer {{ name: "data" type: "Input" top: "data" '
        f"input_param {{ shape {{ {dimensions} }} }} }} {layers}",
        network,
    )
    trained = caffe_upsample_pb2.NetParameter()
    trained.CopyFrom(network)
    if weights is not None:
        blob = trained.layer[-1].blobs.add()
        blob.shape.dim.extend(weights.shape)
        blob.data.extend(weights.ravel().tolist())
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        model = Caffe2Onnx(network, trained, "model.onnx").createOnnxModel()
    assert "completed successfully" in printed.getvalue()
    model.ir_version = 8
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {session.get_inputs()[0].name: image})
    return dict(zip((each.name for each in session.get_outputs()), found))


def layer(kind, parameters, bottoms=("data",), name="y"):
    inputs = " ".join(f'bottom: "{each}"' for each in bottoms)
    return f'layer {{ name: "{name}" type: "{kind}" {inputs} top: "{name}" {parameters} }} '


def lrn(k):
    """Return LRN of five channels of fives, size 5, alpha 1, beta 0.75, by Caffe's formula."""
    windows = [sum(25 for j in range(5) if abs(i - j) <= 2) for i in range(5)]
    return [5 / (k + window / 5) ** 0.75 for window in windows]


def judge(text, found, expected, right):
    found, right = np.asarray(found), np.asarray(right)
    print(f"{text} | ONNX {found.shape} {found.ravel()[:5].round(3)}",
          f"| Caffe {right.shape} {right.ravel()[:5].round(3)}")
    expected = np.asarray(expected)
    assert found.shape == expected.shape and np.allclose(found, expected), "the behaviour has changed"
    assert found.shape != right.shape or not np.allclose(found, right, atol=1e-3), "it is right now"


double = layer("Power", "power_param { scale: 2 }", name="a")
difference = layer("Eltwise", "eltwise_param { operation: SUM coeff: 1 coeff: -1 }", ("data", "a"))
judge("Eltwise", outputs(double + difference, ROW)["y"], 3 * ROW, -ROW)

found = outputs(layer("LRN", "lrn_param { k: 2 }"), CHANNELS)["y"].ravel()
judge("LRN, k: 2", found, lrn(1), lrn(2))
within = outputs(layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL }"), CHANNELS)["y"].ravel()
# One pixel per channel: a window of 5 x 5 holds that pixel alone, and alpha is divided by 25.
judge("LRN within the channel", within, lrn(1), [5 / (1 + 25 / 25) ** 0.75] * 5)

weights = np.arange(9, dtype=np.float32).reshape(3, 3)
fully = layer("InnerProduct", "inner_product_param { num_output: 3 bias_term: false transpose: true }")
found = outputs(fully, ROW, weights)["y"]
judge("InnerProduct, transpose", found, ROW.reshape(1, 3) @ weights.T, ROW.reshape(1, 3) @ weights)

found = outputs(layer("Reshape", "reshape_param { axis: 2 shape { dim: -1 } }"), SQUARE)["y"]
judge("Reshape, axis: 2", found, SQUARE.ravel(), SQUARE.reshape(1, 1, 25))

found = outputs(layer("Pooling", "pooling_param { kernel_size: 3 stride: 1 pad_h: 1 }"), SQUARE)["y"]
padded = np.pad(SQUARE[0, 0], ((1, 1), (0, 0)), constant_values=-np.inf)
inside, right = (
    np.array([[[[each[i : i + 3, j : j + 3].max() for j in range(3)] for i in range(len(each) - 2)]]])
    for each in (SQUARE[0, 0], padded)
)
judge("Pooling, pad_h: 1", found, inside, right)

trained = layer("Power", "power_param { scale: 2 } include { phase: TRAIN }", name="a")
found = outputs(trained + layer("Power", "power_param { scale: 3 }"), ROW)
print("outputs with a layer of phase TRAIN:", sorted(found), "| Caffe ['y']")
assert sorted(found) == ["a", "y"], "the behaviour has changed"
PROGRAM
