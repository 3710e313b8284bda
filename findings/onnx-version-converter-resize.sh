#!/usr/bin/env bash
# ONNX's own version converter shifts the output of bilinear Resize and Upsample.
#
# Guess: onnx.version_converter.convert_version returns a model with the same results, or fails.
# Seen with onnx 1.23.2 and onnxruntime 1.32.0 (numpy 2.4.6): for the row 0, 1, 2, 3 and a scale of 2,
#   Resize, opset 10, as it is         0, 0.5, 1, 1.5, 2, 2.5, 3, 3
#   converted to opset 11 or 13        0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3
# Upsample of opset 9 changes in the same way when it is converted to opset 13; to opset 10 it does not.
# Opset 10 places samples as opset 11 calls "asymmetric". The converter adds the new inputs and leaves
# coordinate_transformation_mode out, and its default in opset 11 is "half_pixel".
# Shapes agree, the checker passes and nothing is printed. An old segmentation or detection network, lifted to
# the opset that a board's runtime requires, has its masks and boxes moved by a fraction of a pixel.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, version_converter

ROW = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4)
ASYMMETRIC = [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]
HALF_PIXEL = [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


def model(operator, opset):
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "scales"], ["y"], mode="linear")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 8])],
        [numpy_helper.from_array(np.array([1, 1, 1, 2], np.float32), "scales")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def output(network):
    onnx.checker.check_model(network, full_check=True)
    session = onnxruntime.InferenceSession(
        network.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": ROW})[0].ravel().tolist()


for operator, opset, converted_to, expected in [
    ("Resize", 10, 11, HALF_PIXEL),
    ("Resize", 10, 13, HALF_PIXEL),
    ("Upsample", 9, 13, HALF_PIXEL),
    ("Upsample", 9, 10, ASYMMETRIC),
]:
    original = model(operator, opset)
    before = output(original)
    after = output(version_converter.convert_version(original, converted_to))
    print(operator, f"opset {opset}:", before, f"| as opset {converted_to}:", after)
    assert np.allclose(before, ASYMMETRIC), "the behaviour of the original has changed"
    assert np.allclose(after, expected), "the behaviour of the converter has changed"
PROGRAM
