#!/usr/bin/env bash
# MNN's converter leaves the ReLU6 out of a TFLite pooling, mixes a transposed convolution's filters and pads mirrors with 0.
#
# Guess: what the converter does not implement is refused, as LRN, ELU and a convolution with RELU_N1_TO_1 are ("do not
# Support"); the other common operators are right.
# Seen with MNN 3.6.1 (ai-edge-litert 2.3.0, numpy 2.4.6), for the row 1, 2, 3, 4 or as stated:
#                                                      LiteRT                    MNN
#   MAX_POOL_2D, 2 wide, with RELU6, of 4, 8, 12, 16   6, 6                      8, 16; AVERAGE_POOL_2D likewise
#     (CONV_2D with RELU6 is right)
#   SOFTMAX, beta 0.5                                  0.10, 0.17, 0.28, 0.46    0.03, 0.09, 0.24, 0.64, as with beta 1
#   TRANSPOSE_CONV 2 x 2 of one pixel to two           1, 5, 2, 6, 3, 7, 4, 8    1, 2, 3, 4, 5, 6, 7, 8
#     channels, filters 1 ... 4 and 5 ... 8
#   DEPTHWISE_CONV_2D, multiplier 2, of 1, 2           1, 10, 200, 2000          1, 20, 0, 0
#     by 1, 10, 100, 1000
#   MIRROR_PAD by 2, REFLECT                           3, 2, 1, 2 ... 4, 3, 2    0, 0, 1, 2 ... 4, 0, 0
#   RESIZE_NEAREST_NEIGHBOR, half-pixel centres, to 2  2, 4                      1, 3
#   PRELU, a slope per pixel: 1, 2, 3, 4, of the       -1, -4, -9, -16           -1, -2, -3, -4: the first slope
#     negative row
# "Converted Success!" is printed each time, and all shapes agree. Caffe's and ONNX's files take other ways through the
# converter, so that the same network may be right from one of them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check MNN==3.6.1 ai-edge-litert==2.3.0 \
    flatbuffers==25.12.19 numpy==2.4.6
mkdir "$folder/first"
# The converter starts pip for a log client; a pip that does nothing keeps the environment as it is.
printf '#!/bin/sh\nexit 1\n' >"$folder/first/pip"
chmod +x "$folder/first/pip"
export PATH="$folder/first:$PATH"
cd "$folder"
"$folder/venv/bin/python" - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import subprocess

import flatbuffers
import MNN
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

TYPES = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}
VALID = 1


def tensor(name, shape, dtype, buffer=0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), TYPES[str(dtype)], buffer
    return made


def outputs(operator, kind, x, shape, before=(), after=(), version=1, **fields):
    """Return an operator's output with LiteRT, and with MNN after the conversion; x lies between the constants."""
    tensors = [tensor("x", x.shape, x.dtype), tensor("y", shape, x.dtype)]
    buffers = [schema.BufferT()]
    node = schema.OperatorT()
    node.inputs, node.outputs = [], [1]
    for constant in (*before, None, *after):
        if constant is None:
            node.inputs.append(0)
            continue
        node.inputs.append(len(tensors))
        tensors.append(tensor(f"constant{len(tensors)}", constant.shape, constant.dtype, len(buffers)))
        buffers.append(schema.BufferT())
        buffers[-1].data = np.frombuffer(constant.tobytes(), np.uint8)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator)
    code.version = version
    if kind:
        node.builtinOptions = getattr(schema, f"{kind}OptionsT")()
        node.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind}Options")
    for field, value in fields.items():
        setattr(node.builtinOptions, field, value)
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [node], [0], [1]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with open("model.tflite", "wb") as file:
        file.write(builder.Output())
    interpreter = Interpreter("model.tflite")
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    by_litert = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    arguments = "-f TFLITE --modelFile model.tflite --MNNModel model.mnn --bizCode any".split()
    log = subprocess.run(["venv/bin/mnnconvert", *arguments], check=True, capture_output=True, text=True).stdout
    assert "Converted Success!" in log, log
    net = MNN.nn.load_module_from_file("model.mnn", ["x"], ["y"])
    given = MNN.expr.const(x, list(x.shape), MNN.expr.NHWC, MNN.expr.float)
    (result,) = net.forward([given])
    by_mnn = np.array(MNN.expr.convert(result, MNN.expr.NHWC).read())
    assert by_mnn.shape == by_litert.shape
    return by_litert.ravel(), by_mnn.ravel()


row = np.array([[1, 2, 3, 4]], np.float32)
line = row.reshape(1, 1, 4, 1)
pool = {"padding": VALID, "strideW": 2, "strideH": 1, "filterWidth": 2, "filterHeight": 1}
step = {"padding": VALID, "strideW": 1, "strideH": 1}
relu6 = {"fusedActivationFunction": schema.ActivationFunctionType.RELU6}
pixel = np.ones((1, 1, 1, 1), np.float32)
filters = np.arange(1, 9, dtype=np.float32).reshape(2, 2, 2, 1)
size = np.array([1, 2, 2, 2], np.int32)
pair, factors = row[:, :2].reshape(1, 1, 1, 2), np.array([1, 10, 100, 1000], np.float32).reshape(1, 1, 1, 4)
around = np.array([[0, 0], [0, 0], [2, 2], [0, 0]], np.int32)
two = np.array([1, 2], np.int32)
softmax = np.exp(row[0]) / np.exp(row[0]).sum()
gentle = np.exp(row[0] / 2) / np.exp(row[0] / 2).sum()
for label, found, by_litert, by_mnn in [
    (
        "MAX_POOL_2D, RELU6",
        outputs("MAX_POOL_2D", "Pool2D", 4 * line, (1, 1, 2, 1), **pool, **relu6),
        [6, 6],
        [8, 16],
    ),
    (
        "AVERAGE_POOL_2D, RELU6",
        outputs("AVERAGE_POOL_2D", "Pool2D", 4 * line, (1, 1, 2, 1), **pool, **relu6),
        [6, 6],
        [6, 14],
    ),
    (
        "CONV_2D, RELU6",
        outputs(
            "CONV_2D", "Conv2D", 4 * line, line.shape, after=(pixel, np.zeros(1, np.float32)), **step, **relu6
        ),
        [4, 6, 6, 6],
        [4, 6, 6, 6],
    ),
    ("SOFTMAX, beta 0.5", outputs("SOFTMAX", "Softmax", row, row.shape, beta=0.5), gentle, softmax),
    (
        "TRANSPOSE_CONV",
        outputs("TRANSPOSE_CONV", "TransposeConv", pixel, size, before=(size, filters), **step),
        [1, 5, 2, 6, 3, 7, 4, 8],
        [1, 2, 3, 4, 5, 6, 7, 8],
    ),
    (
        "DEPTHWISE_CONV_2D, multiplier 2",
        outputs(
            "DEPTHWISE_CONV_2D",
            "DepthwiseConv2D",
            pair,
            (1, 1, 1, 4),
            after=(factors, np.zeros(4, np.float32)),
            depthMultiplier=2,
            **step,
        ),
        [1, 10, 200, 2000],
        [1, 20, 0, 0],
    ),
    (
        "MIRROR_PAD, REFLECT",
        outputs("MIRROR_PAD", "MirrorPad", line, (1, 1, 8, 1), after=(around,), mode=0),
        [3, 2, 1, 2, 3, 4, 3, 2],
        [0, 0, 1, 2, 3, 4, 0, 0],
    ),
    (
        "RESIZE_NEAREST_NEIGHBOR, half-pixel centres",
        outputs(
            "RESIZE_NEAREST_NEIGHBOR",
            "ResizeNearestNeighbor",
            line,
            (1, 1, 2, 1),
            after=(two,),
            version=3,
            halfPixelCenters=True,
        ),
        [2, 4],
        [1, 3],
    ),
    (
        "PRELU, a slope per pixel",
        outputs("PRELU", None, -line, line.shape, after=(row.reshape(1, 4, 1),)),
        [-1, -4, -9, -16],
        [-1, -2, -3, -4],
    ),
]:
    print(f"{label} | LiteRT {found[0].round(2)} | MNN {found[1].round(2)}")
    assert np.allclose(found[0], by_litert, atol=1e-3), "LiteRT's behaviour has changed"
    assert np.allclose(found[1], by_mnn, atol=1e-3), "MNN's behaviour has changed"
PROGRAM
