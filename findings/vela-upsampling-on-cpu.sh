#!/usr/bin/env bash
# Vela's inference time leaves out the layers that run on the CPU: upsampling by 2 takes most of the time, by 4 none.
#
# Guess: an estimate "Batch Inference time" includes all layers, or is missing where one cannot be estimated.
# Seen with ethos-u-vela 5.2.0 for ethos-u55-128 with its defaults (ai-edge-litert 2.3.0, numpy 2.4.6): a convolution on
# 16 x 16, to 32 channels, and after it
#                                       MACs of the network, million    by Vela    inferences per second
#   nothing                                                     1.2        1.2                   31,458
#   TRANSPOSE_CONV 4x4, stride 2                                 5.4       18.0                    3,339
#   TRANSPOSE_CONV 8x8, stride 4                                18.0        1.2                   31,458
#   TRANSPOSE_CONV 16x16, stride 8                              68.3        1.2                   31,458
# "CPU operators = 1 (50.0%)" and a warning are printed; MACs, cycles and time are those of the rest, in the CSV file too.
# Stride 2 counts the zeros that it puts between the pixels. So the network with most work, which is also the one that
# leaves the accelerator, has the best figures: FCN's upsampling by 8 would be a free layer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    ethos-u-vela==5.2.0 ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6
cd "$folder"
PATH="$folder/venv/bin:$PATH" "$folder/venv/bin/python" - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import csv
import glob
import re
import subprocess

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter


class Network:
    """A TFLite network of int8 layers, one after another."""

    def __init__(self, side, channels):
        self.tensors, self.buffers, self.codes, self.operators = [], [schema.BufferT()], [], []
        self.first = self.last = self.tensor([1, side, side, channels])
        self.side, self.channels = side, channels

    def tensor(self, shape, kind=schema.TensorType.INT8, scales=(0.1,), data=None):
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = f"t{len(self.tensors)}", list(shape), kind, 0
        if scales:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = list(scales), [0] * len(scales)
        if data is not None:
            made.buffer = len(self.buffers)
            self.buffers.append(schema.BufferT())
            self.buffers[-1].data = np.frombuffer(data.tobytes(), np.uint8)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def weights(self, shape, scales):
        generator = np.random.default_rng(len(self.tensors))
        return self.tensor(shape, scales=scales, data=generator.integers(-8, 9, shape).astype(np.int8))

    def bias(self, channels, scales):
        return self.tensor(
            [channels], schema.TensorType.INT32, scales, np.zeros(channels, np.int32)
        )

    def operator(self, name, inputs, side, channels, options, version):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = version
        self.codes.append(code)
        self.side, self.channels = side, channels
        self.last = self.tensor([1, side, side, channels])
        node = schema.OperatorT()
        node.opcodeIndex, node.inputs, node.outputs = len(self.codes) - 1, inputs, [self.last]
        node.builtinOptions = options
        node.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        self.operators.append(node)

    def convolution(self, channels, stride=1, dilation=1):
        """Add a 3x3 convolution with "same" padding; return its multiplications."""
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = dilation
        weights = self.weights([channels, 3, 3, self.channels], [0.01] * channels)
        inputs = [self.last, weights, self.bias(channels, [0.001] * channels)]
        side, before = self.side // stride, self.channels
        self.operator("CONV_2D", inputs, side, channels, options, 3)
        return side * side * channels * before * 9

    def upsampling(self, stride):
        """Add a transposed convolution of kernel 2 * stride; return its multiplications."""
        options = schema.TransposeConvOptionsT()
        options.padding = schema.Padding.SAME
        options.strideH = options.strideW = stride
        kernel, side = 2 * stride, self.side * stride
        size = np.array([1, side, side, self.channels], np.int32)
        inputs = [
            self.tensor([4], schema.TensorType.INT32, None, size),
            self.weights([self.channels, kernel, kernel, self.channels], [0.01]),
            self.last,
            self.bias(self.channels, [0.001]),
        ]
        macs = self.side**2 * self.channels**2 * kernel**2
        self.operator("TRANSPOSE_CONV", inputs, side, self.channels, options, 3)
        return macs

    def save(self, name):
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = [self.first], [self.last]
        model.version, model.operatorCodes, model.buffers = 3, self.codes, self.buffers
        model.subgraphs = [graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        with open(name, "wb") as file:
            file.write(builder.Output())
        interpreter = Interpreter(name)  # it is a valid network
        interpreter.allocate_tensors()
        interpreter.invoke()


def vela(network):
    """Return Vela's summary of a network, and what it printed."""
    network.save("network.tflite")
    command = ["vela", "network.tflite", "--accelerator-config", "ethos-u55-128", "--output-dir", "out"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (summary,) = glob.glob("out/network_summary_*.csv")
    with open(summary, newline="") as file:
        (row,) = csv.DictReader(file)
    operators = re.search(r"NPU operators = (\d+)", printed)
    return float(row["nn_macs"]), float(row["cycles_total"]), int(operators[1]), row, printed


for stride, macs_by_vela, per_second in [
    (None, 1_179_648, 31_458),
    (2, 17_956_864, 3_339),
    (4, 1_179_648, 31_458),
    (8, 1_179_648, 31_458),
]:
    network = Network(16, 16)
    macs = network.convolution(32)
    if stride:
        macs += network.upsampling(stride)
    found = vela(network)
    speed = float(found[3]["inferences_per_second"])
    on_cpu = "CPU operators = 1 (50.0%)" in found[4]
    print(f"upsampling by {stride}: {macs:,} MACs | Vela: {found[0]:,.0f} MACs, {speed:,.0f} inferences/s,",
          "a layer on the CPU" if on_cpu else "all on the NPU")
    assert found[0] == macs_by_vela, "the count of MACs has changed"
    assert abs(speed / per_second - 1) < 0.1, "the speed has changed"
    assert on_cpu == (stride in (4, 8)), "another layer runs on the CPU now"
PROGRAM
