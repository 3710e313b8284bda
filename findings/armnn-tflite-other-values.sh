#!/usr/bin/env bash
# Debian 12's Arm NN reads a TFLite resize with half-pixel centres as one without, and pads int8 with another number than
# zero.
#
# Guess: a file whose operators need a newer version than the parser knows is refused: each operator states its version
# (RESIZE_BILINEAR with half-pixel centres: 3), and unknown operators are refused ("Operator not supported").
# Seen with Arm NN 20.08-12, its backend CpuRef (ai-edge-litert 2.3.0, numpy 2.4.6), x86-64:
#                                                          LiteRT               Arm NN
#   RESIZE_BILINEAR of 1, 2, 3, 4, half-pixel centres
#     to 2 (centres at 1.5 and 3.5)                        1.5, 3.5             1, 3, as without them
#     to 8                                                 1, 1.25, 1.75 ... 4  1, 1.5, 2, 2.5 ... 4, as without them
#   RESIZE_NEAREST_NEIGHBOR, aligned corners, to 2         1, 4                 1, 3, as without them
#   TRANSPOSE_CONV by 1, 10, 100, stride 2, SAME
#     to 8                                                 1, 10, 102, 20 ...   the same
#     to 7                                                 10, 102, 20, 203 ... 1, 10, 102, 20 ...: one pixel to the right
#   TRANSPOSE_CONV with RELU, of -1, 2 by 1, 10            0, 0, 20             -1, -8, 20
#   PAD of int8, zero point -10                            -10 at either end    0 at either end, 10 times the scale
# Convolutions, pools and element-wise operators agree, with int8 too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ai-edge-litert==2.3.0 flatbuffers==25.12.19 \
    numpy==2.4.6
cd "$folder"
# The packages of Debian 12 are unpacked, not installed; python3-pyarmnn is for Python 3.11.
apt-get download --quiet libarmnn22 libarmnn-cpuref-backend22 libarmnntfliteparser22 libflatbuffers2 python3-pyarmnn \
    >/dev/null 2>&1
for package in ./*.deb; do dpkg-deb -x "$package" armnn; done
libraries=$(dirname "$(find "$folder/armnn" -name libarmnn.so.22)")
export LD_LIBRARY_PATH="$libraries" PYTHONPATH="$folder/armnn/usr/lib/python3/dist-packages" BACKENDS="$libraries/armnn22"
"$folder/venv/bin/python" - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import os

import flatbuffers
import numpy as np
import pyarmnn
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

TYPES = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}


def tensor(name, shape, dtype, buffer=0, zero=-10):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), TYPES[str(dtype)], buffer
    if dtype == np.int8:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [0.05], [zero]
    return made


def by_armnn(x):
    parser = pyarmnn.ITfLiteParser()
    network = parser.CreateNetworkFromBinaryFile("model.tflite")
    options = pyarmnn.CreationOptions()
    options.m_DynamicBackendsPath = os.environ["BACKENDS"]
    machine = pyarmnn.IRuntime(options)
    backends = [pyarmnn.BackendId("CpuRef")]
    specification = machine.GetDeviceSpec()
    optimized, _ = pyarmnn.Optimize(network, backends, specification, pyarmnn.OptimizerOptions())
    number, _ = machine.LoadNetwork(optimized)
    given = pyarmnn.make_input_tensors([parser.GetNetworkInputBindingInfo(0, "x")], [np.ascontiguousarray(x)])
    wanted = pyarmnn.make_output_tensors([parser.GetNetworkOutputBindingInfo(0, "y")])
    machine.EnqueueWorkload(number, given, wanted)
    return np.array(pyarmnn.workload_tensors_to_ndarray(wanted)[0])


def outputs(operator, kind, x, shape, before=(), after=(), version=3, **fields):
    """Return the output of LiteRT and that of Arm NN; x lies between the constants."""
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
    return by_litert.ravel(), by_armnn(x).ravel()


def resized(kind, width, **fields):
    operator = {"ResizeNearestNeighbor": "RESIZE_NEAREST_NEIGHBOR", "ResizeBilinear": "RESIZE_BILINEAR"}[kind]
    return outputs(operator, kind, line, (1, 1, width, 1), after=(np.array([1, width], np.int32),), **fields)


def upsampled(x, kernel, width, padding, stride, activation="NONE"):
    size, kernel = np.array([1, 1, width, 1], np.int32), np.array(kernel, np.float32).reshape(1, 1, -1, 1)
    return outputs(
        "TRANSPOSE_CONV",
        "TransposeConv",
        x,
        size,
        before=(size, kernel),
        padding=padding,
        strideW=stride,
        strideH=1,
        fusedActivationFunction=getattr(schema.ActivationFunctionType, activation),
    )


SAME, VALID = 0, 1
line = np.array([1, 2, 3, 4], np.float32).reshape(1, 1, 4, 1)
pair = np.array([-1, 2], np.float32).reshape(1, 1, 2, 1)
numbers = np.array([-5, 0, 5, 100], np.int8).reshape(1, 1, 4, 1)
ends = np.array([[0, 0], [0, 0], [1, 1], [0, 0]], np.int32)
smooth, stepped = [1, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4], [1, 1.5, 2, 2.5, 3, 3.5, 4, 4]
eight = [1, 10, 102, 20, 203, 30, 304, 40]
for label, found, by_litert, armnn in [
    ("bilinear, half-pixel centres, to 2", resized("ResizeBilinear", 2, halfPixelCenters=True), [1.5, 3.5], [1, 3]),
    ("bilinear, to 2", resized("ResizeBilinear", 2), [1, 3], [1, 3]),
    ("bilinear, half-pixel centres, to 8", resized("ResizeBilinear", 8, halfPixelCenters=True), smooth, stepped),
    ("bilinear, to 8", resized("ResizeBilinear", 8), stepped, stepped),
    ("nearest, aligned corners, to 2", resized("ResizeNearestNeighbor", 2, alignCorners=True), [1, 4], [1, 3]),
    ("nearest, to 2", resized("ResizeNearestNeighbor", 2), [1, 3], [1, 3]),
    ("TRANSPOSE_CONV SAME, to 8", upsampled(line, [1, 10, 100], 8, SAME, 2), eight, eight),
    ("TRANSPOSE_CONV SAME, to 7", upsampled(line, [1, 10, 100], 7, SAME, 2), [*eight[1:]], eight[:7]),
    ("TRANSPOSE_CONV", upsampled(pair, [1, 10], 3, VALID, 1), [-1, -8, 20], [-1, -8, 20]),
    ("TRANSPOSE_CONV, RELU", upsampled(pair, [1, 10], 3, VALID, 1, "RELU"), [0, 0, 20], [-1, -8, 20]),
    (
        "PAD of int8",
        outputs("PAD", "Pad", numbers, (1, 1, 6, 1), after=(ends,), version=2),
        [-10, -5, 0, 5, 100, -10],
        [0, -5, 0, 5, 100, 0],
    ),
]:
    print(f"{label} | LiteRT {found[0].round(2)} | Arm NN {found[1].round(2)}")
    assert np.allclose(found[0], by_litert, atol=1e-3), "LiteRT's behaviour has changed"
    assert np.allclose(found[1], armnn, atol=1e-3), "Arm NN's behaviour has changed"
PROGRAM
