#!/usr/bin/env bash
# Aidge drops half of the numbers in a Dropout that is for training alone, and mixes up SAME_UPPER and SAME_LOWER for pools.
#
# Guess: what the importer does not know ends in an error, as Elu does ("forward() not implemented yet"); a Dropout of a file for
# inference copies its input; convolutions with SAME_UPPER are right, so that pools are.
# Seen with aidge-onnx, aidge-core and aidge-backend-cpu 0.10.1 (onnx 1.23.2, numpy 2.4.6); onnxruntime 1.32.0 is right:
#                                                      right                  Aidge
#   Dropout of 1 ... 8
#     without inputs, or with ratio = 0.1 (opset 11)   1, 2, 3, 4, 5, 6, 7, 8    0, 0, 6, 0, 10, 12, 14, 0
#     training_mode false                              the same                  numbers of these are 0 too
#   of 1 ... 8, 3 wide, stride 2
#     Conv SAME_UPPER, weights 1                       6, 12, 18, 15             the same
#     MaxPool SAME_UPPER                               3, 5, 7, 8                2, 4, 6, 8
#             SAME_LOWER                               2, 4, 6, 8                3, 5, 7, 8
#     AveragePool SAME_UPPER                           2, 4, 6, 7.5              1.5, 3, 5, 7
#                 SAME_LOWER                           1.5, 3, 5, 7              2, 4, 6, 7.5
#   QuantizeLinear of -1.5, -0.5, 0.5, 1.5, 2.5,
#     scale 1                                          -2, 0, 0, 2, 2            -1, 0, 1, 2, 3
#   Softmax of opset 11, 1 x 2 x 1 x 2 zeros, axis 1   0.25 four times           0.5 four times
# A Dropout is dropped with a ratio of 0.5 in each run, the same numbers each time, so that two runs agree. Only where the file has
# inputs for it does a warning appear. AlexNet, VGG and GoogLeNet, exported with their Dropout, lose half of their last features.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aidge-core==0.10.1 aidge-backend-cpu==0.10.1 aidge-onnx==0.10.1 \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PROGRAM' >log || { cat log >&2; exit 1; }
import aidge_backend_cpu
import aidge_core
import aidge_onnx
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

assert aidge_backend_cpu.__name__
ROW = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 1, 8)
POOL = {"kernel_shape": [1, 3], "strides": [1, 2]}
WIDE = np.ones((1, 1, 1, 3), np.float32)


def outputs(operator, x, *constants, opset=13, **attributes):
    """Return the numbers of a network of one operator from ONNX Runtime, and from two runs of Aidge."""
    node = helper.make_node(operator, ["x", *(f"c{k}" for k in range(len(constants)))], ["y"], name="node", **attributes)
    kind = onnx.TensorProto.INT8 if operator == "QuantizeLinear" else onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)], [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(constant), f"c{k}") for k, constant in enumerate(constants)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(model))
    right = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    view = aidge_onnx.load_onnx(model.SerializeToString())
    view.compile("cpu", aidge_core.dtype.float32, dims=[list(x.shape)])
    scheduler = aidge_core.SequentialScheduler(view)
    seen = []
    for _ in range(2):
        scheduler.forward(True, [aidge_core.Tensor(x)])
        seen.append(np.array(next(node.get_operator().get_output(0) for node in view.get_output_nodes())).ravel())
    assert np.array_equal(*seen)
    return right.ravel().astype(float), seen[0].astype(float)


def check(label, right, aidge, arguments, **attributes):
    expected, seen = outputs(*arguments, **attributes)
    print(f"FIGURE {label}: right {expected.tolist()}, Aidge {seen.tolist()}")
    assert np.allclose(expected, right, atol=1e-3), "ONNX Runtime computes something else"
    assert np.allclose(seen, aidge, atol=1e-3), "Aidge computes something else now"


for label, arguments, attributes in [
    ("Dropout", [], {}), ("Dropout, ratio 0.1", [], {"opset": 11, "ratio": 0.1}),
    ("Dropout, training_mode false", [np.float32(0.1), np.array(False)], {}),
]:
    expected, seen = outputs("Dropout", ROW, *arguments, **attributes)
    print(f"FIGURE {label}: right {expected.tolist()}, Aidge {seen.tolist()}")
    assert np.array_equal(expected, ROW.ravel()) and 0 < np.sum(seen == 0) < 8, "Aidge copies the input now"
for operator, upper, lower in [("MaxPool", [3, 5, 7, 8], [2, 4, 6, 8]), ("AveragePool", [2, 4, 6, 7.5], [1.5, 3, 5, 7])]:
    check(operator + " SAME_UPPER", upper, lower, [operator, ROW], auto_pad="SAME_UPPER", **POOL)
    check(operator + " SAME_LOWER", lower, upper, [operator, ROW], auto_pad="SAME_LOWER", **POOL)
check("Conv SAME_UPPER", [6, 12, 18, 15], [6, 12, 18, 15], ["Conv", ROW, WIDE], auto_pad="SAME_UPPER", **POOL)
halves = np.array([-1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
check("QuantizeLinear", [-2, 0, 0, 2, 2], [-1, 0, 1, 2, 3], ["QuantizeLinear", halves, np.float32(1), np.int8(0)])
check("Softmax of opset 11", 0.25, 0.5, ["Softmax", np.zeros((1, 2, 1, 2), np.float32)], opset=11)
PROGRAM
grep -a FIGURE log
