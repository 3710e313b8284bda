#!/usr/bin/env bash
# Two MAC counters for ONNX overcharge a transposed convolution, by 2 to 8 for the usual 2x upsampling.
#
# Guess: both report the multiplications that the layer does, as they do for Conv.
# Seen with onnx-tool 1.0.1 and onnx-opcounter 0.0.4 (onnx 1.23.2, numpy 2.4.6). A ConvTranspose of kernel 2,
# stride 2, from 4 to 8 channels, on 10 x 10: each of 400 input values meets 8 x 2 x 2 weights, 12,800 MACs.
#   onnx-opcounter   51,200    the size of the output, times weights per output channel: right for stride 1 alone
#   onnx-tool       102,400    the same, and with the output's channels where the input's belong
# The error grows with the square of the stride, and that of onnx-tool also with the ratio of the channels. For
# Conv (depthwise too) both are right. Latency or energy on a board predicted from such a sum makes the decoder of
# a segmentation network look several times dearer than it is, and misleads a search for a cheaper architecture.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnx-tool==1.0.1 onnx-opcounter==0.0.4 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnx_opcounter
import onnx_tool
from onnx import TensorProto, helper, numpy_helper

SIZE = 10


def counts(operator, channels, weights, **attributes):
    """Return the MACs that onnx-tool and onnx-opcounter report for one layer."""
    weights = numpy_helper.from_array(np.ones(weights, np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "weights"], ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weights],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    model = onnx.shape_inference.infer_shapes(model)
    onnx.save(model, "model.onnx")
    tool = onnx_tool.Model("model.onnx", mcfg={"verbose": False}).graph
    tool.shape_infer({"x": np.zeros((1, channels, SIZE, SIZE), np.float32)})
    tool.profile()
    return int(tool.macs[0]), int(onnx_opcounter.calculate_macs(model))


def multiplications(channels, outputs, kernel):
    """Count what a transposed convolution multiplies: every input value with its weights."""
    count = 0
    for _ in range(channels * SIZE * SIZE):
        count += outputs * kernel * kernel
    return count


for channels, outputs, kernel, stride, expected in [
    (4, 8, 2, 2, (102_400, 51_200)),
    (8, 4, 2, 2, (25_600, 51_200)),
    (4, 4, 4, 4, (409_600, 409_600)),
]:
    found = counts(
        "ConvTranspose",
        channels,
        (channels, outputs, kernel, kernel),
        kernel_shape=[kernel] * 2,
        strides=[stride] * 2,
    )
    real = multiplications(channels, outputs, kernel)
    print(
        f"ConvTranspose {channels} to {outputs}, kernel {kernel}, stride {stride}:",
        f"{real} MACs | onnx-tool {found[0]} | onnx-opcounter {found[1]}",
    )
    assert found == expected, "the behaviour has changed"
    assert min(found) > real, "the count is right now"

found = counts("Conv", 4, (8, 4, 3, 3), kernel_shape=[3, 3], pads=[1] * 4)
print(f"Conv: {8 * 4 * 9 * 100} MACs | onnx-tool {found[0]} | onnx-opcounter {found[1]}")
assert found == (28_800, 28_800), "the count of an ordinary convolution has changed"
PROGRAM
