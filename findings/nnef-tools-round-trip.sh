#!/usr/bin/env bash
# Khronos' converter returns another network from ONNX to NNEF and back: Softmax, Elu, Selu, LpPool and SAME_LOWER change.
#
# Guess: what NNEF cannot express, or the converter does not know, is refused, as HardSigmoid is ("Conversion of operator
# is not implemented"); a network that is converted and converted back computes the same.
# Seen with nnef-tools 1.0.11 (nnef 1.0.10, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6):
#                                                       before              after           lost on the way
#   Softmax, axis 1, of 1 x 2 x 1 x 3 zeros             0.5                 0.167           back
#   Elu of -4, -1 with alpha 0.5                        -0.491, -0.316      -0.982, -0.632  there
#   Selu of -4, 1 with alpha 1.2, gamma 0.9             -1.06, 0.9          -1.726, 1.051   there
#   LpPool of 1, 2, 3, two wide, p=1                    3, 5                2.236, 3.606    there
#   Conv, two wide, SAME_LOWER, of 1, 2, 3 by 1, 10     10, 21, 32          21, 32, 3       there
#   AveragePool with dilations 2, of 1 ... 5            2, 3, 4             1.5 ... 4.5     back
# On the way back it writes opset 11, in which Softmax takes the axes from `axis` on as one row: a class map that is a softmax
# over channels adds up to one over the whole image. LeakyRelu and SAME_UPPER survive. "Written" is printed each time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    nnef-tools==1.0.11 nnef==1.0.10 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

onnxruntime.set_default_logger_severity(3)  # it warns of weights that are inputs too


def convert(before, after, *names):
    command = [sys.executable, "-m", "nnef_tools.convert", "--input-format", before, "--output-format", after]
    command += ["--input-model", names[0], "--output-model", names[1]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "Written" in done.stdout, done.stdout + done.stderr


def run(name, x):
    session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def round_trip(operator, x, shape, weights=None, opset=13, **attributes):
    """Return the operator's output before and after, and the text of the NNEF file."""
    x = np.array(x, np.float32)
    constants = [] if weights is None else [numpy_helper.from_array(np.array(weights, np.float32), "w")]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"] + [each.name for each in constants], ["y"], **attributes)],
        "network",  # "graph" is a word of NNEF, and its own parser refuses the file
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "before.onnx")
    shutil.rmtree("network.nnef", ignore_errors=True)
    convert("onnx", "nnef", "before.onnx", "network.nnef")
    convert("nnef", "onnx", "network.nnef", "after.onnx")
    with open("network.nnef/graph.nnef") as file:
        text = [line.strip() for line in file if " = " in line]
    return run("before.onnx", x).ravel(), run("after.onnx", x).ravel(), text[-1]


row = [[[[1, 2, 3, 4, 5]]]]
lower, upper = {"auto_pad": "SAME_LOWER"}, {"auto_pad": "SAME_UPPER"}
for operator, x, shape, options, before, after in [
    ("Softmax", np.zeros((1, 2, 1, 3)), [1, 2, 1, 3], {"axis": 1}, [0.5] * 6, [1 / 6] * 6),
    ("Elu", [[-4, -1]], [1, 2], {"alpha": 0.5}, 0.5 * np.expm1([-4, -1]), np.expm1([-4, -1])),
    ("Selu", [[-4, 1]], [1, 2], {"alpha": 1.2, "gamma": 0.9}, [-1.0602, 0.9], [-1.7259, 1.0507]),
    ("LpPool", row, [1, 1, 1, 4], {"kernel_shape": [1, 2], "p": 1}, [3, 5, 7, 9], np.sqrt([5, 13, 25, 41])),
    ("Conv", row, [1, 1, 1, 5], {"weights": [[[[1, 10]]]]} | lower, [10, 21, 32, 43, 54], [21, 32, 43, 54, 5]),
    (
        "AveragePool",
        row,
        [1, 1, 1, 3],
        {"kernel_shape": [1, 2], "dilations": [1, 2], "opset": 19},
        [2, 3, 4],
        [1.5, 2.5, 3.5, 4.5],
    ),
    ("Conv", row, [1, 1, 1, 5], {"weights": [[[[1, 10]]]]} | upper, [21, 32, 43, 54, 5], [21, 32, 43, 54, 5]),
    ("LeakyRelu", [[-4, 1]], [1, 2], {"alpha": 0.3}, [-1.2, 1], [-1.2, 1]),
]:
    was, now, text = round_trip(operator, x, shape, **options)
    print(f"{operator} {options} | before {was.round(3)} | after {now.round(3)} | NNEF: {text}")
    assert np.allclose(was, before, atol=1e-3), "onnxruntime differs from the documentation"
    assert now.shape == np.shape(after) and np.allclose(now, after, atol=1e-3), "the behaviour has changed"
PROGRAM
