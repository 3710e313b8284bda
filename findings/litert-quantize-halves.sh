#!/usr/bin/env bash
# LiteRT without its delegate quantizes the same number to one integer or to the next, by its place in the tensor.
#
# Guess: QUANTIZE has one rule for 0.5, as one int8 network is to give the same numbers on a PC and on a microcontroller.
# Seen with ai-edge-litert 2.3.0, tflite-micro 0.dev20261023182759 and openvino 2026.4.1 (numpy 2.4.6), x86-64, scale 1,
# as numbers of steps above the zero point:
#                                                twelve times 0.5       -2.5, -1.5, -0.5, 0.5, 1.5, 2.5
#   LiteRT, the default                          0 twelve times         -2, -2, 0, 0, 2, 2: to the even number
#   LiteRT without delegates                     0 eight times, then 1  -3, -2, -1, 1, 2, 3
#   LiteRT's reference, and for Microcontrollers 1 twelve times         -3, -2, -1, 1, 2, 3: away from zero
#   OpenVINO, zero point 0                       0 twelve times         -2, -2, 0, 0, 2, 2
#     zero point 1, which it adds first          1 twelve times         -3, -1, -1, 1, 1, 3; the others as before
# Blocks of eight are rounded by one instruction, and what remains by another function. Halves are not rare: for pixels from 0
# to 255 and a scale of 2 every other one is a half. A comparison bit by bit of the outputs of two engines then fails
# although both read the file correctly, and for LiteRT without delegates a pixel's number depends on the image's size.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ai-edge-litert==2.3.0 openvino==2026.4.1 \
    tflite-micro==0.dev20261023182759 flatbuffers==25.12.19 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import flatbuffers
import numpy as np
import openvino
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime


def tensor(name, shape, dtype, zero=0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), dtype, 0
    if dtype == schema.TensorType.INT8:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [1.0], [zero]
    return made


def write(operator, kind, x, y):
    node = schema.OperatorT()
    node.inputs, node.outputs = [0], [1]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator)
    code.version = 1
    node.builtinOptions = getattr(schema, f"{kind}OptionsT")()
    node.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind}Options")
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [x, y], [node], [0], [1]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with open("model.tflite", "wb") as file:
        file.write(builder.Output())


def by_litert(x, resolver):
    interpreter = Interpreter("model.tflite", experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel()


def by_micro(x):
    interpreter = runtime.Interpreter.from_file("model.tflite", arena_size=100_000)
    interpreter.set_input(x, 0)
    interpreter.invoke()
    return interpreter.get_output(0).ravel()


def by_openvino(x):
    core = openvino.Core()
    return core.compile_model(core.read_model("model.tflite"), "CPU")([x])[0].ravel()


def show(label, found, expected):
    print(f"{label:28} {found}")
    assert np.array_equal(found, expected), "the behaviour has changed"


FLOAT, INT8 = schema.TensorType.FLOAT32, schema.TensorType.INT8
HALVES, TWELVE = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], [0.5] * 12
EVEN, ODD, AWAY = [-2, -2, 0, 0, 2, 2], [-3, -1, -1, 1, 1, 3], [-3, -2, -1, 1, 2, 3]
without = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
for row, zero, default, by_place, reference, openvino_ in [
    (HALVES, 0, EVEN, AWAY, AWAY, EVEN),
    (HALVES, 1, EVEN, AWAY, AWAY, ODD),
    (TWELVE, 0, [0] * 12, [0] * 8 + [1] * 4, [1] * 12, [0] * 12),
    (TWELVE, 1, [0] * 12, [0] * 8 + [1] * 4, [1] * 12, [1] * 12),
]:
    x = np.array([row], np.float32)
    write("QUANTIZE", "Quantize", tensor("x", x.shape, FLOAT), tensor("y", x.shape, INT8, zero))
    print(row, "zero point", zero)
    show("LiteRT", by_litert(x, OpResolverType.AUTO) - zero, default)
    show("LiteRT without delegates", by_litert(x, without) - zero, by_place)
    show("LiteRT's reference", by_litert(x, OpResolverType.BUILTIN_REF) - zero, reference)
    show("LiteRT for Microcontrollers", by_micro(x) - zero, reference)
    show("OpenVINO", by_openvino(x) - zero, openvino_)
PROGRAM
