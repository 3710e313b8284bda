#!/usr/bin/env bash
# ESP-PPQ, Espressif's quantizer, averages with the padding's zeros, and pools in steps of the kernel where the file has no step.
#
# Guess: its executor, which calibrates and gives the float values that errors are measured against, computes what the file states,
# or raises an error as it does for Selu, LRN and CumSum.
# Seen with esp-ppq 1.3.12 (torch 2.13.0, onnx 1.19.1, numpy 2.4.6); onnxruntime 1.32.0 is right:
#                                                        right                  ESP-PPQ
#   AveragePool of 1, 2, 3, 4, 3 wide, pad 1             1.5, 2, 3, 3.5         1, 2, 3, 2.33
#     SAME_UPPER                                         1.5, 2, 3, 3.5         1, 2, 3, 2.33
#     count_include_pad=1                                1, 2, 3, 2.33          1, 2, 3, 2.33
#   MaxPool of 1 ... 6, 2 wide, no strides (1)           2, 3, 4, 5, 6          2, 4, 6
#   ConvTranspose, 4 x 4, without its last column
#     (pads 0, 0, 0, 1)                                  4 x 3                  3 x 4: without its last row
#   Resize, linear, asymmetric, 1, 2, 3, 4 to 8          1, 1.5, 2, 2.5 ...     1, 1.25, 1.75, 2.25 ...
#   InstanceNormalization of 0, 1, 2, 3, epsilon 1       -1, -0.33, 0.33, 1     -1.34, -0.45, 0.45, 1.34
#   SpaceToDepth of 1 ... 8, two channels                1, 5, 2, 6, 3, 7 ...   1, 2, 3, 4, 5 ...
#   LogSoftmax of 0, 50, 200                             -200, -150, 0          -infinity, -infinity, 0
#   LSTM with clip=0.5                                   as without clip
# The scales of all layers behind such a layer come from the wrong numbers, while its
# report of errors compares the quantized network with the same executor: both are wrong in the same way.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check esp-ppq==1.3.12 torch==2.13.0 onnx==1.19.1 \
    onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
venv/bin/python - 2>errors >log <<'PROGRAM' || { cat log errors >&2; exit 1; }
import numpy as np
import onnx
import onnxruntime
import torch
from esp_ppq.api import load_onnx_graph
from esp_ppq.executor import TorchExecutor
from onnx import helper, numpy_helper

INFINITY = float("inf")


def row(*numbers):
    return np.array(numbers, np.float32).reshape(1, 1, 1, -1)


def check(label, operator, x, right, ppq, *constants, **attributes):
    """Compare the first numbers of an operator's output from ONNX Runtime and ESP-PPQ with those that were seen."""
    names = [f"c{k}" if constant is not None else "" for k, constant in enumerate(constants)]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *names], ["y"], name="node", **attributes)], "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(constant, name) for constant, name in zip(constants, names) if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    onnx.save(model, "net.onnx")
    expected = onnxruntime.InferenceSession("net.onnx").run(None, {"x": x})[0].ravel().astype(float)
    executor = TorchExecutor(load_onnx_graph("net.onnx"), device="cpu")
    seen = executor.forward({"x": torch.from_numpy(x)})[0].numpy().ravel().astype(float)
    print(f"FIGURE {label}: right {np.round(expected, 2).tolist()}, ESP-PPQ {np.round(seen, 2).tolist()}")
    assert np.allclose(expected[: len(right)], right, atol=0.01), "ONNX Runtime computes something else"
    assert np.allclose(seen[: len(ppq)], ppq, atol=0.01), "ESP-PPQ computes something else now"
    assert label == "count_include_pad" or len(seen) != len(expected) or not np.allclose(seen, expected, atol=0.01)


four = row(1, 2, 3, 4)
wide = {"kernel_shape": [1, 3], "strides": [1, 1]}
check("AveragePool", "AveragePool", four, [1.5, 2, 3, 3.5], [1, 2, 3, 7 / 3], pads=[0, 1, 0, 1], **wide)
check("SAME_UPPER", "AveragePool", four, [1.5, 2, 3, 3.5], [1, 2, 3, 7 / 3], auto_pad="SAME_UPPER", **wide)
check("count_include_pad", "AveragePool", four, [1, 2, 3, 7 / 3], [1, 2, 3, 7 / 3], pads=[0, 1, 0, 1], count_include_pad=1, **wide)
check("MaxPool", "MaxPool", row(1, 2, 3, 4, 5, 6), [2, 3, 4, 5, 6], [2, 4, 6], kernel_shape=[1, 2])
check("ConvTranspose", "ConvTranspose", np.ones((1, 1, 2, 2), np.float32), [1, 2, 1, 3, 4, 3], [1, 2, 1, 2, 3, 4, 3, 4],
      np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2), kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 1])
check("Resize", "Resize", four, [1, 1.5, 2, 2.5], [1, 1.25, 1.75, 2.25], None, np.array([1, 1, 1, 2], np.float32),
      mode="linear", coordinate_transformation_mode="asymmetric")
check("InstanceNormalization", "InstanceNormalization", row(0, 1, 2, 3), [-1, -1 / 3, 1 / 3, 1], [-1.34, -0.45, 0.45, 1.34],
      np.ones(1, np.float32), np.zeros(1, np.float32), epsilon=1.0)
check("SpaceToDepth", "SpaceToDepth", np.arange(1, 9, dtype=np.float32).reshape(1, 2, 2, 2), [1, 5, 2, 6, 3, 7], [1, 2, 3, 4, 5],
      blocksize=2)
check("LogSoftmax", "LogSoftmax", row(0, 50, 200), [-200, -150, 0], [-INFINITY, -INFINITY, 0])
weights = np.random.RandomState(0).randn(1, 8, 1).astype(np.float32), np.random.RandomState(0).randn(1, 8, 2).astype(np.float32)
check("LSTM", "LSTM", np.array([1, 2, 3], np.float32).reshape(3, 1, 1), [0.17, -0.06], [0.41, -0.08], *weights,
      hidden_size=2, clip=0.5)
PROGRAM
grep FIGURE log
