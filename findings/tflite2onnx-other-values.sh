#!/usr/bin/env bash
# tflite2onnx forgets the beta of a Softmax, mirrors about the wrong line and pads int8 with another number than zero.
#
# Guess: what the converter does not know it refuses, as TANH and RESIZE_BILINEAR with default coordinates are
# ("Unsupported TFLite OP", "This path has not been tried").
# Seen with tflite2onnx 0.4.1 (tflite 2.18.0, onnx 1.23.2, onnxruntime 1.32.0, ai-edge-litert 2.3.0, numpy 2.4.6):
#                                                      LiteRT                    ONNX
#   SOFTMAX of 1, 2, 3, 4, beta 0.5                    0.10, 0.17, 0.28, 0.46    0.03, 0.09, 0.24, 0.64, as with beta 1
#   MIRROR_PAD of 1, 2, 3, 4 by 2, SYMMETRIC           2, 1, 1, 2 ... 4, 4, 3    3, 2, 1, 2 ... 4, 3, 2, as with REFLECT
#   PAD of int8, zero point -10                        -10 at either end, 0.0    0 at either end, 10 times the scale
#   ABS of int8, scale 0.05 to 0.1: -5, 100            3, 50                     5, 100
#   RESIZE_NEAREST_NEIGHBOR with half-pixel centres,
#     1, 2, 3, 4 to 2                                  2, 4                      1, 3
# With beta 1, REFLECT, zero point 0, equal scales and corners that are aligned, the numbers agree. A classifier still names
# the same class with another beta, so that its accuracy does not show it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tflite2onnx==0.4.1 tflite==2.18.0 \
    onnx==1.23.2 onnxruntime==1.32.0 ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import flatbuffers
import numpy as np
import onnx
import onnxruntime
import tflite2onnx
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

TYPES = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}


def tensor(name, shape, dtype, scale, zero, buffer=0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), TYPES[str(dtype)], buffer
    if scale:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [zero]
    return made


def outputs(operator, x, shape, constant=None, version=1, zero=0, scales=None, **fields):
    """Return an operator's output with LiteRT, and with ONNX Runtime after the conversion."""
    dtype = x.dtype
    before, after = scales or ((0.05, 0.05) if dtype == np.int8 else (None, None))
    tensors = [tensor("x", x.shape, dtype, before, zero), tensor("y", shape, dtype, after, zero)]
    buffers = [schema.BufferT()]
    if constant is not None:
        buffers.append(schema.BufferT())
        buffers[1].data = np.frombuffer(constant.tobytes(), np.uint8)
        tensors.append(tensor("constant", constant.shape, constant.dtype, None, 0, 1))
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator)
    code.version = version
    node = schema.OperatorT()
    node.inputs, node.outputs = [0] if constant is None else [0, 2], [1]
    kind = "".join(word.capitalize() for word in operator.split("_")) + "Options"
    node.builtinOptions = getattr(schema, f"{kind}T")()
    node.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
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
    by_litert = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel()
    tflite2onnx.convert("model.tflite", "model.onnx")
    converted = onnx.load("model.onnx")
    converted.ir_version = min(converted.ir_version, 10)
    session = onnxruntime.InferenceSession(
        converted.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    # The converter turns maps from height, width, channel to channel, height, width; here there is one channel.
    return by_litert, session.run(None, {given.name: x.reshape(given.shape)})[0].ravel()


row = np.array([[1, 2, 3, 4]], np.float32)
numbers = np.array([[-5, 0, 5, 100]], np.int8)
around = np.array([[0, 0], [2, 2]], np.int32)
ends = np.array([[0, 0], [1, 1]], np.int32)
map_of_one_line = row.reshape(1, 1, 4, 1)
to_two = np.array([1, 2], np.int32)
softmax = np.exp(row[0]) / np.exp(row[0]).sum()
gentle = np.exp(row[0] / 2) / np.exp(row[0] / 2).sum()
nearest = "RESIZE_NEAREST_NEIGHBOR"
for operator, x, shape, options, by_litert, by_onnx in [
    ("SOFTMAX", row, (1, 4), {"beta": 1.0}, softmax, softmax),
    ("SOFTMAX", row, (1, 4), {"beta": 0.5}, gentle, softmax),
    ("MIRROR_PAD", row, (1, 8), {"constant": around, "mode": 0}, [3, 2, 1, 2, 3, 4, 3, 2], [3, 2, 1, 2, 3, 4, 3, 2]),
    ("MIRROR_PAD", row, (1, 8), {"constant": around, "mode": 1}, [2, 1, 1, 2, 3, 4, 4, 3], [3, 2, 1, 2, 3, 4, 3, 2]),
    ("PAD", numbers, (1, 6), {"constant": ends, "version": 2}, [0, -5, 0, 5, 100, 0], [0, -5, 0, 5, 100, 0]),
    (
        "PAD",
        numbers,
        (1, 6),
        {"constant": ends, "version": 2, "zero": -10},
        [-10, -5, 0, 5, 100, -10],
        [0, -5, 0, 5, 100, 0],
    ),
    ("ABS", numbers, (1, 4), {"version": 2}, [5, 0, 5, 100], [5, 0, 5, 100]),
    ("ABS", numbers, (1, 4), {"version": 2, "scales": (0.05, 0.1)}, [3, 0, 3, 50], [5, 0, 5, 100]),
    (nearest, map_of_one_line, (1, 1, 2, 1), {"constant": to_two, "alignCorners": True}, [1, 4], [1, 4]),
    (
        nearest,
        map_of_one_line,
        (1, 1, 2, 1),
        {"constant": to_two, "version": 3, "halfPixelCenters": True},
        [2, 4],
        [1, 3],
    ),
]:
    found = outputs(operator, x, shape, **options)
    shown = {name: value for name, value in options.items() if name not in ("constant", "version")}
    print(f"{operator} {shown} | LiteRT {found[0].round(2)} | ONNX {found[1].round(2)}")
    assert np.allclose(found[0], by_litert, atol=1e-3), "LiteRT's behaviour has changed"
    assert np.allclose(found[1], by_onnx, atol=1e-3), "the converter's behaviour has changed"
PROGRAM
