#!/usr/bin/env bash
# pnnx, the way from ONNX to ncnn, leaves out the mean over channels of opset 18, picks one channel where two are asked for,
# and pools windows that are not there.
#
# Guess: what ncnn has not is refused by ncnn, as ReduceMax with opset 18 is ("layer not exists or registered"); what loads
# computes what the file says.
# Seen with pnnx 20261020 and ncnn 1.0.20261020 (onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6), behind a convolution that
# copies its input, for 1 ... 4, 1 ... 7 or four channels of two: 1, 2 to 7, 8:
#                                                    right                  ncnn
#   ReduceMean over channels, opset 18               4, 5                   1, 2, 3, 4, 5, 6, 7, 8; opset 11: right
#   Gather of the channels 3 and 1                   7, 8, 3, 4             3, 4
#   MaxPool, 2 wide, stride 2, pads 1 and 0          1, 3, 5, 7             -3.4e38, 2, 4, 6, 7; SAME_LOWER: right
#   AveragePool, 2 wide, stride 2, SAME_UPPER        1.5, 3.5, 5.5, 7       1.5, 3.5, 5.5, 3.5: a zero counts
#   ConvTranspose by 1, 10, 100, stride 2, to 7      10, 102, 20, 203 ...   9 numbers: 1, 10, 102, 20 ...
#   Resize, linear, asymmetric, to 8                 1, 1.5, 2, 2.5 ... 4   1, 1.25, 1.75 ... 4: half_pixel
#   Resize, nearest, align_corners, to 2             1, 4                   1, 3
#   Slice backwards                                  4, 3, 2, 1             1, 2, 3, 4
#   Softmax, opset 11, axis 1, of eight zeros        0.125                  0.25: over the four channels alone
#   PRelu, a slope per column: 1, 2, 3, 4            -1, -4, -9, -16        -1, -2, -3, -4
#   Shrink, lambd 1.5, bias 0.5                      0, 1.5, 2.5, 3.5       0.5, 1.5, 2.5, 3.5: lambd is the bias
#   Softplus of 100                                  100                    infinity (ncnn's own)
# Opset 18 moved the axes of ReduceMean from an attribute to an input; newer exporters write that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ncnn==1.0.20261020 onnx==1.23.2 onnxruntime==1.32.0 \
    numpy==2.4.6
# The converter is one program; what the package depends on, PyTorch, is for exporting.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps pnnx==20261020
cd "$folder"
converter=$(find "$folder/venv" -path '*/pnnx/pnnx' -type f)
export converter
"$folder/venv/bin/python" - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import os
import subprocess

import ncnn
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def outputs(operator, x, shape, opset=18, inputs=(), **attributes):
    """Return an operator's output with ONNX Runtime, and with ncnn after the conversion."""
    channels = x.shape[1]
    constants = {"copy": np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)}
    names = []
    for number, constant in enumerate(inputs):
        names.append("" if constant is None else f"constant{number}")
        if constant is not None:
            constants[names[-1]] = constant
    nodes = [
        helper.make_node("Conv", ["x", "copy"], ["c"]),
        helper.make_node(operator, ["c", *names], ["y"], **attributes),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "net.onnx")
    (right,) = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})
    subprocess.run([os.environ["converter"], "net.onnx", "fp16=0"], check=True, capture_output=True)
    net = ncnn.Net()
    assert net.load_param("net.ncnn.param") == 0 and net.load_model("net.ncnn.bin") == 0
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(np.ascontiguousarray(x[0])).clone())
    _, found = extractor.extract("out0")
    return right.ravel(), np.array(found).ravel()


def floats(*numbers):
    return np.array(numbers, np.float32)


def integers(*numbers):
    return np.array(numbers, np.int64)


four, seven = floats(1, 2, 3, 4).reshape(1, 1, 1, 4), floats(1, 2, 3, 4, 5, 6, 7).reshape(1, 1, 1, 7)
maps = np.arange(1, 9, dtype=np.float32).reshape(1, 4, 1, 2)
kernel, double, half = floats(1, 10, 100).reshape(1, 1, 1, 3), floats(1, 1, 1, 2), floats(1, 1, 1, 0.5)
window = {"kernel_shape": [1, 2], "strides": [1, 2]}
lowest = float(np.finfo(np.float32).min)
for label, found, right, by_ncnn in [
    (
        "ReduceMean, opset 18",
        outputs("ReduceMean", maps, (1, 1, 1, 2), inputs=[integers(1)]),
        [4, 5],
        [1, 2, 3, 4, 5, 6, 7, 8],
    ),
    ("ReduceMean, opset 11", outputs("ReduceMean", maps, (1, 1, 1, 2), 11, axes=[1]), [4, 5], [4, 5]),
    ("Gather", outputs("Gather", maps, (1, 2, 1, 2), inputs=[integers(3, 1)], axis=1), [7, 8, 3, 4], [3, 4]),
    (
        "MaxPool, pads",
        outputs("MaxPool", seven, (1, 1, 1, 4), pads=[0, 1, 0, 0], **window),
        [1, 3, 5, 7],
        [lowest, 2, 4, 6, 7],
    ),
    (
        "MaxPool, SAME_LOWER",
        outputs("MaxPool", seven, (1, 1, 1, 4), auto_pad="SAME_LOWER", **window),
        [1, 3, 5, 7],
        [1, 3, 5, 7],
    ),
    (
        "AveragePool, SAME_UPPER",
        outputs("AveragePool", seven, (1, 1, 1, 4), auto_pad="SAME_UPPER", **window),
        [1.5, 3.5, 5.5, 7],
        [1.5, 3.5, 5.5, 3.5],
    ),
    (
        "ConvTranspose, output_shape",
        outputs("ConvTranspose", four, (1, 1, 1, 7), inputs=[kernel], strides=[1, 2], output_shape=[1, 7]),
        [10, 102, 20, 203, 30, 304, 40],
        [1, 10, 102, 20, 203, 30, 304, 40, 400],
    ),
    (
        "Resize, linear, asymmetric",
        outputs(
            "Resize",
            four,
            (1, 1, 1, 8),
            inputs=[None, double],
            mode="linear",
            coordinate_transformation_mode="asymmetric",
        ),
        [1, 1.5, 2, 2.5, 3, 3.5, 4, 4],
        [1, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4],
    ),
    (
        "Resize, nearest, align_corners",
        outputs(
            "Resize",
            four,
            (1, 1, 1, 2),
            inputs=[None, half],
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="align_corners",
        ),
        [1, 4],
        [1, 3],
    ),
    (
        "Slice, step -1",
        outputs("Slice", four, four.shape, inputs=[integers(n) for n in (-1, -100, 3, -1)]),
        [4, 3, 2, 1],
        [1, 2, 3, 4],
    ),
    ("Softmax, opset 11", outputs("Softmax", 0 * maps, maps.shape, 11, axis=1), [0.125] * 8, [0.25] * 8),
    ("PRelu", outputs("PRelu", -four, four.shape, inputs=[four.ravel()]), [-1, -4, -9, -16], [-1, -2, -3, -4]),
    (
        "Shrink",
        outputs("Shrink", four, four.shape, lambd=1.5, bias=0.5),
        [0, 1.5, 2.5, 3.5],
        [0.5, 1.5, 2.5, 3.5],
    ),
    ("Softplus", outputs("Softplus", 25 * four, four.shape), [25, 50, 75, 100], [25, 50, 75, np.inf]),
]:
    print(f"{label} | right {found[0].round(3)} | ncnn {found[1].round(3)}")
    assert np.allclose(found[0], right, atol=1e-3), "ONNX Runtime's behaviour has changed"
    assert len(found[1]) == len(by_ncnn), "the behaviour has changed"
    assert np.allclose(found[1], by_ncnn, atol=1e-3), "the behaviour has changed"
PROGRAM
