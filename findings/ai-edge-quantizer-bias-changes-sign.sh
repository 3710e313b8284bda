#!/usr/bin/env bash
# AI Edge Quantizer turns a bias of 2 into -0.5 for a channel with small weights, with int16 activations sooner than with int8.
#
# Guess: int16 activations are closer to the float network than int8 ones everywhere; a channel that is its bias alone, as
# pruning leaves it, keeps the bias.
# Seen with ai-edge-quantizer 0.10.0 (ai-edge-litert 2.3.0, numpy 2.4.6), x86-64, for a 1x1 convolution of two channels,
# weights 1 and a small one, biases 0.5 and 2, inputs -1 ... 1, calibrated with these. The second channel's mean, right is 2:
#   weight   static_wi8_ai8   static_wi8_ai16   dynamic_wi8_afp32, weight_only_wi8_afp32
#   1e-2     2                2                 2
#   1e-3     2                -0.52             2
#   1e-5     0.40             -0.005            2
#   3e-6     -0.004           -0.002            2
#   0        0                0                 2
# A bias is stored as int32 in units of (input scale * weight scale), which are smaller for int16. It is limited to 2^31 - 1 as
# float32, where that is 2^31, and overflows when it becomes int32. All that is printed is NumPy's warning "invalid value
# encountered in cast". A folded BatchNormalization with a small scale, and pruning, make such channels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ai-edge-quantizer==0.10.0 ai-edge-litert==2.3.0 \
    flatbuffers==25.12.19 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - >output 2>log <<'PROGRAM' || { cat output log >&2; exit 1; }
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

X = np.linspace(-1, 1, 101, dtype=np.float32).reshape(1, 1, 101, 1)


def tensor(name, shape, buffer=0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), schema.TensorType.FLOAT32, buffer
    return made


def mapped(name, index):
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name, index
    return made


def write(weight):
    constants = [np.array([1, weight], np.float32).reshape(2, 1, 1, 1), np.array([0.5, 2], np.float32)]
    graph, model, node, code = schema.SubGraphT(), schema.ModelT(), schema.OperatorT(), schema.OperatorCodeT()
    graph.tensors = [tensor("x", X.shape), tensor("y", (1, 1, 101, 2)), tensor("w", (2, 1, 1, 1), 1), tensor("b", (2,), 2)]
    model.buffers = [schema.BufferT() for _ in range(3)]
    for buffer, constant in zip(model.buffers[1:], constants):
        buffer.data = np.frombuffer(constant.tobytes(), np.uint8)
    node.inputs, node.outputs = [0, 2, 3], [1]
    node.builtinOptions, node.builtinOptionsType = schema.Conv2DOptionsT(), schema.BuiltinOptions.Conv2DOptions
    node.builtinOptions.strideW = node.builtinOptions.strideH = 1
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    graph.operators, graph.inputs, graph.outputs = [node], [0], [1]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.inputs, signature.outputs = "s", [mapped("x", 0)], [mapped("y", 1)]
    code.version, model.version = 1, 3
    model.operatorCodes, model.subgraphs, model.signatureDefs = [code], [graph], [signature]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with open("model.tflite", "wb") as file:
        file.write(builder.Output())


def mean(name):
    """Return the second channel's mean in the network that a recipe makes."""
    made = quantizer.Quantizer("model.tflite")
    made.load_quantization_recipe(getattr(recipe, name)())
    ranges = made.calibrate({"s": [{"x": X}]}) if made.need_calibration else None
    with open("quantized.tflite", "wb") as file:
        file.write(made.quantize(ranges).quantized_model)
    interpreter = Interpreter("quantized.tflite")
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    x = X
    if given["dtype"] != np.float32:
        scale, zero = given["quantization"]
        limits = np.iinfo(given["dtype"])
        x = np.clip(np.round(X / scale) + zero, limits.min, limits.max).astype(given["dtype"])
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    y = interpreter.get_tensor(wanted["index"]).astype(float)
    if wanted["dtype"] != np.float32:
        scale, zero = wanted["quantization"]
        y = (y - zero) * scale
    return float(y[..., 1].mean())


NAMES = ("static_wi8_ai8", "static_wi8_ai16", "dynamic_wi8_afp32", "weight_only_wi8_afp32")
for weight, *expected in [
    (1e-2, 2, 2, 2, 2),
    (1e-3, 2, -0.516, 2, 2),
    (1e-5, 0.403, -0.005, 2, 2),
    (3e-6, -0.004, -0.002, 2, 2),
    (0, 0, 0, 2, 2),
]:
    write(weight)
    found = [mean(name) for name in NAMES]
    print("RESULT weight", weight, {name: round(value, 3) for name, value in zip(NAMES, found)})
    assert np.allclose(found, expected, atol=0.01), "the behaviour has changed"
PROGRAM
sed -n 's/^RESULT //p' output
