#!/usr/bin/env bash
# LiteRT and LiteRT for Microcontrollers ignore a tanh that is fused into a convolution, a pooling or a sum, and LiteRT's
# default a ReLU that is fused into a concatenation.
#
# Guess: an activation that the file format has (NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT) is applied, or the layer is
# refused, as a fully connected layer and L2_NORMALIZATION refuse it.
# Seen with ai-edge-litert 2.3.0, all three of its sets of kernels, tflite-micro 0.dev20261023182759 and openvino 2026.4.1
# (numpy 2.4.6), for -1.5, -0.5, 0.5, 1.5 by an operator that does not change it:
#                                           LiteRT, both          OpenVINO
#   CONV_2D, DEPTHWISE_CONV_2D, MAX_POOL_2D, AVERAGE_POOL_2D, ADD, SUB and MUL alike
#     RELU                                  0, 0, 0.5, 1.5        0, 0, 0.5, 1.5
#     RELU_N1_TO_1                          -1, -0.5, 0.5, 1      -1, -0.5, 0.5, 1
#     TANH                                  -1.5, -0.5, 0.5, 1.5  -0.91, -0.46, 0.46, 0.91
#   FULLY_CONNECTED, TANH                   LiteRT: an error; for Microcontrollers: not applied
#   CONCATENATION of two, RELU              LiteRT, the default: not  not applied
#                                           applied; else an error
# Nothing is printed. Converters that are not TensorFlow's may fuse it, as the schema allows; LeNet and small networks for
# sensors have a tanh behind each convolution. Write TANH as an operator of its own.
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

RESOLVERS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.BUILTIN_REF)


def tensor(name, shape, buffer=0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), schema.TensorType.FLOAT32, buffer
    return made


def write(operator, kind, shape, constants, activation, fields, twice=False):
    """Write a network of one operator; `twice` gives it its input two times, one after another in the last axis."""
    made = (*shape[:-1], 2 * shape[-1]) if twice else shape
    tensors, buffers = [tensor("x", shape), tensor("y", made)], [schema.BufferT()]
    node = schema.OperatorT()
    node.inputs, node.outputs = [0, 0] if twice else [0], [1]
    for constant in constants:
        node.inputs.append(len(tensors))
        tensors.append(tensor(f"constant{len(tensors)}", constant.shape, len(buffers)))
        buffers.append(schema.BufferT())
        buffers[-1].data = np.frombuffer(constant.tobytes(), np.uint8)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator)
    code.version = 1
    node.builtinOptions = getattr(schema, f"{kind}OptionsT")()
    node.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind}Options")
    fields = {**fields, "fusedActivationFunction": getattr(schema.ActivationFunctionType, activation)}
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


row = np.array([-1.5, -0.5, 0.5, 1.5], np.float32)
line, one, zero = row.reshape(1, 1, 4, 1), np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32)
step = {"padding": 1, "strideW": 1, "strideH": 1}
pool = {**step, "filterWidth": 1, "filterHeight": 1}
applied = {"RELU": np.maximum(row, 0), "RELU_N1_TO_1": row.clip(-1, 1), "TANH": np.tanh(row)}
for operator, kind, constants, fields in [
    ("CONV_2D", "Conv2D", (one, zero), step),
    ("DEPTHWISE_CONV_2D", "DepthwiseConv2D", (one, zero), {**step, "depthMultiplier": 1}),
    ("MAX_POOL_2D", "Pool2D", (), pool),
    ("AVERAGE_POOL_2D", "Pool2D", (), pool),
    ("ADD", "Add", (zero,), {}),
    ("SUB", "Sub", (zero,), {}),
    ("MUL", "Mul", (one,), {}),
]:
    for activation, right in applied.items():
        write(operator, kind, line.shape, constants, activation, fields)
        found = [by_litert(line, resolver) for resolver in RESOLVERS] + [by_micro(line)]
        print(operator, activation, "| LiteRT, for Microcontrollers last", *(y.round(2) for y in found))
        expected = row if activation == "TANH" else right
        assert all(np.allclose(y, expected, atol=1e-2) for y in found), "the behaviour has changed"
        assert np.allclose(by_openvino(line), right, atol=1e-2), "OpenVINO's behaviour has changed"
column = row.reshape(1, 4)
identity = np.eye(4, dtype=np.float32)
write("FULLY_CONNECTED", "FullyConnected", column.shape, (identity, np.zeros(4, np.float32)), "TANH", {})
print("FULLY_CONNECTED TANH | for Microcontrollers", by_micro(column).round(2))
assert np.allclose(by_micro(column), row), "the behaviour has changed"
try:
    by_litert(column, RESOLVERS[0])
except (RuntimeError, ValueError) as error:
    print("FULLY_CONNECTED TANH | LiteRT:", str(error).splitlines()[0])
else:
    raise SystemExit("LiteRT accepts the fully connected layer now")
write("CONCATENATION", "Concatenation", line.shape, (), "RELU", {"axis": 3}, twice=True)
found = by_litert(line, RESOLVERS[0])
print("CONCATENATION RELU | LiteRT, the default", found.round(2), "| OpenVINO", by_openvino(line).round(2))
assert np.allclose(found, np.repeat(row, 2)), "the behaviour has changed"
assert np.allclose(by_openvino(line), np.repeat(row, 2)), "OpenVINO's behaviour has changed"
for resolver in RESOLVERS[1:]:
    try:
        by_litert(line, resolver)
    except (RuntimeError, ValueError) as error:
        print("CONCATENATION RELU |", resolver, str(error).splitlines()[0])
    else:
        raise SystemExit("LiteRT without delegates accepts the concatenation now")
PROGRAM
