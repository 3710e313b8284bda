#!/usr/bin/env bash
# onnxslim takes factors for the columns or rows of a convolution's output for factors of its channels.
#
# Guess: a tool that makes a model smaller folds a Mul into the convolution's weights only if that keeps the results.
# Seen with onnxslim 0.1.98 (onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6): a 1x1 convolution that copies 4 channels of
# 4 x 4 ones, then Mul with the constants 1, 2, 3, 4 in the shape
#   4,1,1 or 1,4,1,1             a factor per channel: folded, and right
#   4 or 1,1,1,4                 a factor per column: folded as one per channel
#   4,1 or 1,1,4,1               a factor per row: folded as one per channel
#   4 x 2 map, shape 2           left alone, and right
# onnxslim compares the number of constants with that of the channels and does not look where they lie. The shapes of
# all tensors agree. Its own check, slim(..., model_check=True), finds it, but is off unless one asks for it. A window
# over a spectrogram, or weights for the lines of an image, do this where lines and channels are equally many.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnxslim==0.1.98 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import copy

import numpy as np
import onnx
import onnxruntime
import onnxslim
from onnx import TensorProto, helper, numpy_helper


def results(height, width, factors):
    """Return whether the slim model has one node only, and whether it computes the same."""
    shape = [1, 4, height, width]
    weights = np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "weights"], ["copied"]),
            helper.make_node("Mul", ["copied", "factors"], ["y"]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(factors, "factors")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    slim = onnxslim.slim(copy.deepcopy(model))
    outputs = []
    for each in (model, slim):
        onnx.checker.check_model(each, full_check=True)
        session = onnxruntime.InferenceSession(
            each.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        outputs.append(session.run(None, {"x": np.ones(shape, np.float32)})[0])
    return len(slim.graph.node) == 1, bool(np.array_equal(*outputs))


for height, width, shape, folded, right in [
    (4, 4, (4, 1, 1), True, True),
    (4, 4, (1, 4, 1, 1), True, True),
    (4, 4, (4,), True, False),
    (4, 4, (1, 1, 1, 4), True, False),
    (4, 4, (4, 1), True, False),
    (4, 4, (1, 1, 4, 1), True, False),
    (4, 2, (2,), False, True),
]:
    factors = np.arange(1, max(shape) + 1, dtype=np.float32).reshape(shape)
    found = results(height, width, factors)
    print(f"4 channels of {height} x {width}, factors {shape}: folded {found[0]}, same values {found[1]}")
    assert found == (folded, right), "the behaviour has changed"
PROGRAM
