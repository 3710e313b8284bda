#!/usr/bin/env bash
# TVM's ONNX frontend samples other places than the file asks for, in RoiAlign and in Resize.
#
# Guess: an import that succeeds samples where the operator's documentation puts the pixels.
# Seen with apache-tvm 0.27.0.post1 (onnx 1.23.2, numpy 2.4.6), CPU, for maps whose values are their column;
# onnxruntime 1.32.0 and onnx.reference agree on the right column:
#                                                            TVM                right
#   RoiAlign, half_pixel, columns 8 to 16, two bins
#     spatial_scale 1, box 8 to 16                           9.5, 13.5          9.5, 13.5
#     spatial_scale 0.25, box 32 to 64                       9.875, 13.875      9.5, 13.5
#   Resize, linear, asymmetric, of 0 ... 5
#     scale 1.5, 9 columns                                   0, 0.667, 1.333 in both
#     scale 0.6, 3 columns (3.6, rounded down)               0, 2, 4            0, 1.667, 3.333
#   Resize, linear, antialias=1, squares, scale 0.5          0.5, 6.5, 20.5     0.875, 7, 19.625
# TVM moves the box by half a pixel before it multiplies by spatial_scale and not after, so that with the usual 1/4 ...
# 1/32 the shift all but vanishes; takes the ratio of the whole sizes for the scale; and ignores antialias.
# Boxes and masks are off by a fraction of a pixel: nothing fails, and the accuracy falls a little.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    apache-tvm==0.27.0.post1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnxruntime
import tvm
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx


def outputs(operator, image, shape, inputs, **attributes):
    """Return an operator's output, with TVM, onnxruntime and onnx.reference."""
    constants = [numpy_helper.from_array(each, name) for name, each in inputs.items() if name]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *inputs], ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    machine = relax.VirtualMachine(tvm.compile(from_onnx(model), target="llvm"), tvm.cpu())
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return (
        machine["main"](tvm.runtime.tensor(image)).numpy().ravel(),
        session.run(None, {"x": image})[0].ravel(),
        ReferenceEvaluator(model).run(None, {"x": image})[0].ravel(),
    )


def judge(text, found, right, expected):
    print(f"{text} | TVM {found[0].round(3)} | right {np.round(right, 3)}")
    assert np.allclose(found[1], right, atol=1e-4), "onnxruntime differs"
    assert np.allclose(found[2], right, atol=1e-4), "the reference differs"
    assert np.allclose(found[0], expected, atol=1e-4), "the behaviour has changed"


columns = np.tile(np.arange(32, dtype=np.float32), (8, 1)).reshape(1, 1, 8, 32)
for scale, expected in [(1.0, (9.5, 13.5)), (0.5, (9.75, 13.75)), (0.25, (9.875, 13.875))]:
    box = np.array([[8, 2, 16, 6]], np.float32) / np.float32(scale)
    found = outputs(
        "RoiAlign",
        columns,
        [1, 1, 1, 2],
        {"boxes": box, "images": np.array([0])},
        coordinate_transformation_mode="half_pixel",
        output_height=1,
        output_width=2,
        sampling_ratio=2,
        spatial_scale=scale,
    )
    judge(f"RoiAlign, spatial_scale {scale}", found, (9.5, 13.5), expected)

row = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6)
for image, scale, attributes, right, expected in [
    (row, 1.5, {}, np.minimum(np.arange(9) / 1.5, 5), np.minimum(np.arange(9) / 1.5, 5)),
    (row, 0.6, {}, [0, 1 / 0.6, 2 / 0.6], [0, 2, 4]),
    (row**2, 0.5, {"antialias": 1}, [0.875, 7, 19.625], [0.5, 6.5, 20.5]),
]:
    found = outputs(
        "Resize",
        image,
        [1, 1, 1, len(right)],
        {"": None, "scales": np.array([1, 1, 1, scale], np.float32)},
        mode="linear",
        coordinate_transformation_mode="half_pixel" if attributes else "asymmetric",
        **attributes,
    )
    judge(f"Resize, scale {scale} {attributes}", found, right, expected)
PROGRAM
