#!/usr/bin/env bash
# tf2onnx multiplies a TFLite softmax's probabilities by beta, and rounds a negative FLOOR_DIV up.
#
# Guess: what the converter does not know is logged, as a fused RELU_N1_TO_1 is ("Unsupported fused activation function"), or
# stays under its TFLite name, as GELU and L2_POOL_2D do, so that ONNX Runtime refuses it.
# Seen with tf2onnx 1.17.0, --opset 18 (tensorflow-cpu 2.21.0, ai-edge-litert 2.3.0, onnx 1.23.2, onnxruntime 1.32.0, numpy
# 2.4.6):
#                                                   LiteRT                    ONNX
#   SOFTMAX of 1, 2, 3, 4, beta 0.5                 0.10, 0.17, 0.28, 0.46    0.02, 0.04, 0.12, 0.32: half of beta 1
#   FLOOR_DIV of -7, 7 by 2, -2, int32              -4, -4                    -3, -3
#     float32                                       -4, -4                    the same
#   FLOOR_MOD of -7, 7 by 3, -3, int32              2, -2                     -1, 1
#   ONE_HOT of -1 with depth 3, values 2 and 5      2, 2, 2                   2, 2, 5
#   STRIDED_SLICE from 1, offset 2                  2, 3                      2: the offset is taken for the end
# The probabilities add up to 0.5, and their order stays: the accuracy does not show it, a threshold does. No warning is printed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 ai-edge-litert==2.3.0 \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 flatbuffers==25.12.19 requests==2.34.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps tf2onnx==1.17.0
cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import flatbuffers
import numpy as np
import onnxruntime
import tf2onnx
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

TYPES = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}


def tensor(name, shape, dtype, buffer=0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), TYPES[str(dtype)], buffer
    return made


def outputs(operator, kind, x, shape, *constants, version=1, dtype=None, **fields):
    """Return an operator's output with LiteRT, and with ONNX Runtime after the conversion."""
    tensors = [tensor("x", x.shape, x.dtype), tensor("y", shape, dtype or x.dtype)]
    buffers = [schema.BufferT()]
    node = schema.OperatorT()
    node.inputs, node.outputs = [0], [1]
    for constant in constants:
        node.inputs.append(len(tensors))
        tensors.append(tensor(f"constant{len(tensors)}", constant.shape, constant.dtype, len(buffers)))
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
    graph.name, graph.tensors, graph.operators, graph.inputs, graph.outputs = "main", tensors, [node], [0], [1]
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
    converted, _ = tf2onnx.convert.from_tflite("model.tflite", opset=18)
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    by_onnx = session.run(None, {session.get_inputs()[0].name: x})[0]
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel(), by_onnx.ravel()


def whole(*values):
    return np.array(values, np.int32)


row = np.array([[1, 2, 3, 4]], np.float32)
softmax = np.exp(row[0]) / np.exp(row[0]).sum()
gentle = np.exp(row[0] / 2) / np.exp(row[0] / 2).sum()
sevens, twos, threes = whole(-7, 7), whole(2, -2), whole(3, -3)
on, off, depth = np.array(5, np.float32), np.array(2, np.float32), np.array(3, np.int32)
for label, found, litert, seen in [
    ("SOFTMAX, beta 0.5", outputs("SOFTMAX", "Softmax", row, row.shape, beta=0.5), gentle, softmax / 2),
    ("SOFTMAX, beta 1", outputs("SOFTMAX", "Softmax", row, row.shape, beta=1.0), softmax, softmax),
    ("FLOOR_DIV, int32", outputs("FLOOR_DIV", "FloorDiv", sevens, (2,), twos), [-4, -4], [-3, -3]),
    ("FLOOR_DIV, float32", outputs("FLOOR_DIV", "FloorDiv", sevens.astype(np.float32), (2,), twos.astype(np.float32),
                                   version=2), [-4, -4], [-4, -4]),
    ("FLOOR_MOD, int32", outputs("FLOOR_MOD", "FloorMod", sevens, (2,), threes), [2, -2], [-1, 1]),
    ("ONE_HOT", outputs("ONE_HOT", "OneHot", whole(-1), (1, 3), depth, on, off, axis=-1, dtype=np.dtype("float32")),
     [2, 2, 2], [2, 2, 5]),
    ("STRIDED_SLICE, offset", outputs("STRIDED_SLICE", "StridedSlice", row, (1, 2), whole(0, 1), whole(1, 2), whole(1, 1),
                                      version=8, offset=True), [2, 3], [2]),
]:
    by_litert, by_onnx = found
    print(f"{label} | LiteRT {by_litert.round(3).tolist()} | ONNX {by_onnx.round(3).tolist()}")
    assert len(by_litert) == len(litert) and np.allclose(by_litert, litert, atol=1e-3), "LiteRT's behaviour has changed"
    assert len(by_onnx) == len(seen) and np.allclose(by_onnx, seen, atol=1e-3), "tf2onnx's behaviour has changed"
PROGRAM
