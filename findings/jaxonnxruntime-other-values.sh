#!/usr/bin/env bash
# jaxonnxruntime rounds quotients of whole numbers down, takes an old Softmax for a new one, and overflows in LogSoftmax.
#
# Guess: what is not implemented is refused, as ceil_mode and ConvTranspose are ("not implement yet"); the simplest operators
# are right.
# Seen with jaxonnxruntime 0.3.0 (jax 0.10.2, onnx 1.23.2, numpy 2.4.6), CPU; onnxruntime 1.32.0 is right:
#                                              right             jaxonnxruntime
#   Div, int32: -7, -4, 4, 7, -1 by            -2, -1, -1, -2,   -3, -2, -2, -3, -1
#     3, 3, -3, -3, 2                          0
#     7, 4 by 3                                2, 1              2, 1
#   Softmax of zeros 1 x 2 x 1 x 3, axis 1
#     opset 11, 12                             0.167             0.5
#     opset 13                                 0.5               0.5
#   LogSoftmax of 0, 10, 104                   -104, -94, 0      -infinity, -infinity, 0
#   OneHot of 5 with depth 3, values 2 and 5   2, 2, 2           2, 2, 5
# Nothing is printed. ONNX divides towards zero, and before opset 13 Softmax takes the axes from `axis` on as one row. A loss
# that is computed from LogSoftmax is infinite; a class outside of the range is counted as the last one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jaxonnxruntime==0.3.0 jax==0.10.2 absl-py==2.5.1 \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import jaxonnxruntime
import numpy as np
import onnx
import onnxruntime
from jaxonnxruntime.backend import Backend
from onnx import helper, numpy_helper

jaxonnxruntime.config.update("jaxort_only_allow_initializers_as_static_args", False)


def numbers(*values, dtype=np.float32):
    return np.array(values, dtype)


def outputs(operator, x, constants=(), opset=13, **attributes):
    weights = [numpy_helper.from_array(constant, f"w{number}") for number, constant in enumerate(constants)]
    node = helper.make_node(operator, ["x", *(weight.name for weight in weights)], ["y"], **attributes)
    start = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    graph = helper.make_graph([node], "graph", [start], [helper.make_empty_tensor_value_info("y")], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    by_jax = Backend.prepare(model).run({"x": x})[0]
    return session.run(None, {"x": x})[0].ravel(), np.asarray(by_jax).ravel()


def whole(*values):
    return numbers(*values, dtype=np.int32)


zeros, place = np.zeros((1, 2, 1, 3), np.float32), np.array([5], np.int64)
inf = np.inf
for label, found, seen in [
    ("Div", outputs("Div", whole(-7, -4, 4, 7, -1), [whole(3, 3, -3, -3, 2)]), [-3, -2, -2, -3, -1]),
    ("Div of positive numbers", outputs("Div", whole(7, 4), [whole(3, 3)]), None),
    ("Softmax, opset 11", outputs("Softmax", zeros, opset=11, axis=1), [0.5] * 6),
    ("Softmax, opset 12", outputs("Softmax", zeros, opset=12, axis=1), [0.5] * 6),
    ("Softmax, opset 13", outputs("Softmax", zeros, axis=1), None),
    ("LogSoftmax", outputs("LogSoftmax", numbers(0, 10, 104).reshape(1, 3)), [-inf, -inf, 0]),
    ("OneHot", outputs("OneHot", place, [np.array(3), numbers(2, 5)]), [2, 2, 5]),
]:
    right, by_jax = found
    print(f"{label} | right {right.round(3).tolist()} | jaxonnxruntime {by_jax.round(3).tolist()}")
    expected = right if seen is None else np.array(seen)
    assert np.allclose(by_jax, expected, atol=1e-3), "jaxonnxruntime's behaviour has changed"
    assert seen is None or not np.allclose(right, expected, atol=1e-3), "onnxruntime's behaviour has changed"
PROGRAM
