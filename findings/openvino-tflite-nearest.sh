#!/usr/bin/env bash
# OpenVINO reads a TFLite resize with half-pixel centres as one without, and drops the ReLU of a transposed convolution.
#
# Guess: an attribute that the reader knows is used for both kinds of resize: bilinear ones with half-pixel centres are
# right.
# Seen with openvino 2026.4.1 (ai-edge-litert 2.3.0, numpy 2.4.6), CPU, float32:
#                                                          LiteRT               OpenVINO
#   RESIZE_NEAREST_NEIGHBOR of 1, 2, 3, 4
#     half-pixel centres, to 2 (centres at 1.5 and 3.5)    2, 4                 1, 3, as without them
#     half-pixel centres, to 6                             1, 2, 2, 3, 4, 4     1, 1, 2, 3, 3, 4, as without them
#     half-pixel centres, to 8                             1, 1, 2, 2 ... 4, 4  1, 1, 2, 2 ... 4, 4
#   RESIZE_BILINEAR, half-pixel centres, to 2              1.5, 3.5             1.5, 3.5
#   TRANSPOSE_CONV of -1, 2 by 1, 10, with RELU            0, 0, 20             -1, -8, 20
#     with RELU6                                           0, 0, 6              -1, -8, 20
# Upsampling by whole numbers hides the first difference. Keras writes half-pixel centres. Masks that are scaled to the size
# of the image, and features that are halved, come from other pixels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 ai-edge-litert==2.3.0 \
    flatbuffers==25.12.19 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import flatbuffers
import numpy as np
import openvino
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

TYPES = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}


def tensor(name, shape, dtype, buffer=0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), TYPES[str(dtype)], buffer
    return made


def outputs(operator, kind, x, shape, before=(), after=(), version=3, **fields):
    """Return the output of LiteRT and that of OpenVINO; x lies between the constants."""
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
    core = openvino.Core()
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    by_openvino = core.compile_model(core.read_model("model.tflite"), "CPU", hint)([x])[0]
    return by_litert.ravel(), by_openvino.ravel()


def resized(kind, width, centres):
    operator = {"ResizeNearestNeighbor": "RESIZE_NEAREST_NEIGHBOR", "ResizeBilinear": "RESIZE_BILINEAR"}[kind]
    size = np.array([1, width], np.int32)
    return outputs(operator, kind, line, (1, 1, width, 1), after=(size,), halfPixelCenters=centres)


def upsampled(activation):
    size, kernel = np.array([1, 1, 3, 1], np.int32), np.array([1, 10], np.float32).reshape(1, 1, 2, 1)
    x = np.array([-1, 2], np.float32).reshape(1, 1, 2, 1)
    return outputs(
        "TRANSPOSE_CONV",
        "TransposeConv",
        x,
        size,
        before=(size, kernel),
        version=4,
        padding=1,
        strideW=1,
        strideH=1,
        fusedActivationFunction=getattr(schema.ActivationFunctionType, activation),
    )


line = np.array([1, 2, 3, 4], np.float32).reshape(1, 1, 4, 1)
doubled = [1, 1, 2, 2, 3, 3, 4, 4]
for label, found, by_litert, by_openvino in [
    ("nearest, half-pixel centres, to 2", resized("ResizeNearestNeighbor", 2, True), [2, 4], [1, 3]),
    ("nearest, to 2", resized("ResizeNearestNeighbor", 2, False), [1, 3], [1, 3]),
    (
        "nearest, half-pixel centres, to 6",
        resized("ResizeNearestNeighbor", 6, True),
        [1, 2, 2, 3, 4, 4],
        [1, 1, 2, 3, 3, 4],
    ),
    ("nearest, to 6", resized("ResizeNearestNeighbor", 6, False), [1, 1, 2, 3, 3, 4], [1, 1, 2, 3, 3, 4]),
    ("nearest, half-pixel centres, to 8", resized("ResizeNearestNeighbor", 8, True), doubled, doubled),
    ("bilinear, half-pixel centres, to 2", resized("ResizeBilinear", 2, True), [1.5, 3.5], [1.5, 3.5]),
    ("TRANSPOSE_CONV", upsampled("NONE"), [-1, -8, 20], [-1, -8, 20]),
    ("TRANSPOSE_CONV, RELU", upsampled("RELU"), [0, 0, 20], [-1, -8, 20]),
    ("TRANSPOSE_CONV, RELU6", upsampled("RELU6"), [0, 0, 6], [-1, -8, 20]),
]:
    print(f"{label} | LiteRT {found[0].round(2)} | OpenVINO {found[1].round(2)}")
    assert np.allclose(found[0], by_litert, atol=1e-3), "LiteRT's behaviour has changed"
    assert np.allclose(found[1], by_openvino, atol=1e-3), "OpenVINO's behaviour has changed"
PROGRAM
