#!/usr/bin/env bash
# onnxscript's optimizer pads with another number than the zero point, drops a ReLU, and writes wrong constants.
#
# Guess: an optimizer folds constants to what the network computes, and joins two nodes only where one computes the same.
# Seen with onnxscript 0.7.2 (onnx-ir 1.1.0, onnx 1.23.2, numpy 2.4.6), onnxscript.optimizer.optimize; onnxruntime 1.32.0
# without its own optimizations:
#                                                        as it is               optimized
#   Pad with 0, then ConvInteger with zero point 7       -9, -1, 0, 25          -2, -1, 0, 11: pads with 7
#     with zero point 0                                  -2, 6, 7, 32           the same
#   Clip to -9 ... -4, then Relu                         0                      -4: the Relu is gone
#   Clip to -5 ... 3, then Clip to 4 ... 9               4                      3
#   Relu, then Clip to -9 ... -4                         -4                     the same
#   Constants folded: LRN of -1, 2, 3, -4, 5             -0.48, 0.54, 0.51 ...  -0.48, 2, 3 ...
#     Softmax, opset 11, axis 1 of zeros, 1 x 2 x 2      0.25                   0.5
#     LpNormalization, p=1, of -1, 2, 3                  -0.17, 0.33, 0.5       -0.25, 0.5, 0.75
# The constants are those of ONNX's own reference evaluator, which reads these three otherwise: comparing the optimized network
# with that evaluator confirms it. onnxsim 0.8.1 has the left column. torch.onnx.export runs this optimizer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxscript==0.7.2 onnx-ir==1.1.0 onnx==1.23.2 \
    onnxruntime==1.32.0 numpy==2.4.6 onnxsim==0.8.1
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import copy

import numpy as np
import onnx
import onnxruntime
import onnxscript.optimizer
import onnxsim
from onnx import TensorProto, helper, numpy_helper


def numbers(*values):
    return np.array(values, np.float32)


def outputs(x, nodes, result=TensorProto.FLOAT, opset=18, **constants):
    """Return the result as it is, optimized by onnxscript and simplified by onnxsim."""
    graph = helper.make_graph(
        nodes, "graph",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    model = onnx.shape_inference.infer_shapes(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    results = []
    for each in (model, onnxscript.optimizer.optimize(copy.deepcopy(model)), onnxsim.simplify(copy.deepcopy(model))[0]):
        session = onnxruntime.InferenceSession(each.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results.append(session.run(None, {"x": x})[0].ravel().astype(np.float32))
    return results


def clipped_twice(*limits):
    names = ("a", "b"), ("c", "d")
    nodes = [helper.make_node("Clip", ["x", *names[0]], ["middle"]), helper.make_node("Clip", ["middle", *names[1]], ["y"])]
    return outputs(numbers(-20, 0, 20), nodes, **dict(zip("abcd", map(np.float32, limits), strict=True)))


def with_relu(first):
    nodes = [helper.make_node("Relu", ["x" if first else "middle"], ["middle" if first else "y"]),
             helper.make_node("Clip", ["middle" if first else "x", "a", "b"], ["y" if first else "middle"])]
    return outputs(numbers(-20, 0, 20), nodes if first else nodes[::-1], a=np.float32(-9), b=np.float32(-4))


def padded(zero_point):
    x = np.arange(8, 12, dtype=np.uint8).reshape(1, 1, 1, 4)
    nodes = [helper.make_node("Pad", ["x", "pads"], ["middle"]), helper.make_node("ConvInteger", ["middle", "w", "z"], ["y"])]
    weights = np.array([1, 2, -2], np.int8).reshape(1, 1, 1, 3)
    return outputs(x, nodes, TensorProto.INT32, pads=np.array([0, 0, 0, 1, 0, 0, 0, 1]), w=weights, z=np.uint8(zero_point))


def folded(operator, constant, opset=18, **attributes):
    nodes = [helper.make_node(operator, ["k"], ["middle"], **attributes), helper.make_node("Add", ["x", "middle"], ["y"])]
    return outputs(np.zeros_like(constant), nodes, opset=opset, k=constant)


SAME = "same"
signs = numbers(-1, 2, 3, -4, 5)
for label, found, seen in [
    ("Pad, ConvInteger, zero point 7", padded(7), None),
    ("Pad, ConvInteger, zero point 0", padded(0), SAME),
    ("Clip, Relu", with_relu(False), [-4, -4, -4]),
    ("Relu, Clip", with_relu(True), SAME),
    ("Clip, Clip", clipped_twice(-5, 3, 4, 9), [3, 3, 3]),
    ("Clip, Clip that overlap", clipped_twice(-5, 3, 1, 9), SAME),
    ("LRN", folded("LRN", signs.reshape(1, 5, 1, 1), size=3, alpha=1.0), [-0.479, 2, 3, -4, 5]),
    ("Softmax, opset 11", folded("Softmax", np.zeros((1, 2, 2), np.float32), opset=11, axis=1), [0.5] * 4),
    ("Softmax, opset 13", folded("Softmax", np.zeros((1, 2, 2), np.float32), opset=13, axis=1), SAME),
    ("LpNormalization", folded("LpNormalization", signs[:3].reshape(1, 3), p=1), [-0.25, 0.5, 0.75]),
]:
    right, optimized, simplified = (result.round(3) for result in found)
    print(f"{label} | as it is {right.tolist()} | optimized {optimized.tolist()}")
    assert np.allclose(right, simplified, atol=1e-3), "onnxsim's behaviour has changed"
    same = np.allclose(right, optimized, atol=1e-3)
    assert same == (seen is SAME), "the behaviour has changed"
    assert seen in (None, SAME) or np.allclose(optimized, seen, atol=1e-3), "the behaviour has changed"
PROGRAM
