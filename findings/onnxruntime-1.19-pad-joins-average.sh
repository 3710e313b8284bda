#!/usr/bin/env bash
# The last ONNX Runtime for Python 3.9 forgets the zeros of a Pad before AveragePool, with default options.
#
# Guess: a session computes the same with its graph optimizations as without; an old version is only slower.
# Seen with onnxruntime 1.19.2 (onnx 1.17.0, numpy 1.26.4), CPU, input of ones 1x1x6x6, Pad of 2 at the lower and
# right edge, then AveragePool 5x5, stride 3, which does not count pads of its own:
#   optimizations off   0.36 in the corner: 9 ones and 16 zeros, as onnx's own reference has it
#   default             1.00 in the corner: the Pad has become a pad of the pool, whose zeros do not count
# With count_include_pad=1, or without the attribute `pads`, both are right. 1.22.1 leaves such a Pad alone, 1.20.1 does
# not. Python 3.9, the one of Raspberry Pi OS 11, gets 1.19.2. A pad that is a layer of its own comes from F.pad in
# PyTorch, and from converters of Caffe's and TensorFlow's asymmetric windows.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnxruntime==1.19.2 onnx==1.17.0 numpy==1.26.4
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnx.reference
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

pads = numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 2, 2], np.int64), "pads")


def corners(counted):
    """Return the last output without and with optimizations, and the reference's."""
    graph = helper.make_graph(
        [
            helper.make_node("Pad", ["x", "pads"], ["padded"]),
            helper.make_node(
                "AveragePool", ["padded"], ["y"],
                kernel_shape=[5, 5], strides=[3, 3], pads=[0, 0, 0, 0], count_include_pad=counted,
            ),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 2, 2])],
        [pads],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    ones = np.ones((1, 1, 6, 6), np.float32)
    levels = onnxruntime.GraphOptimizationLevel
    found = []
    for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_ALL):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found.append(float(session.run(None, {"x": ones})[0][0, 0, 1, 1]))
    reference = onnx.reference.ReferenceEvaluator(model).run(None, {"x": ones})[0]
    return [round(value, 4) for value in (*found, float(reference[0, 0, 1, 1]))]


seen = {counted: corners(counted) for counted in (0, 1)}
print("counted: off, default, reference")
for counted, values in seen.items():
    print(counted, values)
raise SystemExit(seen != {0: [0.36, 1.0, 0.36], 1: [0.36, 0.36, 0.36]})
PROGRAM
