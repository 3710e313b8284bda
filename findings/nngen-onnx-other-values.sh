#!/usr/bin/env bash
# NNgen, which makes circuits of ONNX networks, swaps two sides of a padding, and takes SAME_UPPER for SAME_LOWER and VALID
# for both.
#
# Guess: what the reader does not know it refuses, as groups of channels.
# Seen with nngen 1.3.4 (onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6), from_onnx and eval, its model of the circuit in whole
# numbers, for 4x4 pixels from 1 to 16 and whole weights:
#                                           onnxruntime              NNgen
#   Conv of 2x2, pads 0, 0, 1, 1            4x4: 6521, 7632 ...      3x5: 5010, 6521 ...: padded left and right
#     3x3, pads 0, 0, 1, 1, strides 2       2x2: 54, 45, 72, 54      1x2: 33, 63
#     2x2, dilations 2                      2x2: 11931, 13042 ...    3x3: 6521, 7632 ...: no dilation
#     2x2, auto_pad VALID or NOTSET         3x3: 6521, 7632 ...      4x4: 1000, 2100 ...: padded as SAME_LOWER
#     3x3, auto_pad SAME_UPPER, strides 2   54, 45, 72, 54           14, 30, 57, 99: as SAME_LOWER
#   MaxPool of 2x2, pads 0, 0, 1, 1         4x4: 6, 7 ...            3x5: 5, 6 ...
#     3x3, strides 2, ceil_mode             2x2: 11, 12, 15, 16      1x1: 11
#     2x2, dilations 2                      2x2: 11, 12, 15, 16      3x3: 6, 7 ...
#     2x2, auto_pad SAME_LOWER              1, 2, 3, 4 ...           6, 7, 8, 8 ...: as SAME_UPPER
#   AveragePool of 3x3, pads 1, strides 2,  31.5, 45, 85.5, 99       14, 30, 57, 99: the zeros count
#     of 9 times the pixels
#   Gemm without transB                     161, 282                 105, 310: transposed
#     alpha 2                               110, 420                 105, 310
#     beta 2                                205, 510                 105, 310
# Nothing is printed. Right are the same padding on all sides, SAME_LOWER of Conv, SAME_UPPER of pools, count_include_pad and
# transB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nngen==1.3.4 onnx==1.23.2 onnxruntime==1.32.0 \
    numpy==2.4.6
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import nngen
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def results(operator, x, *constants, opset=10, **attributes):
    """Return what ONNX Runtime gives for x, and what NNgen's model of its hardware gives."""
    names = [f"constant{index}" for index in range(len(constants))]
    nodes = [helper.make_node(operator, ["x", *names], ["y"], name="node", **attributes)]
    if operator == "Gemm":  # which NNgen reads behind another node alone
        nodes[0].input[0] = "positive"
        nodes.insert(0, helper.make_node("Relu", ["x"], ["positive"], name="first"))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.array(constant, np.int64 if operator == "Slice" else np.float32), name)
            for constant, name in zip(constants, names)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=5)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "network.onnx")
    session = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"])
    right = session.run(None, {"x": x.astype(np.float32)})[0]
    outputs, inputs, variables, _, _ = nngen.from_onnx("network.onnx")
    for variable in variables.values():  # all are whole numbers: there is nothing to scale
        variable.value = np.asarray(variable.value).astype(np.int64)
    if inputs["x"].layout is not None:  # NHWC
        x = x.transpose(0, 2, 3, 1)
    found = np.asarray(nngen.eval([outputs["y"]], x=x)[0])
    return right, found if outputs["y"].get_layout() is None else found.transpose(0, 3, 1, 2)


image = np.arange(1, 17).reshape(1, 1, 4, 4)
places, ones = [[[[1, 10], [100, 1000]]]], np.ones((1, 1, 3, 3))
vector, matrix, bias = np.array([[1, 2]]), [[1, 2], [30, 40]], [100, 200]
step, twos = {"strides": [1, 1]}, {"strides": [2, 2]}
two, three = {"kernel_shape": [2, 2]}, {"kernel_shape": [3, 3]}
below, around = {"pads": [0, 0, 1, 1]}, {"pads": [1, 1, 1, 1]}
corners = [14, 30, 57, 99]
for label, (right, found), shape, first in [
    ("Conv", results("Conv", image, places, **step), None, None),
    ("  pads 1, 1, 1, 1", results("Conv", image, ones, **around, **step), None, None),
    ("  pads 0, 0, 1, 1", results("Conv", image, places, **below, **step), (3, 5), [5010, 6521, 7632, 8743]),
    ("  pads 0, 0, 1, 1, strides 2", results("Conv", image, ones, **below, **twos), (1, 2), [33, 63]),
    ("  dilations 2", results("Conv", image, places, dilations=[2, 2], **step), (3, 3), [6521, 7632, 8743]),
    ("  auto_pad VALID", results("Conv", image, places, auto_pad="VALID", **step), (4, 4), [1000, 2100, 3200]),
    ("  auto_pad NOTSET", results("Conv", image, places, auto_pad="NOTSET", **step), (4, 4), [1000, 2100, 3200]),
    ("  SAME_UPPER, strides 2", results("Conv", image, ones, auto_pad="SAME_UPPER", **twos), (2, 2), corners),
    ("  SAME_LOWER, strides 2", results("Conv", image, ones, auto_pad="SAME_LOWER", **twos), None, None),
    ("MaxPool", results("MaxPool", image, **two, **twos), None, None),
    ("  pads 0, 0, 1, 1", results("MaxPool", image, **below, **two, **step), (3, 5), [5, 6, 7, 8, 8]),
    ("  ceil_mode", results("MaxPool", image, ceil_mode=1, **three, **twos), (1, 1), [11]),
    ("  dilations 2", results("MaxPool", image, dilations=[2, 2], **two, **step), (3, 3), [6, 7, 8]),
    ("  SAME_UPPER", results("MaxPool", image, auto_pad="SAME_UPPER", **two, **step), None, None),
    ("  SAME_LOWER", results("MaxPool", image, auto_pad="SAME_LOWER", **two, **step), (4, 4), [6, 7, 8, 8]),
    ("AveragePool", results("AveragePool", 4 * image, **two, **twos), None, None),
    ("  pads 1, 1, 1, 1", results("AveragePool", 9 * image, **around, **three, **twos), (2, 2), corners),
    ("  and count_include_pad",
     results("AveragePool", 9 * image, count_include_pad=1, **around, **three, **twos), None, None),
    ("Gemm, transB", results("Gemm", vector, matrix, bias, transB=1), None, None),
    ("  without transB", results("Gemm", vector, matrix, bias), (1, 2), [105, 310]),
    ("  alpha 2", results("Gemm", vector, matrix, bias, transB=1, alpha=2.0), (1, 2), [105, 310]),
    ("  beta 2", results("Gemm", vector, matrix, bias, transB=1, beta=2.0), (1, 2), [105, 310]),
]:
    print(label, "|", right.shape, right.ravel()[:4].tolist(), "| NNgen", found.shape, found.ravel()[:4].tolist())
    if shape is None:
        assert right.shape == found.shape and np.allclose(right, found), "what was right has changed"
    else:
        assert found.shape[-2:] == shape and list(found.ravel()[: len(first)]) == first, "the behaviour has changed"
        assert right.shape != found.shape or not np.allclose(right, found), "ONNX Runtime has the same values"
PROGRAM
