#!/usr/bin/env bash
# onnxoptimizer moves a zero padding into MaxPool, which pads with minus infinity.
#
# Guess: the default passes of an optimizer keep the results.
# Seen with onnxoptimizer 0.4.2 (onnx 1.23.2, numpy 2.4.6), default passes, input -1 everywhere:
#   Pad with 0, then MaxPool 3x3, stride 2     0 at the border, becomes -1
#   Pad with 0, then AveragePool 3x3 with pads of its own, which it does not count
#                                              the corner -0.25 becomes -0.111
# A padding of zeros before a pooling without pads of its own is kept right for AveragePool.
# Zero exceeds negative values only, so that a network whose pool follows a ReLU shows no difference: tests
# on such networks pass. After LeakyReLU, PReLU, tanh or a normalization the classes may change, silently.
# onnxsim 0.8.1 and onnxslim 0.1.98 keep the results of the same two graphs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnxoptimizer==0.4.2 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnxoptimizer
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

X = np.full((1, 1, 4, 4), -1, np.float32)
PADS = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "pads")


def results(operator, **attributes):
    """Return the output before and after optimization, and the operators that are left."""
    graph = helper.make_graph(
        [
            helper.make_node("Pad", ["x", "pads"], ["padded"]),
            helper.make_node(operator, ["padded"], ["y"], kernel_shape=[3, 3], **attributes),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])],
        [PADS],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    (before,) = ReferenceEvaluator(model).run(None, {"x": X})
    optimized = onnxoptimizer.optimize(model)
    (after,) = ReferenceEvaluator(optimized).run(None, {"x": X})
    print(operator, attributes)
    print("  before:", before.round(3).tolist())
    print("  after: ", after.round(3).tolist())
    return before, after, [node.op_type for node in optimized.graph.node]


before, after, operators = results("MaxPool", strides=[2, 2])
assert operators == ["MaxPool"], "the padding is no longer fused"
assert before[0, 0].tolist() == [[0, 0], [0, -1]], "the reference has changed"
assert (after == -1).all(), "the behaviour has changed"

before, after, operators = results("AveragePool", strides=[2, 2], pads=[1, 1, 1, 1])
assert operators == ["AveragePool"], "the padding is no longer fused"
assert np.isclose(before[0, 0, 0, 0], -1 / 4), "the reference has changed"
assert np.isclose(after[0, 0, 0, 0], -1 / 9), "the behaviour has changed"

before, after, operators = results("AveragePool", strides=[2, 2])
assert np.allclose(before, after), "the behaviour has changed"
PROGRAM
