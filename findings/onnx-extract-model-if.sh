#!/usr/bin/env bash
# onnx.utils.extract_model leaves out what the branches of an If read, even when nothing is to be cut off.
#
# Guess: extract_model from a network's input to its output returns the network, and a part of it what the part needs.
# Seen with onnx 1.23.2 (onnxruntime 1.32.0, numpy 2.4.6), for Relu, then an If whose branches read the Relu's output
# and a weight, then Relu:
#   from the input to the output    ValidationError: input 'r' is not output of any previous nodes
#   from r to the output            ValidationError: input 'k' is not output of any previous nodes
#   check_model=False               If and Relu without the first Relu and the weight; it does not load
#   from the input to r             right
# It follows the inputs of each node, and not those of the graphs inside a node. A detector that filters its boxes
# in ONNX may have an If; to find the layer whose output differs, it is cut.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

onnxruntime.set_default_logger_severity(4)


def value(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])


def branch(operator, output):
    return helper.make_graph([helper.make_node(operator, ["r", "k"], [output])], operator, [], [value(output)])


graph = helper.make_graph(
    [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node(
            "If", ["condition"], ["chosen"], then_branch=branch("Mul", "a"), else_branch=branch("Add", "b")
        ),
        helper.make_node("Relu", ["chosen"], ["y"]),
    ],
    "graph",
    [value("x")],
    [value("y")],
    [
        numpy_helper.from_array(np.array(True), "condition"),
        numpy_helper.from_array(np.full(4, 2, np.float32), "k"),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "whole.onnx")
X = np.arange(4, dtype=np.float32).reshape(1, 4)


def run(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: X})[0].ravel().tolist()


def extracted(first, last, check):
    """Return the nodes of the part and its output, or why there is none."""
    try:
        onnx.utils.extract_model("whole.onnx", "part.onnx", [first], [last], check_model=check)
    except onnx.checker.ValidationError as error:
        return "refused: " + str(error).split("input '")[1].split("'")[0]
    nodes = [node.op_type for node in onnx.load("part.onnx").graph.node]
    try:
        return nodes, run("part.onnx")
    except Exception:
        return nodes, "does not load"


assert run("whole.onnx") == [0, 2, 4, 6]
for first, last, check, expected in [
    ("x", "y", True, "refused: r"),
    ("r", "y", True, "refused: k"),
    ("x", "y", False, (["If", "Relu"], "does not load")),
    ("x", "r", True, (["Relu"], [0, 1, 2, 3])),
]:
    found = extracted(first, last, check)
    print(f"from {first} to {last}, check_model={check}: {found}")
    assert found == expected, "the behaviour has changed"
PROGRAM
