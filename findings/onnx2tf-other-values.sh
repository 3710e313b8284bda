#!/usr/bin/env bash
# onnx2tf cuts other rows where a Slice names its axes out of order, replaces where it should add, and misses SAME_LOWER.
#
# Guess: what has no counterpart in TFLite is refused, as a SAME_LOWER convolution is ("Invalid auto_pad attribute"); what is
# right with the usual attributes is right with all.
# Seen with onnx2tf 1.29.24, the newest for Python 3.11, and the versions that it asks for (tensorflow 2.19.0,
# ai-edge-litert 2.1.0, onnx 1.19.1, numpy 1.26.4), float32 files; onnxruntime 1.23.0 is right:
#                                                      right                    onnx2tf
#   MaxPool 2 x 2 of 4 x 4, SAME_LOWER, stride 1       4 x 4                    5 x 3: padded in one direction alone
#   AveragePool, the same                              1, 1.5, 2.5, 3.5 ...     0.75, 1.25, 1.75 ...: 5 x 3
#   Resize of 1, 4, 9, 16, nearest, half_pixel, 0.5    1, 9                     4, 16
#                                               1.5    1, 1, 4, 9, 9, 16        1, 4, 4, 9, 16, 16
#                                   asymmetric, 1.5    1, 4, 4, 9, 16, 16       1, 1, 4, 9, 9, 16
#   Upsample of the same, opset 9, linear, 2           1, 2.5, 4, 6.5 ...       1, 1.75, 3.25, 5.25 ...
#   Slice 1:3 and 0:4 of 3 x 6, axes 1 and 0           3 x 2                    2 x 4: as axes 0 and 1
#   ScatterND, reduction add, 9 and 8 on 1, 2, 3, 4    1, 11, 11, 4             1, 9, 8, 4
#   Pad, opset 2, value 3                              3, 1 ...                 0, 1 ...
#   Mod of -7, 7, -7, 7 by 3, 3, -3, -3, fmod=1        -1, 1, -1, 1             2, 1, -1, -2
#   Softplus of 30, 100                                30, 100                  30, infinity
# Only for SAME_LOWER a line is printed: "Extra pad layer is inserted automatically". A Resize by 2, the usual one, is
# right. A size that changes is not noticed where a global pooling follows, which takes any.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx2tf==1.29.24 sng4onnx==2.0.1
cd "$folder"
# onnx2tf runs `onnxsim` from PATH.
export PATH="$folder/venv/bin:$PATH" TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import contextlib
import io
from pathlib import Path

import numpy as np
import onnx
import onnx2tf
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from onnx import helper, numpy_helper


def numbers(*values):
    return np.array(values, np.float32)


def row(*shape):
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


def outputs(operator, x, constants=(), opset=13, **attributes):
    """Return the result of ONNX Runtime and that of the TFLite file, with the channels first in both."""
    weights = [numpy_helper.from_array(constant, f"w{number}") for number, constant in enumerate(constants)]
    node = helper.make_node(operator, ["x", *(weight.name for weight in weights)], ["y"], **attributes)
    start = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    graph = helper.make_graph([node], "graph", [start], [helper.make_empty_tensor_value_info("y")], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    right = session.run(None, {"x": x})[0]
    with contextlib.redirect_stdout(io.StringIO()):
        onnx2tf.convert(onnx_graph=model, output_folder_path="converted", non_verbose=True)
    (file,) = Path("converted").glob("*_float32.tflite")
    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    file.unlink()
    (before,), (after,) = interpreter.get_input_details(), interpreter.get_output_details()
    images = x.ndim > 2
    interpreter.set_tensor(before["index"], np.moveaxis(x, 1, -1) if images else x)
    interpreter.invoke()
    by_tflite = interpreter.get_tensor(after["index"])
    return right, np.moveaxis(by_tflite, -1, 1) if images and by_tflite.ndim > 2 else by_tflite


RIGHT = "right"
line, image = numbers(1, 4, 9, 16).reshape(1, 1, 1, 4), row(1, 1, 4, 4)
small = {"kernel_shape": [2, 2], "strides": [1, 1]}


def resized(scale, mode, coordinates):
    return outputs("Resize", line, [numbers(), numbers(1, 1, 1, scale)], mode=mode,
                   coordinate_transformation_mode=coordinates)


def whole(*values):
    return np.array(values)


for label, found, seen in [
    ("MaxPool, SAME_UPPER", outputs("MaxPool", image, auto_pad="SAME_UPPER", **small), RIGHT),
    ("MaxPool, SAME_LOWER", outputs("MaxPool", image, auto_pad="SAME_LOWER", **small),
     [2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 14, 15, 16]),
    ("AveragePool, SAME_LOWER", outputs("AveragePool", image, auto_pad="SAME_LOWER", **small),
     [0.75, 1.25, 1.75, 3.5, 4.5, 5.5, 7.5, 8.5, 9.5, 11.5, 12.5, 13.5, 6.75, 7.25, 7.75]),
    ("Resize, nearest, half_pixel, 2", resized(2, "nearest", "half_pixel"), RIGHT),
    ("Resize, nearest, half_pixel, 0.5", resized(0.5, "nearest", "half_pixel"), [4, 16]),
    ("Resize, nearest, half_pixel, 1.5", resized(1.5, "nearest", "half_pixel"), [1, 4, 4, 9, 16, 16]),
    ("Resize, nearest, asymmetric, 1.5", resized(1.5, "nearest", "asymmetric"), [1, 1, 4, 9, 9, 16]),
    ("Resize, linear, asymmetric, 2", resized(2, "linear", "asymmetric"), RIGHT),
    ("Upsample, linear, 2", outputs("Upsample", line, [numbers(1, 1, 1, 2)], opset=9, mode="linear"),
     [1, 1.75, 3.25, 5.25, 7.75, 10.75, 14.25, 16]),
    ("Slice, axes 0 and 1", outputs("Slice", row(3, 6), [whole(0, 1), whole(4, 3), whole(0, 1)]), RIGHT),
    ("Slice, axes 1 and 0", outputs("Slice", row(3, 6), [whole(1, 0), whole(3, 4), whole(1, 0)]),
     [7, 8, 9, 10, 13, 14, 15, 16]),
    ("ScatterND, add", outputs("ScatterND", row(4), [whole(1, 2).reshape(2, 1), numbers(9, 8)], opset=16, reduction="add"),
     [1, 9, 8, 4]),
    ("Pad, opset 2, value 3", outputs("Pad", row(1, 1, 4), opset=2, pads=[0, 0, 1, 0, 0, 2], value=3.0),
     [0, 1, 2, 3, 4, 0, 0]),
    ("Mod, fmod=1", outputs("Mod", numbers(-7, 7, -7, 7), [numbers(3, 3, -3, -3)], fmod=1), [2, 1, -1, -2]),
    ("Softplus", outputs("Softplus", numbers(-2, 30, 100)), [0.127, 30, np.inf]),
]:
    right, by_tflite = (result.astype(np.float32).round(3) for result in found)
    print(f"{label} | right {right.shape} {right.ravel().tolist()} | onnx2tf {by_tflite.shape} {by_tflite.ravel().tolist()}")
    expected = right.ravel() if seen is RIGHT else np.array(seen)
    same = right.size == expected.size and np.allclose(right.ravel(), expected, atol=1e-2)
    assert by_tflite.size == expected.size and np.allclose(by_tflite.ravel(), expected, atol=1e-2), "the behaviour has changed"
    assert same == (seen is RIGHT), "onnxruntime's behaviour has changed"
PROGRAM
