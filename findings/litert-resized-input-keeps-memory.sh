#!/usr/bin/env bash
# LiteRT keeps the memory of the largest input that an interpreter has had.
#
# Guess: after resize_tensor_input to a smaller size and allocate_tensors(), an interpreter takes what a new one takes.
# Seen with ai-edge-litert 2.3.0 (numpy 2.4.6), x86-64, one thread, six 3x3 convolutions of 512 channels, 54 MiB of
# weights. Resident memory above that of the imported library, in MiB, after a run with each of these sides in turn:
#                                            14     14, 64    14, 64, 14
#   BUILTIN_WITHOUT_DEFAULT_DELEGATES        63        155           155
#   the default, with XNNPACK               113        145           145
# The 92 MiB are mostly one im2col buffer of 64 x 64 x 4608 numbers. allocate_tensors() enlarges the arena and never
# makes it smaller. Sizes that are measured one after another in one process show the memory of the largest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6
cd "$folder"
cat >make.py <<'PROGRAM'
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

SIDE, CHANNELS = 14, 512


def tensor(name, shape, buffer=0):
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name, shape, buffer, schema.TensorType.FLOAT32
    return made


def buffer(values):
    made = schema.BufferT()
    made.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
    return made


code = schema.OperatorCodeT()
code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
code.version = 1
graph = schema.SubGraphT()
graph.tensors, graph.operators = [tensor("x", [1, SIDE, SIDE, CHANNELS])], []
buffers = [schema.BufferT()]
last = 0
for number in range(6):
    buffers += [buffer(np.full((CHANNELS, 3, 3, CHANNELS), 1e-4)), buffer(np.zeros(CHANNELS))]
    graph.tensors += [
        tensor(f"weights{number}", [CHANNELS, 3, 3, CHANNELS], len(buffers) - 2),
        tensor(f"bias{number}", [CHANNELS], len(buffers) - 1),
        tensor(f"y{number}", [1, SIDE, SIDE, CHANNELS]),
    ]
    end = len(graph.tensors)
    node = schema.OperatorT()
    node.inputs, node.outputs = [last, end - 3, end - 2], [end - 1]
    node.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    node.builtinOptions = schema.Conv2DOptionsT()
    node.builtinOptions.strideW = node.builtinOptions.strideH = 1
    graph.operators.append(node)
    last = end - 1
graph.inputs, graph.outputs = [0], [last]
model = schema.ModelT()
model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
builder = flatbuffers.Builder(1024)
builder.Finish(model.Pack(builder), b"TFL3")
with open("network.tflite", "wb") as file:
    file.write(builder.Output())
PROGRAM
cat >run.py <<'PROGRAM'
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


way, threads, sides = sys.argv[1], int(sys.argv[2]), [int(side) for side in sys.argv[3:]]
before = mib("VmRSS")
interpreter = Interpreter(
    "network.tflite", num_threads=threads, experimental_op_resolver_type=getattr(OpResolverType, way)
)
for side in sides:
    interpreter.resize_tensor_input(0, [1, side, side, 512])
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.ones((1, side, side, 512), np.float32))
    interpreter.invoke()
print(round(mib("VmRSS") - before))
PROGRAM
"$folder/venv/bin/python" make.py
measure() { "$folder/venv/bin/python" run.py "$@" 2>/dev/null; }
failed=0
for way in BUILTIN_WITHOUT_DEFAULT_DELEGATES AUTO; do
    small=$(measure "$way" 1 14)
    large=$(measure "$way" 1 14 64)
    again=$(measure "$way" 1 14 64 14)
    echo "$way: 14 x 14 takes $small MiB, then 64 x 64 $large MiB, then 14 x 14 $again MiB"
    [ "$large" -ge $((small + 20)) ] && [ "$again" -ge $((large - 6)) ] || failed=1
done
exit "$failed"
