#!/usr/bin/env bash
# The ggml provider for ONNX Runtime leaves out the limits of a Clip of opset 10 and before, and the third input of Max and Min.
#
# Guess: a provider takes the nodes that it can compute and leaves the others to ONNX Runtime's own kernels, which stay as fallback;
# whether a node is its own depends on the node and its opset.
# Seen with onnxruntime-ggml 0.2.0 (onnxruntime 1.30.0, onnx 1.23.2, numpy 2.4.6), device "cpu"; without the provider the same
# onnxruntime gives the left column:
#                                                     right                     ggml
#   Clip of -4, -2, 0.5, 3, 7, from 0 to 6
#     opset 6 to 10 (attributes)                      0, 0, 0.5, 3, 6           -4, -2, 0.5, 3, 7: the input
#     opset 11 and later (inputs)                     0, 0, 0.5, 3, 6           the same
#   Max of 1, 2, 3; -1, 1, 3; 4, 1, -2                4, 2, 3                   1, 2, 3
#   Min of the same                                   -1, 1, -2                 -1, 1, 3
#   Sum and Mean of the same                          right                     the same
#   Softmax of opset 12, 1 x 2 x 2 x 2 zeros, axis 1  0.125 eight times         0.5 eight times
#   ReduceSum without axes, noop_with_empty_axes=1    the input                 its sum
# Networks that were exported up to opset 10 have their ReLU6 as such a Clip: each becomes a layer without any limit. No
# warning is printed. Compare the outputs of both providers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime-ggml==0.2.0 \
    onnxruntime==1.30.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
venv/bin/python - 2>errors <<'PROGRAM' || { cat errors >&2; exit 1; }
import numpy as np
import onnx
import onnxruntime
import onnxruntime_ggml
from onnx import helper


def check(label, operator, inputs, right, ggml, opset=13, **attributes):
    """Compare an operator's output from ONNX Runtime with and without the provider with what was seen."""
    inputs = {f"x{k}": np.asarray(value, np.float32) for k, value in enumerate(inputs)}
    graph = helper.make_graph(
        [helper.make_node(operator, list(inputs), ["y"], name="node", **attributes)], "net",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape) for name, value in inputs.items()],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    model = model.SerializeToString()
    expected = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, inputs)[0]
    seen = onnxruntime_ggml.InferenceSession(model, {"device": "cpu", "threads": "1"}).run(None, inputs)[0]
    print(f"{label}: right {expected.ravel().tolist()}, ggml {seen.ravel().tolist()}")
    assert np.allclose(expected.ravel(), right, atol=1e-3), "ONNX Runtime computes something else"
    assert np.allclose(seen.ravel(), ggml, atol=1e-3), "ggml computes something else now"


numbers, limited = [-4, -2, 0.5, 3, 7], [0, 0, 0.5, 3, 6]
for opset in (6, 9, 10):
    check(f"Clip of opset {opset}", "Clip", [numbers], limited, numbers, opset=opset, min=0.0, max=6.0)
check("Clip of opset 11", "Clip", [numbers, 0, 6], limited, limited, opset=11)
three = [[1, 2, 3], [-1, 1, 3], [4, 1, -2]]
check("Max", "Max", three, [4, 2, 3], [1, 2, 3])
check("Min", "Min", three, [-1, 1, -2], [-1, 1, 3])
check("Sum", "Sum", three, [4, 4, 4], [4, 4, 4])
check("Mean", "Mean", three, [4 / 3] * 3, [4 / 3] * 3)
check("Softmax of opset 12", "Softmax", [np.zeros((1, 2, 2, 2))], [0.125] * 8, [0.5] * 8, opset=12)
check("ReduceSum noop", "ReduceSum", [[1, 2, 3]], [1, 2, 3], 6, noop_with_empty_axes=1)
PROGRAM
