#!/usr/bin/env bash
# OpenVINO's save_model turns weights of 100,000 into 65,504 and those of 1e-8 into 0, unless three quarters of a tensor
# are such numbers.
#
# Guess: save_model and read_model return the network; where float16, the default on disk, has no such number, the weights
# stay in float32, as the constant 100,000 by itself does.
# Seen with openvino 2026.4.1 (numpy 2.4.6), CPU, INFERENCE_PRECISION_HINT f32, for weights that multiply ones:
#   in the network                      after save_model and read_model
#   1, 2, 3, 100000                     1, 2, 3, 65504
#   1, 100000, 100000, 100000           as they are
#   -1e9, 0, 0, 0                       -65504, 0, 0, 0
#   -1e9, -1e9, -1e9, 0                 as they are
#   1e-8, 1e-8, 1                       0, 0, 1
#   1e-8, 1e-8, 1e-8                    as they are
#   2049, 2051, 4097                    2048, 2052, 4096
#   any, with compress_to_fp16=False    as they are
# Nothing is printed. A tensor stays in float32 only if at least 75 % of its numbers are outside of float16's range; else
# those are cut off. So the same scale is right in one layer and wrong in the next, by what lies beside it. Pixel positions
# above 2048, large factors after a quantized layer, and the small ones of a channel that is all but pruned are such numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 numpy==2.4.6
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import numpy as np
import openvino
from openvino import opset13


def returned(weights, **options):
    constant = np.array([weights], np.float32)
    x = opset13.parameter(constant.shape, np.float32)
    openvino.save_model(openvino.Model([opset13.multiply(x, opset13.constant(constant))], [x]), "model.xml", **options)
    core = openvino.Core()
    network = core.compile_model(core.read_model("model.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return network([np.ones_like(constant)])[0].ravel()


for weights, expected in [
    ([1, 2, 3, 1e5], [1, 2, 3, 65504]),
    ([1, 1e5, 1e5, 1e5], None),
    ([1e5], None),
    ([-1e9, 0, 0, 0], [-65504, 0, 0, 0]),
    ([-1e9, -1e9, -1e9, 0], None),
    ([1e-8, 1e-8, 1], [0, 0, 1]),
    ([1e-8, 1e-8, 1e-8], None),
    ([2049, 2051, 4097], [2048, 2052, 4096]),
]:
    found, kept = returned(weights), returned(weights, compress_to_fp16=False)
    print(f"{weights} | by default {found.tolist()} | compress_to_fp16=False {kept.tolist()}")
    exact = np.array(weights, np.float32)
    assert np.array_equal(kept, exact), "float32 is not kept any more"
    assert np.array_equal(found, exact if expected is None else np.array(expected, np.float32)), "the behaviour has changed"
PROGRAM
