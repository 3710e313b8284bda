#!/usr/bin/env bash
# OpenCV's TFLite importer loses the bias of a fully connected layer, and pads averages, dilated kernels and int8 wrongly.
#
# Guess: what the importer does not implement ends the import, as TRANSPOSE_CONV does ("Unsupported operator type"); the
# common operators are right, and only the layout changes to channel, height, width.
# Seen with opencv-python-headless 4.14.0.94 (ai-edge-litert 2.3.0, numpy 2.4.6), for the row 1, 2, 3, 4 or as stated:
#                                                      LiteRT                    OpenCV
#   FULLY_CONNECTED, weights 1, bias 100 and 200       110, 210                  10, 10
#   AVERAGE_POOL_2D, 3 wide, SAME                      1.5, 2, 3, 3.5            1, 2, 3, 2.33: zeros count
#   CONV_2D by 1, 10, 100, dilation 2, SAME            310, 420, 31, 42          420, 31, 42, 3: one pixel to the left
#     VALID, or SAME without dilation                  the same numbers
#   SOFTMAX, beta 0.5                                  0.10, 0.17, 0.28, 0.46    0.03, 0.09, 0.24, 0.64, as with beta 1
#   SOFTMAX of a map, over its channels: two channels  0.5 everywhere            0.25 everywhere: over a line's pixels
#     of equal numbers, four pixels wide
#   PAD of int8, zero point -10                        -10 at either end, 0.0    0 at either end, 10 times the scale
# A segmentation network has all of them: dilated convolutions, a softmax over the channels, and the averages at its
# edges. All shapes agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==4.14.0.94 \
    ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import cv2
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

TYPES = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}
SAME, VALID = 0, 1


def tensor(name, array, zero=None, buffer=0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(array.shape), TYPES[str(array.dtype)], buffer
    if zero is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [0.05], [zero]
    return made


def outputs(operator, kind, x, shape, *constants, zero=None, version=1, **fields):
    """Return the output that LiteRT computes for an operator, and the one that OpenCV computes."""
    tensors = [tensor("x", x, zero), tensor("y", np.empty(shape, x.dtype), zero)]
    buffers = [schema.BufferT()]
    node = schema.OperatorT()
    node.inputs, node.outputs = [0], [1]
    for constant in constants:
        node.inputs.append(len(tensors))
        tensors.append(tensor(f"constant{len(tensors)}", constant, buffer=len(buffers)))
        buffers.append(schema.BufferT())
        buffers[-1].data = np.frombuffer(constant.tobytes(), np.uint8)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator)
    code.version = version
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
    net = cv2.dnn.readNetFromTFLite("model.tflite")
    net.setInput(np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x)
    by_opencv = net.forward()
    if by_opencv.ndim == 4:
        by_opencv = by_opencv.transpose(0, 2, 3, 1)
    assert by_opencv.shape == by_litert.shape
    return by_litert.ravel(), by_opencv.ravel()


row = np.array([[1, 2, 3, 4]], np.float32)
line = row.reshape(1, 1, 4, 1)
ones, bias = np.ones((2, 4), np.float32), np.array([100, 200], np.float32)
kernel, no_bias = np.array([1, 10, 100], np.float32).reshape(1, 1, 3, 1), np.zeros(1, np.float32)
pool = {"padding": SAME, "strideW": 1, "strideH": 1, "filterWidth": 3, "filterHeight": 1}
stride = {"strideW": 1, "strideH": 1, "dilationHFactor": 1}
zeros = np.zeros((1, 1, 4, 2), np.float32)
numbers = np.array([-5, 0, 5, 100], np.int8).reshape(1, 1, 4, 1)
ends = np.array([[0, 0], [0, 0], [1, 1], [0, 0]], np.int32)
softmax = np.exp(row[0]) / np.exp(row[0]).sum()
gentle = np.exp(row[0] / 2) / np.exp(row[0] / 2).sum()
for label, found, by_litert, by_opencv in [
    (
        "FULLY_CONNECTED with bias",
        outputs("FULLY_CONNECTED", "FullyConnected", row, (1, 2), ones, bias),
        [110, 210],
        [10, 10],
    ),
    (
        "AVERAGE_POOL_2D SAME",
        outputs("AVERAGE_POOL_2D", "Pool2D", line, (1, 1, 4, 1), **pool),
        [1.5, 2, 3, 3.5],
        [1, 2, 3, 7 / 3],
    ),
    (
        "CONV_2D SAME, dilation 2",
        outputs(
            "CONV_2D", "Conv2D", line, (1, 1, 4, 1), kernel, no_bias, padding=SAME, dilationWFactor=2, **stride
        ),
        [310, 420, 31, 42],
        [420, 31, 42, 3],
    ),
    (
        "CONV_2D SAME, dilation 1",
        outputs(
            "CONV_2D", "Conv2D", line, (1, 1, 4, 1), kernel, no_bias, padding=SAME, dilationWFactor=1, **stride
        ),
        [210, 321, 432, 43],
        [210, 321, 432, 43],
    ),
    ("SOFTMAX beta 1", outputs("SOFTMAX", "Softmax", row, (1, 4), beta=1.0), softmax, softmax),
    ("SOFTMAX beta 0.5", outputs("SOFTMAX", "Softmax", row, (1, 4), beta=0.5), gentle, softmax),
    ("SOFTMAX of a map", outputs("SOFTMAX", "Softmax", zeros, zeros.shape, beta=1.0), [0.5] * 8, [0.25] * 8),
    (
        "PAD of int8, zero point 0",
        outputs("PAD", "Pad", numbers, (1, 1, 6, 1), ends, zero=0, version=2),
        [0, -5, 0, 5, 100, 0],
        [0, -5, 0, 5, 100, 0],
    ),
    (
        "PAD of int8, zero point -10",
        outputs("PAD", "Pad", numbers, (1, 1, 6, 1), ends, zero=-10, version=2),
        [-10, -5, 0, 5, 100, -10],
        [0, -5, 0, 5, 100, 0],
    ),
]:
    print(f"{label} | LiteRT {found[0].round(2)} | OpenCV {found[1].round(2)}")
    assert np.allclose(found[0], by_litert, atol=1e-3), "LiteRT's behaviour has changed"
    assert np.allclose(found[1], by_opencv, atol=1e-3), "OpenCV's behaviour has changed"
PROGRAM
