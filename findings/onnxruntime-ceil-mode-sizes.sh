#!/usr/bin/env bash
# ONNX Runtime 1.32.0 infers one size for a pooling with ceil_mode and computes another: no classifier fits behind it.
#
# Guess: a tensor has the size at run time that shape inference gives it, and all versions agree on a network's sizes.
# Seen on CPU for a map of 7 x 7, windows of 2, stride 2, pads of 1 and ceil_mode=1. Only 4 x 4 windows start before the
# padding at the lower and right edge; ONNX ignores those that start in it (MaxPool: "are ignored"), as PyTorch does.
#                                                 inferred  computed
#   1.32.0 (onnx 1.23.2), opset 13 and 19           5 x 5     4 x 4    MaxPool and AveragePool; LpPool in opset 19
#   1.32.0, opset 22                                4 x 4     4 x 4    all three
#   1.19.2 (onnx 1.17.0), opset 13 and 19           5 x 5     5 x 5
# With Flatten and Gemm behind the pooling, 1.32.0 refuses 16 weights, the right number, when it loads the network (it
# infers 25), and 25 when it runs it: in opset 13 or 19 nothing runs. In 1.19.2 only 25 runs.
# With a GlobalAveragePool instead, both versions run: for a map of ones and MaxPool, 1.32.0 gives 1 and 1.19.2 minus
# infinity, because windows of padding alone have the lowest float32 as their maximum.
# Without padding it takes windows of 2 with stride 3, or of 1 with stride 2, on an even side.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >sizes.py <<'PROGRAM'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

onnxruntime.set_default_logger_severity(4)
ONES = np.ones((1, 1, 7, 7), np.float32)


def network(operator, opset, *after, weights=None):
    """Return the pooling, followed by operators of one input each, the last perhaps with weights."""
    nodes = [
        helper.make_node(
            operator, ["x"], ["t0"], kernel_shape=[2, 2], strides=[2, 2], pads=[1] * 4, ceil_mode=1
        )
    ]
    for number, name in enumerate(after, 1):
        inputs = [f"t{number - 1}"] + (["weights"] if name == "Gemm" else [])
        nodes.append(helper.make_node(name, inputs, [f"t{number}"]))
    rank = 2 if "Flatten" in after else 4
    graph = helper.make_graph(
        nodes, "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ONES.shape)],
        [helper.make_tensor_value_info(f"t{len(after)}", TensorProto.FLOAT, list("nchw"[:rank]))],
        [] if weights is None else [numpy_helper.from_array(np.ones((weights, 2), np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def run(model):
    """Return the output, or where it failed."""
    place = "load"
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        place = "run"
        return session.run(None, {"x": ONES})[0]
    except Exception:
        return f"fails to {place}"


def sides(operator, opset):
    inferred = onnx.shape_inference.infer_shapes(network(operator, opset, "Identity")).graph.value_info[0]
    return inferred.type.tensor_type.shape.dim[3].dim_value, run(network(operator, opset)).shape[3]


old = onnxruntime.__version__ == "1.19.2"
cases = [("MaxPool", 13), ("MaxPool", 19), ("AveragePool", 13), ("AveragePool", 19), ("LpPool", 19)]
cases += [] if old else [("MaxPool", 22), ("AveragePool", 22), ("LpPool", 22)]
for operator, opset in cases:
    classifiers = {}
    for weights in (16, 25):
        output = run(network(operator, opset, "Flatten", "Gemm", weights=weights))
        classifiers[weights] = output if isinstance(output, str) else "runs"
    found = sides(operator, opset)
    mean = float(run(network(operator, opset, "GlobalAveragePool")).item())
    print(f"onnxruntime {onnxruntime.__version__}, {operator}, opset {opset}: inferred {found[0]}, computed {found[1]},"
          f" Gemm {classifiers}, mean {mean:g}")
    if old:
        expected = (5, 5), {16: "fails to run", 25: "runs"}
        if operator == "MaxPool":
            assert mean < -1e37, "the old version's mean has changed"
    elif opset == 22:
        expected = (4, 4), {16: "runs", 25: "fails to load"}
    else:
        expected = (5, 4), {16: "fails to load", 25: "fails to run"}
    if not old and operator == "MaxPool":
        assert mean == 1, "the new version's mean has changed"
    if (found, classifiers) != expected:
        sys.exit("the behaviour has changed")
PROGRAM
while read -r runtime onnx numpy; do
    python3 -m venv "$runtime"
    "$runtime/bin/pip" install --quiet --disable-pip-version-check \
        "onnxruntime==$runtime" "onnx==$onnx" "numpy==$numpy"
    "$runtime/bin/python" sizes.py
done <<'VERSIONS'
1.32.0 1.23.2 2.4.6
1.19.2 1.17.0 1.26.4
VERSIONS
