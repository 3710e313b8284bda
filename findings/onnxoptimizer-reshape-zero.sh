#!/usr/bin/env bash
# onnxoptimizer joins two Reshape nodes and lets the second's 0 copy a dimension of the first's input.
#
# Guess: the default passes of an optimizer keep the results; a shape with 0 or -1 depends on what is before it.
# Seen with onnxoptimizer 0.4.2 (onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6), default passes, for 1 x 4 x 9 x 9:
#   to 2, 2, 81, then 0, -1      2 x 162, becomes 1 x 324
#   to 2, 2, 9, 9, then 0, 0, -1 2 x 2 x 81, becomes 1 x 4 x 81
#   to 4, 81, then -1, 0         4 x 81, becomes 81 x 4
#   to 1, 36, 9, then 0, 9, 36   right, because the first dimension is the input's
# 0 stands for the dimension of the Reshape's own input, at its place. The first Reshape is dropped and the second keeps
# its 0. onnxruntime runs what results; onnx.checker refuses it with full_check=True, where the file declares the size
# of its output. onnxsim 0.8.1 and onnxslim 0.1.98 keep the results of these graphs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnxoptimizer==0.4.2 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnxoptimizer
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

onnxruntime.set_default_logger_severity(4)
X = np.arange(324, dtype=np.float32).reshape(1, 4, 9, 9)


def model(first, second, output):
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "first"], ["between"]),
            helper.make_node("Reshape", ["between", "second"], ["y"]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [
            numpy_helper.from_array(np.array(first, np.int64), "first"),
            numpy_helper.from_array(np.array(second, np.int64), "second"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def shape(network):
    session = onnxruntime.InferenceSession(
        network.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": X})[0].shape


for first, second, right, wrong in [
    ((2, 2, 81), (0, -1), (2, 162), (1, 324)),
    ((2, 2, 9, 9), (0, 0, -1), (2, 2, 81), (1, 4, 81)),
    ((4, 81), (-1, 0), (4, 81), (81, 4)),
    ((1, 36, 9), (0, 9, 36), (1, 9, 36), (1, 9, 36)),
]:
    before = model(first, second, right)
    onnx.checker.check_model(before, full_check=True)
    after = onnxoptimizer.optimize(before)
    found = shape(before), shape(after)
    print(f"Reshape to {first}, then {second}: {found[0]}, optimized {found[1]}, nodes {len(after.graph.node)}")
    assert found == (right, wrong) and len(after.graph.node) == 1, "the behaviour has changed"
PROGRAM
