#!/usr/bin/env bash
# Vela counts the zeros between dilated weights as MACs of the network, and makes an operator of each pixel for stride 4.
#
# Guess: "Neural network macs" is a property of the network; a dilation does not change it, and a stride of 4 divides both
# it and the cycles.
# Seen with ethos-u-vela 5.2.0 for ethos-u55-128 with its defaults (ai-edge-litert 2.3.0, numpy 2.4.6): three 3x3 convolutions
# on 32 x 32, to 32 channels, of which the second is changed:
#                      MACs of the network, million    by Vela    cycles, thousand    NPU operators
#   unchanged                                  23.6       23.6                 203                3
#   dilation 2                                 23.6       23.6                 203                3
#   dilation 3                                 23.6       65.5                 533                3
#   dilation 4                                 23.6       40.4                 335                3
#   dilation 31                                23.6    4,176                32,802                3
#   dilation 32                                23.6    1,156                 9,136                3
#   stride 2                                    9.4        9.4                  92                3
#   stride 4                                    5.9        5.9                 417               66
# The processor dilates by 1 and 2. Vela takes out one factor of 2, and fills the rest with zeros: odd dilations are dearer
# than the next even one. A stride of 4 becomes one convolution for each of the 8 x 8 outputs, and costs twice stride 1.
# The dilated branches of a segmentation network, and a first layer of stride 4, cost what no count of MACs shows.
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


for changed, macs_by_vela, cycles, operators in [
    ({}, 23_592_960, 202_718, 3),
    ({"dilation": 2}, 23_592_960, 202_938, 3),
    ({"dilation": 3}, 65_536_000, 532_948, 3),
    ({"dilation": 4}, 40_370_176, 335_194, 3),
    ({"dilation": 31}, 4_175_953_920, 32_801_598, 3),
    ({"dilation": 32}, 1_156_055_040, 9_136_248, 3),
    ({"stride": 2}, 9_437_184, 92_436, 3),
    ({"stride": 4}, 5_898_240, 416_972, 66),
]:
    network = Network(32, 16)
    macs = network.convolution(32) + network.convolution(32, **changed) + network.convolution(32)
    found = vela(network)
    print(f"{changed}: {macs:,} MACs | Vela: {found[0]:,.0f} MACs, {found[1]:,.0f} cycles, {found[2]} operators")
    assert found[0] == macs_by_vela, "the count of MACs has changed"
    assert abs(found[1] / cycles - 1) < 0.1, "the cycles have changed"
    assert found[2] == operators, "the number of operators has changed"
    assert (found[0] == macs) == (changed.get("dilation", 1) < 3), "the count is right now"
PROGRAM
