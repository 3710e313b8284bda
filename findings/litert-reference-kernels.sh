#!/usr/bin/env bash
# LiteRT's reference kernels leave a channel out of LRN's window and cannot add to a negative int8 sum.
#
# Guess: OpResolverType.BUILTIN_REF is the plain form of the same operators, to judge the fast ones by.
# Seen with ai-edge-litert 2.3.0 (numpy 2.4.6), x86-64; the default (XNNPACK) and BUILTIN_WITHOUT_DEFAULT_DELEGATES are
# right in all three, by TensorFlow's definition:
#   LOCAL_RESPONSE_NORMALIZATION of eight twos, radius 2, bias 1, alpha 0.5, beta 1
#       right      2 / (1 + 0.5 * 5 * 4) = 0.182 in the middle: two channels on either side
#       reference  2 / (1 + 0.5 * 4 * 4) = 0.222: the last channel of each window is missing
#   SUM of int8, zero point 0, same scale   -9 and -10: right -19, reference -1
#                                           9 and 10: 19 in both
#   ELU, CEIL, ROUND (float32)              "Didn't find op for builtin opcode": the reference has none
# Convolutions, pools, resizes and element-wise operators agree. A search for the layer whose output is wrong, which
# compares with the reference, stops at AlexNet's first normalisation.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6
cd "$folder"
cat >kernels.py <<'PROGRAM'
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

WAYS = (
    OpResolverType.AUTO,
    OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    OpResolverType.BUILTIN_REF,
)
LRN = schema.LocalResponseNormalizationOptionsT()
LRN.radius, LRN.bias, LRN.alpha, LRN.beta = 2, 1.0, 0.5, 1.0
SUM = schema.ReducerOptionsT()
SUM.keepDims = False


def tensor(name, array, buffer=0):
    made = schema.TensorT()
    made.name, made.shape, made.buffer = name, list(array.shape), buffer
    made.type = {"f": schema.TensorType.FLOAT32, "b": schema.TensorType.INT8, "i": schema.TensorType.INT32}[
        array.dtype.char
    ]
    if array.dtype.char == "b":
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [0.05], [0]
    return made


def outputs(operator, x, y, options=None, options_type=schema.BuiltinOptions.NONE, axis=None):
    """Return the output of one operator by each kernel, or "none" where a kernel is missing."""
    tensors, buffers = [tensor("x", x), tensor("y", y)], [schema.BufferT()]
    if axis is not None:
        buffers.append(schema.BufferT())
        buffers[1].data = np.frombuffer(np.array([axis], np.int32).tobytes(), np.uint8)
        tensors.append(tensor("axis", np.array([axis], np.int32), 1))
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 2 if x.dtype == np.int8 else 1
    node = schema.OperatorT()
    node.inputs, node.outputs = [0] if axis is None else [0, 2], [1]
    node.builtinOptions, node.builtinOptionsType = options, options_type
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [node], [0], [1]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    found = []
    for way in WAYS:
        try:
            interpreter = Interpreter(model_content=bytes(builder.Output()), experimental_op_resolver_type=way)
        except ValueError as error:
            assert "Didn't find op" in str(error)
            found.append("none")
            continue
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        found.append([round(float(value), 3) for value in output.ravel()])
    return found


def check(label, found, right, reference):
    print(f"{label}: default {found[0]}, without delegates {found[1]}, reference {found[2]}")
    assert found == [right, right, reference], "the behaviour has changed"


twos = np.full((1, 1, 1, 8), 2, np.float32)
check(
    "LRN",
    outputs(
        "LOCAL_RESPONSE_NORMALIZATION", twos, twos, LRN,
        schema.BuiltinOptions.LocalResponseNormalizationOptions,
    ),
    [0.286, 0.222, 0.182, 0.182, 0.182, 0.182, 0.222, 0.286],
    [0.4, 0.286, 0.222, 0.222, 0.222, 0.222, 0.222, 0.286],
)
for values, right, reference in [([-9, -10], -19, -1), ([9, 10], 19, 19)]:
    x = np.array([values], np.int8)
    found = outputs("SUM", x, x[:, 0], SUM, schema.BuiltinOptions.ReducerOptions, axis=1)
    check(f"SUM of {values}", found, [right], [reference])
row = np.array([-1.0, 0.6], np.float32)
for operator, right in [("ELU", [-0.632, 0.6]), ("CEIL", [-1, 1]), ("ROUND", [-1, 1])]:
    check(operator, outputs(operator, row, row), right, "none")
PROGRAM
"$folder/venv/bin/python" kernels.py 2>kernels.log || { cat kernels.log >&2; exit 1; }
