#!/usr/bin/env bash
# IREE squares a negative number to NaN beside another exponent, limits a cast to uint8 at 127, and averages other windows.
#
# Guess: what the importer does not know it refuses, as a reversed GRU and an output_shape are ("failed to legalize"); the
# simplest operators are right.
# Seen with iree-base-compiler and iree-base-runtime 3.13.0 (onnx 1.23.2, numpy 2.4.6), llvm-cpu for a generic x86-64;
# onnxruntime 1.32.0 is right:
#                                                     right                    IREE
#   Pow of -2, -3, 2 with 2, 3, -1                    4, -27, 0.5              NaN, NaN, 0.5
#     -2, -3, 2 with one exponent, 3                  -8, -27, 8               the same
#     int32: 2, 3, -2 with 3, 2, 3                    8, 9, -8                 8, 9, -2147483648
#   Cast of 0.7, 254.6, 2.5 to uint8                  0, 254, 2                0, 127, 2
#   AveragePool of 1 ... 7, ceil_mode
#     3 wide, stride 3                                2, 5, 7                  1.5, 4, 6.5
#     2 wide, stride 2, count_include_pad             1.5, 3.5, 5.5, 7         1.5, 3.5, 5.5, 3.5
#   MaxPool of 1 ... 7, 3 wide, stride 3, ceil_mode   3, 6, 7                  the same
#   Upsample, opset 9, linear, of 1, 2, 3, 4 by 2     1, 1.5, 2, 2.5 ... 4     1, 1.25, 1.75, 2.25 ... 4
#   Hardmax, opset 11, of two rows of three           one 1 in both            one 1 in each row
#   ReduceLogSumExp of 0, 100                         100                      infinity
# With one exponent for all, Pow is right; with several it is NaN for each negative base, as exp(y * log(x)) is. Nothing is
# printed. Bytes and gamma curves in a network's preprocessing, and the upsampling of old segmentation networks, are such layers.
set -euo pipefail
[ "$(uname -m)" = x86_64 ] || { echo "this one is about x86-64" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check iree-base-compiler==3.13.0 iree-base-runtime==3.13.0 \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
cat >compare.py <<'PROGRAM'
import subprocess
import sys

import iree.runtime
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def numbers(*values, dtype=np.float32):
    return np.array(values, dtype)


def by_iree(model, x):
    onnx.save(model, "net.onnx")
    for command in (
        [sys.executable, "-m", "iree.compiler.tools.import_onnx", "net.onnx", "-o", "net.mlir"],
        ["venv/bin/iree-compile", "net.mlir", "--iree-hal-target-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=generic"]
        + ["-o", "net.vmfb"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    with open("net.vmfb", "rb") as file:
        module = iree.runtime.load_vm_flatbuffer(file.read(), driver="local-sync")
    result = module["graph"](x)
    return np.array(result.to_host()).ravel()  # a copy: to_host() shows memory of the module


def outputs(operator, x, constants=(), opset=13, **attributes):
    weights = [numpy_helper.from_array(constant, f"w{number}") for number, constant in enumerate(constants)]
    node = helper.make_node(operator, ["x", *(weight.name for weight in weights)], ["y"], **attributes)
    start = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    graph = helper.make_graph([node], "graph", [start], [helper.make_empty_tensor_value_info("y")], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].ravel(), by_iree(model, x)


def pooled(kind, width, **attributes):
    row = numbers(1, 2, 3, 4, 5, 6, 7).reshape(1, 1, 1, 7)
    return outputs(kind, row, kernel_shape=[1, width], strides=[1, width], ceil_mode=1, **attributes)


nan, inf = np.nan, np.inf
whole = numbers(2, 3, -2, dtype=np.int32)
four = numbers(1, 2, 3, 4).reshape(1, 1, 1, 4)
six = numbers(1, 2, 3, 4, 5, 6).reshape(1, 2, 3)
moved = [1, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4]
for label, found, seen in [
    ("Pow, three exponents", outputs("Pow", numbers(-2, -3, 2), [numbers(2, 3, -1)]), [nan, nan, 0.5]),
    ("Pow, one exponent", outputs("Pow", numbers(-2, -3, 2), [numbers(3)]), None),
    ("Pow, int32", outputs("Pow", whole, [numbers(3, 2, 3, dtype=np.int32)]), [8, 9, -(2**31)]),
    ("Cast to uint8", outputs("Cast", numbers(0.7, 254.6, 2.5), to=TensorProto.UINT8), [0, 127, 2]),
    ("AveragePool, 3 wide", pooled("AveragePool", 3), [1.5, 4, 6.5]),
    ("AveragePool, count_include_pad", pooled("AveragePool", 2, count_include_pad=1), [1.5, 3.5, 5.5, 3.5]),
    ("MaxPool, 3 wide", pooled("MaxPool", 3), None),
    ("Upsample", outputs("Upsample", four, [numbers(1, 1, 1, 2)], opset=9, mode="linear"), moved),
    ("Hardmax, opset 11", outputs("Hardmax", six, opset=11), [0, 0, 1, 0, 0, 1]),
    ("Hardmax, opset 13", outputs("Hardmax", six), None),
    ("ReduceLogSumExp", outputs("ReduceLogSumExp", numbers(0, 100), keepdims=0), [inf]),
]:
    right, by_this = found
    print(f"{label} | right {right.round(3).tolist()} | IREE {by_this.round(3).tolist()}")
    expected = right if seen is None else np.array(seen)
    assert np.allclose(by_this, expected, atol=1e-3, equal_nan=True), "IREE's behaviour has changed"
    assert seen is None or not np.allclose(right, expected, atol=1e-3), "onnxruntime's behaviour has changed"
PROGRAM
venv/bin/python compare.py 2>log || { cat log >&2; exit 1; }
