#!/usr/bin/env bash
# nnoir-onnx takes SAME_UPPER for SAME_LOWER and the reverse, and drops the ceil_mode of an average.
#
# Guess: what the converter does not know it refuses, as it refuses ceil_mode for MaxPool, ConvTranspose and LogSoftmax; the
# padding of most networks that were TensorFlow's is not among that.
# Seen with nnoir-onnx 1.6.0 and nnoir 1.4.0 (onnx 1.13.1, numpy 1.26.4, protobuf 3.20.3), run by NNOIR.run;
# onnxruntime 1.26.0 is right:
#                                                         right              NNOIR
#   Conv of 1 ... 8 by 1, 10, 100, stride 2, SAME_UPPER   321, 543, 765, 87  210, 432, 654, 876
#                                            SAME_LOWER   210, 432, 654, 876 321, 543, 765, 87
#   MaxPool, 3 wide, stride 2, SAME_UPPER                 3, 5, 7, 8         2, 4, 6, 8
#   AveragePool, 3 wide, stride 2, SAME_UPPER             2, 4, 6, 7.5       1.5, 3, 5, 7
#   AveragePool of 1 ... 7, 2 wide, stride 2, ceil_mode   1.5, 3.5, 5.5, 7   1.5, 3.5, 5.5
#   Softmax of opset 11, 1 x 2 x 1 x 2 zeros, axis 1      0.25 four times    0.5 four times
#   ReduceSum without axes, noop_with_empty_axes=1        the input          its sum
# With stride 1 and odd kernels both are the same, and the shapes are always right: only layers of stride 2 see the image half a
# step further. No warning is printed. Softmax of 0, 50, 200 is 0, 0, NaN in NNOIR.run itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nnoir-onnx==1.6.0 nnoir==1.4.0 onnx==1.13.1 \
    onnxruntime==1.26.0 numpy==1.26.4 protobuf==3.20.3
cd "$folder"
venv/bin/python - 2>errors <<'PROGRAM' || { cat errors >&2; exit 1; }
import nnoir_onnx
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper


def row(*numbers):
    return np.array(numbers, np.float32).reshape(1, 1, 1, -1)


def check(label, operator, x, right, nnoir, *constants, opset=13, **attributes):
    """Compare an operator's output from ONNX Runtime and NNOIR with what was seen."""
    names = [f"c{k}" for k in range(len(constants))]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *names], ["y"], name="node", **attributes)], "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(constant, name) for constant, name in zip(constants, names)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    onnx.save(model, "net.onnx")
    expected = onnxruntime.InferenceSession("net.onnx").run(None, {"x": x})[0].ravel()
    seen = np.asarray(nnoir_onnx.ONNX("net.onnx").to_NNOIR().run(x)[0]).ravel()
    print(f"{label}: right {np.round(expected, 2).tolist()}, NNOIR {np.round(seen, 2).tolist()}")
    assert np.allclose(expected, right, atol=1e-3), "ONNX Runtime computes something else"
    assert seen.shape == np.shape(nnoir) and np.allclose(seen, nnoir, atol=1e-3, equal_nan=True), "NNOIR has changed"


eight, zeros = row(1, 2, 3, 4, 5, 6, 7, 8), np.zeros((1, 2, 1, 2), np.float32)
wide = {"kernel_shape": [1, 3], "strides": [1, 2]}
for operator, upper, lower, constants in [
    ("Conv", [321, 543, 765, 87], [210, 432, 654, 876], [row(1, 10, 100)]), ("MaxPool", [3, 5, 7, 8], [2, 4, 6, 8], []),
    ("AveragePool", [2, 4, 6, 7.5], [1.5, 3, 5, 7], []),
]:
    check(operator + " SAME_UPPER", operator, eight, upper, lower, *constants, auto_pad="SAME_UPPER", **wide)
    check(operator + " SAME_LOWER", operator, eight, lower, upper, *constants, auto_pad="SAME_LOWER", **wide)
check("AveragePool ceil_mode", "AveragePool", eight[..., :7], [1.5, 3.5, 5.5, 7], [1.5, 3.5, 5.5],
      kernel_shape=[1, 2], strides=[1, 2], ceil_mode=1)
check("Softmax of opset 11", "Softmax", zeros, [0.25] * 4, [0.5] * 4, opset=11)
check("ReduceSum noop", "ReduceSum", eight, np.arange(1, 9), [36], noop_with_empty_axes=1)
check("Softmax", "Softmax", row(0, 50, 200), [0, 0, 1], [0, 0, np.nan])
PROGRAM
