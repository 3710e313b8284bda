#!/usr/bin/env bash
# ONNX's own reference evaluator pools other pixels than the standard says, with ceil_mode and with SAME_LOWER.
#
# Guess: onnx.reference.ReferenceEvaluator is what the standard means; a runtime that differs from it is wrong.
# Seen with onnx 1.23.2 (numpy 2.4.6), for the row 1, 2, 3, 4, 5, 6, 7; onnxruntime 1.32.0 and the formulas of the
# operators' own documentation agree on the second column:
#                                                    right            reference
#   AveragePool, 3 wide, stride 3, ceil_mode=1       2, 5, 7          1.5, 4, 6
#   the same with count_include_pad=1                2, 5, 7          1, 4, 6
#   LpPool (p=1), 3 wide, stride 3, ceil_mode=1      6, 15, 7         3, 12, 18
#   LpPool (p=1), 2 wide, stride 2, ceil_mode=1      3, 7, 11, 7      3, 7, 11, 14
#   MaxPool, 3 wide, stride 2, SAME_LOWER            2, 4, 6, 7       3, 5, 7
# With ceil_mode it divides the pixels that are missing at the end between both ends, which moves every window; LpPool
# takes the mean of the pixels that are there, times the window's size. MaxPool pads nothing for SAME_LOWER. AveragePool
# 2 wide with stride 2, and MaxPool with ceil_mode, are right.
# A converter or a runtime for a board that is tested against the reference fails here by being right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnx.reference
import onnxruntime
from onnx import TensorProto, helper

ROW = np.arange(1, 8, dtype=np.float32).reshape(1, 1, 7)


def pool(operator, width, stride, **attributes):
    """Return the outputs of onnxruntime and of the reference."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], kernel_shape=[width], strides=[stride], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ROW.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "outputs"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    outputs = (
        session.run(None, {"x": ROW})[0],
        onnx.reference.ReferenceEvaluator(model).run(None, {"x": ROW})[0],
    )
    return [[round(float(value), 3) for value in output.ravel()] for output in outputs]


CEIL = {"ceil_mode": 1}
for operator, width, stride, attributes, right, reference in [
    ("AveragePool", 3, 3, CEIL, [2, 5, 7], [1.5, 4, 6]),
    ("AveragePool", 3, 3, CEIL | {"count_include_pad": 1}, [2, 5, 7], [1, 4, 6]),
    ("AveragePool", 2, 2, CEIL, [1.5, 3.5, 5.5, 7], [1.5, 3.5, 5.5, 7]),
    ("LpPool", 3, 3, CEIL | {"p": 1}, [6, 15, 7], [3, 12, 18]),
    ("LpPool", 2, 2, CEIL | {"p": 1}, [3, 7, 11, 7], [3, 7, 11, 14]),
    ("MaxPool", 3, 3, CEIL, [3, 6, 7], [3, 6, 7]),
    ("MaxPool", 3, 2, {"auto_pad": "SAME_LOWER"}, [2, 4, 6, 7], [3, 5, 7]),
]:
    found = pool(operator, width, stride, **attributes)
    print(f"{operator}, {width} wide, stride {stride}, {attributes}: onnxruntime {found[0]}, reference {found[1]}")
    assert found == [right, reference], "the behaviour has changed"
PROGRAM
