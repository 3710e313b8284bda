#!/usr/bin/env bash
# ONNX's own reference evaluator normalises one channel per image in LRN, sums signs in LpNormalization, and takes an
# old Softmax for a new one.
#
# Guess: onnx.reference.ReferenceEvaluator computes what the operator's documentation says, for the opset of the model.
# Seen with onnx 1.23.2 (numpy 2.4.6); onnxruntime 1.32.0 agrees with the documentation:
#   LRN over 5 channels of fives, alpha 1      right 0.312, 0.238, 0.192, 0.238, 0.312
#     (size 5, bias 1, beta 1)                 reference 0.312, 5, 5, 5, 5; with two images, two channels are normalised
#   LpNormalization, p=1, of 1, -2, 3          right 0.167, -0.333, 0.5 (divided by 6)
#                                              reference 0.5, -1, 1.5 (divided by 2, the sum with its signs)
#   Softmax, opset 12, of zeros 1 x 2 x 1 x 2  right 0.25 four times: before 13 the axes from `axis` on are one row
#                                              reference 0.5 four times; LogSoftmax and Hardmax likewise
# LpNormalization with p=2 and Softmax of opset 13 are right. AlexNet and GoogLeNet have LRN, and files of their age
# have opset 12 or lower: their layers cannot be compared with the reference.
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


def outputs(operator, opset, x, **attributes):
    """Return the outputs of onnxruntime and of the reference, in the order of memory."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"x": x})[0], onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})[0]
    return [[round(float(value), 3) for value in output.ravel()] for output in found]


LRN = {"size": 5, "alpha": 1.0, "beta": 1.0, "bias": 1.0}
ROW = [0.312, 0.238, 0.192, 0.238, 0.312]
SIGNED = np.array([1, -2, 3], np.float32)
ZEROS = np.zeros((1, 2, 1, 2), np.float32)
for operator, opset, x, attributes, right, reference in [
    ("LRN", 13, np.full((1, 5, 1, 1), 5, np.float32), LRN, ROW, [0.312, 5, 5, 5, 5]),
    ("LRN", 13, np.full((2, 5, 1, 1), 5, np.float32), LRN, ROW * 2, [0.312, 0.238, 5, 5, 5] * 2),
    ("LpNormalization", 13, SIGNED, {"axis": 0, "p": 1}, [0.167, -0.333, 0.5], [0.5, -1, 1.5]),
    ("LpNormalization", 13, SIGNED, {"axis": 0, "p": 2}, [0.267, -0.535, 0.802], [0.267, -0.535, 0.802]),
    ("Softmax", 12, ZEROS, {"axis": 1}, [0.25] * 4, [0.5] * 4),
    ("LogSoftmax", 12, ZEROS, {"axis": 1}, [-1.386] * 4, [-0.693] * 4),
    ("Hardmax", 12, ZEROS, {"axis": 1}, [1, 0, 0, 0], [1, 1, 0, 0]),
    ("Softmax", 13, ZEROS, {"axis": 1}, [0.5] * 4, [0.5] * 4),
]:
    found = outputs(operator, opset, x, **attributes)
    print(f"{operator}, opset {opset}, {x.shape}: onnxruntime {found[0]}, reference {found[1]}")
    assert found == [right, reference], "the behaviour has changed"
PROGRAM
