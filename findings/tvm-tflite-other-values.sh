#!/usr/bin/env bash
# TVM's TFLite frontend cuts off int8 averages towards zero, takes another nearest neighbour and forgets a Softmax's beta.
#
# Guess: what is imported computes what LiteRT does, int8 bit by bit, or is refused as MIRROR_PAD with SYMMETRIC is ("not yet
# supported").
# Seen with apache-tvm 0.27.0.post1 (tflite 2.18.0, ai-edge-litert 2.3.0, numpy 2.4.6), CPU; LiteRT's three sets of kernels agree:
#                                                         LiteRT                    TVM
#   AVERAGE_POOL_2D of int8 1, 2, 3, 4, -1, -2, -3, -4    2, 4, -2, -4              1, 3, -1, -3
#     in pairs, scale 1
#   RESIZE_NEAREST_NEIGHBOR of columns 1 ... 6 to 3,      1, 4, 6                   1, 3, 6
#     aligned corners
#   SOFTMAX of 1, 2, 3, 4, beta 0.5                       0.10, 0.17, 0.28, 0.46    0.03, 0.09, 0.24, 0.64, as with beta 1
#   FULLY_CONNECTED of 1 x 1 x 3 x 2 to one               3 x 1                     1 x 1 x 3 x 1, the same numbers
#   MEAN of int8 1, 2; AVERAGE_POOL_2D of float32         the same numbers
# An int8 network's last average loses half a step on average, so that sums of many channels are smaller in magnitude. All
# convolutions agree, per channel and depthwise too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-tvm==0.27.0.post1 tflite==2.18.0 \
    ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import flatbuffers
import numpy as np
import tflite
import tvm
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tvm import relax
from tvm.relax.frontend.tflite import from_tflite

TYPES = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}
RESOLVERS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.BUILTIN_REF)


def tensor(name, shape, dtype, buffer=0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), TYPES[str(dtype)], buffer
    if dtype == np.int8:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [1.0], [0]
    return made


def by_litert(x, resolver):
    interpreter = Interpreter("model.tflite", experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def by_tvm(x):
    with open("model.tflite", "rb") as file:
        module = from_tflite(tflite.Model.GetRootAsModel(file.read(), 0))
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    result = machine["main"](tvm.runtime.tensor(x))
    return (result if hasattr(result, "numpy") else result[0]).numpy()


def outputs(operator, kind, x, shape, *constants, version=1, **fields):
    tensors = [tensor("x", x.shape, x.dtype), tensor("y", shape, x.dtype)]
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
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [node], [0], [1]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with open("model.tflite", "wb") as file:
        file.write(builder.Output())
    found = [by_litert(x, resolver) for resolver in RESOLVERS]
    assert all(np.allclose(y, found[0], atol=1e-3) for y in found), "LiteRT's kernels disagree"
    return found[0], by_tvm(x)


row = np.array([[1, 2, 3, 4]], np.float32)
numbers = np.array([1, 2, 3, 4, -1, -2, -3, -4], np.int8).reshape(1, 1, 8, 1)
columns = np.tile(np.arange(1, 7, dtype=np.float32), (6, 1)).reshape(1, 6, 6, 1)
pairs = {"padding": 1, "strideW": 2, "strideH": 1, "filterWidth": 2, "filterHeight": 1}
three = np.array([3, 3], np.int32)
softmax = np.exp(row[0]) / np.exp(row[0]).sum()
gentle = np.exp(row[0] / 2) / np.exp(row[0] / 2).sum()
means = [1.5, 3.5, -1.5, -3.5]
points = np.arange(6, dtype=np.float32).reshape(1, 1, 3, 2)
for label, found, litert, expected in [
    (
        "AVERAGE_POOL_2D, int8",
        outputs("AVERAGE_POOL_2D", "Pool2D", numbers, (1, 1, 4, 1), version=2, **pairs),
        [2, 4, -2, -4],
        [1, 3, -1, -3],
    ),
    (
        "AVERAGE_POOL_2D, float32",
        outputs("AVERAGE_POOL_2D", "Pool2D", numbers.astype(np.float32), (1, 1, 4, 1), **pairs),
        means,
        means,
    ),
    (
        "MEAN, int8",
        outputs(
            "MEAN",
            "Reducer",
            numbers[:, :, :2],
            (1, 1, 1, 1),
            np.array([1, 2], np.int32),
            version=2,
            keepDims=True,
        ),
        [2],
        [2],
    ),
    (
        "RESIZE_NEAREST_NEIGHBOR, aligned corners",
        outputs(
            "RESIZE_NEAREST_NEIGHBOR",
            "ResizeNearestNeighbor",
            columns,
            (1, 3, 3, 1),
            three,
            version=3,
            alignCorners=True,
        ),
        [1, 4, 6] * 3,
        [1, 3, 6] * 3,
    ),
    ("SOFTMAX, beta 0.5", outputs("SOFTMAX", "Softmax", row, row.shape, beta=0.5), gentle, softmax),
    (
        "FULLY_CONNECTED of four axes",
        outputs(
            "FULLY_CONNECTED",
            "FullyConnected",
            points,
            (3, 1),
            np.ones((1, 2), np.float32),
            np.zeros(1, np.float32),
        ),
        [1, 5, 9],
        [1, 5, 9],
    ),
]:
    shapes = f"{found[0].shape}, {found[1].shape}"
    print(f"{label} | LiteRT {found[0].ravel().round(2)} | TVM {found[1].ravel().round(2)} | {shapes}")
    assert np.allclose(found[0].ravel(), litert, atol=1e-3), "LiteRT's behaviour has changed"
    assert np.allclose(found[1].ravel(), expected, atol=1e-3), "TVM's behaviour has changed"
assert found[0].shape == (3, 1) and found[1].shape == (1, 1, 3, 1), "the shapes have changed"
PROGRAM
