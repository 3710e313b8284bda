#!/usr/bin/env bash
# A network whose weights alone are int8 has a quarter of the file and takes more memory than the float32 network.
#
# Guess: weights that are stored in 8 bits take a quarter of the memory too, as they do with dynamic or static quantization.
# Seen with ai-edge-quantizer 0.10.0 and ai-edge-litert 2.3.0 (numpy 2.4.6), x86-64, one thread: six 3x3 convolutions of 512
# channels on 14 x 14. Peak resident memory above that of the imported library, in MiB:
#                              file    the default, with XNNPACK    BUILTIN_WITHOUT_DEFAULT_DELEGATES
#   float32                      54                          113                                   63
#   weight_only_wi8_afp32        14                          127                                   77
#   dynamic_wi8_afp32            14                           32                                   22
#   static_wi8_ai8               14                           31                                   21
# LiteRT turns the weights back into float32 when it is made ready, and keeps those in anonymous memory; float32 weights are
# mapped from the file, and the kernel can drop their pages. "Weight only" saves space on a disk and a download.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ai-edge-quantizer==0.10.0 ai-edge-litert==2.3.0 \
    flatbuffers==25.12.19 numpy==2.4.6
cd "$folder"
venv/bin/python - >log 2>&1 <<'PROGRAM' || { cat log >&2; exit 1; }
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import quantizer, recipe

CHANNELS, SHAPE = 512, (1, 14, 14, 512)
random = np.random.default_rng(0)
model, graph = schema.ModelT(), schema.SubGraphT()
graph.tensors, graph.operators, model.buffers = [], [], [schema.BufferT()]


def tensor(name, shape, values=None):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), schema.TensorType.FLOAT32, 0
    if values is not None:
        made.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
    graph.tensors.append(made)
    return len(graph.tensors) - 1


def mapped(name, index):
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name, index
    return made


first = last = tensor("x", SHAPE)
for number in range(6):
    kernel = (random.normal(size=(CHANNELS, 3, 3, CHANNELS)) * 0.01).astype(np.float32)
    constants = [tensor(f"w{number}", kernel.shape, kernel)]
    constants.append(tensor(f"b{number}", (CHANNELS,), np.zeros(CHANNELS, np.float32)))
    node = schema.OperatorT()
    node.inputs = [last, *constants]
    last = tensor(f"y{number}", SHAPE)
    node.outputs = [last]
    node.builtinOptions, node.builtinOptionsType = schema.Conv2DOptionsT(), schema.BuiltinOptions.Conv2DOptions
    node.builtinOptions.strideW = node.builtinOptions.strideH = 1
    node.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
    graph.operators.append(node)
code = schema.OperatorCodeT()
code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
code.version, model.version = 1, 3
graph.inputs, graph.outputs = [first], [last]
signature = schema.SignatureDefT()
signature.signatureKey, signature.inputs, signature.outputs = "s", [mapped("x", first)], [mapped("y", last)]
model.operatorCodes, model.subgraphs, model.signatureDefs = [code], [graph], [signature]
builder = flatbuffers.Builder(1024)
builder.Finish(model.Pack(builder), b"TFL3")
with open("float32.tflite", "wb") as file:
    file.write(builder.Output())
for name in ("weight_only_wi8_afp32", "dynamic_wi8_afp32", "static_wi8_ai8"):
    made = quantizer.Quantizer("float32.tflite")
    made.load_quantization_recipe(getattr(recipe, name)())
    ranges = made.calibrate({"s": [{"x": np.ones(SHAPE, np.float32)}]}) if made.need_calibration else None
    with open(f"{name}.tflite", "wb") as file:
        file.write(made.quantize(ranges).quantized_model)
PROGRAM
cat >measure.py <<'PROGRAM'
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


resolver = getattr(OpResolverType, sys.argv[2])
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts again at what is resident now
before = mib("VmRSS")
interpreter = Interpreter(f"{sys.argv[1]}.tflite", num_threads=1, experimental_op_resolver_type=resolver)
interpreter.allocate_tensors()
(given,) = interpreter.get_input_details()
interpreter.set_tensor(given["index"], np.ones(given["shape"], given["dtype"]))
interpreter.invoke()
print(round(mib("VmHWM") - before))
PROGRAM
failed=0
while read -r name size default without; do
    found_size=$(($(stat --format %s "$name.tflite") >> 20))
    found_default=$(venv/bin/python measure.py "$name" AUTO 2>/dev/null)
    found_without=$(venv/bin/python measure.py "$name" BUILTIN_WITHOUT_DEFAULT_DELEGATES 2>/dev/null)
    echo "$name: file $found_size MiB, peak $found_default MiB, without delegates $found_without MiB"
    if ((found_size != size || found_default < default - 10 || found_default > default + 10 ||
        found_without < without - 10 || found_without > without + 10)); then
        echo "the behaviour has changed" >&2
        failed=1
    fi
done <<'CASES'
float32 54 113 63
weight_only_wi8_afp32 13 127 77
dynamic_wi8_afp32 13 32 22
static_wi8_ai8 13 31 21
CASES
exit "$failed"
