#!/usr/bin/env bash
# MNN's converter reads SAME_LOWER of ONNX as SAME_UPPER, and misreads AveragePool, Shrink, Reduce and Gemm.
#
# Guess: what cannot be expressed is refused, as Hardmax and Mish are ("These Op Not Support").
# Seen with MNN 3.6.1 (onnx 1.23.2, numpy 2.4.6); onnxruntime 1.32.0 is right. For the row 1, 2, 3, 4, 5:
#   SAME_LOWER, 2 wide, stride 2     MaxPool 2, 4, 5 instead of 1, 3, 5; AveragePool, Conv and ConvTranspose likewise
#   AveragePool, count_include_pad   with a pad at the end: 1.5, 3.5, 5 instead of 1.5, 3.5, 2.5
#   Shrink of -2, 2 (lambd 0.5)      0, 2 instead of -2, 2
#   ReduceL1, L2, LogSum, LogSumExp  1 x 3 x 4 instead of 1 x 1 x 3 x 4: keepdims, 1 unless given, is taken for 0;
#     and SumSquare over axis 1      with keepdims: 1 in the file they are right; Max, Mean, Min and Prod always are
#   Gemm with C of 3 x 1             C is added as a row
# SAME_UPPER is right. Except for the Reduce operators, all shapes agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    MNN==3.6.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
# MNN's tools run `pip install` at their start; see mnn-tools-run-pip.sh.
mkdir "$folder/first"
printf '#!/bin/sh\nexit 1\n' >"$folder/first/pip"
chmod +x "$folder/first/pip"
cd "$folder"
PATH="$folder/first:$PATH" "$folder/venv/bin/python" - <<'PROGRAM'
import subprocess

import MNN
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CAFFE = MNN.Tensor_DimensionType_Caffe


def outputs(operator, x, *constants, **attributes):
    """Return the outputs of onnxruntime and of MNN."""
    names = [f"c{number}" for number in range(len(constants))]

    def model(shape):
        graph = helper.make_graph(
            [helper.make_node(operator, ["x", *names], ["y"], **attributes)],
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(value, name) for name, value in zip(names, constants)],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    def run(network):
        session = onnxruntime.InferenceSession(
            network.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(None, {"x": x})[0]

    right = run(model([f"d{number}" for number in range(x.ndim)]))
    network = model(right.shape)
    onnx.checker.check_model(network, full_check=True)
    onnx.save(network, "network.onnx")
    command = ["venv/bin/mnnconvert", "-f", "ONNX", "--modelFile", "network.onnx"]
    subprocess.run(
        [*command, "--MNNModel", "network.mnn", "--bizCode", "n"], check=True, capture_output=True
    )
    interpreter = MNN.Interpreter("network.mnn")
    session = interpreter.createSession()
    interpreter.getSessionInput(session).copyFrom(MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, CAFFE))
    interpreter.runSession(session)
    output = interpreter.getSessionOutput(session)
    shape = output.getShape()
    found = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32), CAFFE)
    output.copyToHostTensor(found)
    return right, np.array(found.getData(), np.float32).reshape(shape)


def check(label, found, right, wrong):
    """Compare values, or shapes where `right` is a tuple."""
    seen = [each.shape if isinstance(right, tuple) else each.ravel().tolist() for each in found]
    print(f"{label}: onnxruntime {seen[0]}, MNN {seen[1]}")
    assert np.allclose(seen[0], right, atol=1e-4), "onnxruntime has changed"
    assert np.allclose(seen[1], wrong, atol=1e-4), "the behaviour has changed"


ROW = np.arange(1, 6, dtype=np.float32).reshape(1, 1, 1, 5)
TWO = np.array([1, 10], np.float32).reshape(1, 1, 1, 2)
THREE = np.array([1, 10, 100], np.float32).reshape(1, 1, 1, 3)
POOL = {"kernel_shape": [1, 2], "strides": [1, 2]}
FULL = [1, 10, 102, 20, 203, 30, 304, 40, 405, 50, 500]
for padding, first in (("SAME_LOWER", 1), ("SAME_UPPER", 0)):
    same = {"auto_pad": padding}
    upper = [[2, 4, 5], [1.5, 3.5, 5], [21, 43, 5], FULL[:-1]]
    right = [[1, 3, 5], [1, 2.5, 4.5], [10, 32, 54], FULL[1:]] if first else upper
    found = [
        outputs("MaxPool", ROW, **POOL, **same),
        outputs("AveragePool", ROW, **POOL, **same),
        outputs("Conv", ROW, TWO, strides=[1, 2], **same),
        outputs("ConvTranspose", ROW, THREE, strides=[1, 2], **same),
    ]
    for name, each, values, of_mnn in zip(("MaxPool", "AveragePool", "Conv", "ConvTranspose"), found, right, upper):
        check(f"{name}, {padding}", each, values, of_mnn)
counted = outputs("AveragePool", ROW, **POOL, pads=[0, 0, 0, 1], count_include_pad=1)
check("AveragePool, count_include_pad", counted, [1.5, 3.5, 2.5], [1.5, 3.5, 5])
check("Shrink", outputs("Shrink", np.array([-2, 2], np.float32), lambd=0.5), [-2, 2], [0, 2])
ones = np.ones((1, 2, 3, 4), np.float32)
for name in ("L1", "L2", "LogSum", "LogSumExp", "SumSquare", "Max", "Mean", "Min", "Prod"):
    dropped = (1, 3, 4) if name[0] == "L" or name == "SumSquare" else (1, 1, 3, 4)
    seen = [each.shape for each in outputs(f"Reduce{name}", ones, axes=[1])]
    print(f"Reduce{name}: onnxruntime {seen[0]}, MNN {seen[1]}")
    assert seen == [(1, 1, 3, 4), dropped], "the behaviour has changed"
    assert outputs(f"Reduce{name}", ones, axes=[1], keepdims=1)[1].shape == (1, 1, 3, 4), "keepdims=1 has changed"
identity, column = np.eye(3, dtype=np.float32), np.array([[1], [2], [3]], np.float32)
check(
    "Gemm, C of 3 x 1", outputs("Gemm", identity, identity, column),
    [2, 1, 1, 2, 3, 2, 3, 3, 4], [2, 2, 3, 1, 3, 3, 1, 2, 4],
)
PROGRAM
