#!/usr/bin/env bash
# The node times in ONNX Runtime's profile add up to twice the run's time with a Loop, and three times with a Loop in an If.
#
# Guess: the "dur" of the events of category Node add up to that of "model_run", less a little, as each node is one event.
# Seen with onnxruntime 1.32.0 (onnx 1.23.2, numpy 2.4.6), x86-64, one thread: 20 times a MatMul of 600 x 600 and a Tanh. As
# multiples of model_run:
#                                   one after another    in a Loop    a Loop in an If
#   all events of category Node                  1.00         2.00               3.00
#     MatMul alone                               0.97         0.95               0.94
#     Loop and If                                             1.00               2.00
#   "SequentialExecutor::Execute"                1.00         2.00               3.00
# A Loop or an If is an event as long as those of its body, which follow beside it with nothing that tells that they belong to
# it. Shares per operator that are taken of the sum show half of the truth, and a sum per network twice the latency. Recurrent
# networks and detectors with a loop over classes have them. Divide by model_run.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PROGRAM'
import json
from collections import Counter

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

weights = (np.random.default_rng(0).normal(size=(600, 600)) * 0.04).astype(np.float32)
x = np.ones((600, 600), np.float32)


def value(name, kind=TensorProto.FLOAT, shape=(600, 600)):
    return helper.make_tensor_value_info(name, kind, shape)


constants = [
    numpy_helper.from_array(weights, "w"),
    numpy_helper.from_array(np.array(20), "n"),
    numpy_helper.from_array(np.array(True), "go"),
]
steps = []
for number in range(20):
    steps.append(helper.make_node("MatMul", [f"x{number}" if number else "x", "w"], [f"a{number}"]))
    steps.append(helper.make_node("Tanh", [f"a{number}"], [f"x{number + 1}" if number < 19 else "y"]))
body = helper.make_graph(
    [
        helper.make_node("MatMul", ["state", "w"], ["a"]),
        helper.make_node("Tanh", ["a"], ["next"]),
        helper.make_node("Identity", ["going"], ["on"]),
    ],
    "body",
    [value("i", TensorProto.INT64, ()), value("going", TensorProto.BOOL, ()), value("state")],
    [value("on", TensorProto.BOOL, ()), value("next")],
)
loop = helper.make_node("Loop", ["n", "go", "x"], ["y"], body=body)
inner = helper.make_node("Loop", ["n", "go", "x"], ["z"], body=body)
branch = helper.make_graph([inner], "branch", [], [value("z")])
other = helper.make_graph([helper.make_node("Identity", ["x"], ["q"])], "other", [], [value("q")])
choice = helper.make_node("If", ["wanted"], ["y"], then_branch=branch, else_branch=other)
wanted = np.array(True)


def shares(nodes, extra=None):
    """Return the time of all nodes, of MatMul, of Loop and If, and of the executors, as multiples of model_run."""
    inputs = [value("x")] + ([value("wanted", TensorProto.BOOL, ())] if extra else [])
    graph = helper.make_graph(nodes, "graph", inputs, [value("y")], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.intra_op_num_threads, options.log_severity_level = True, 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for _ in range(3):
        session.run(None, {"x": x, **(extra or {})})
    times = Counter()
    with open(session.end_profiling()) as file:
        for event in json.load(file):
            if event["cat"] == "Node":
                times["nodes"] += event["dur"]
                times[event["args"]["op_name"]] += event["dur"]
            else:
                times[event["name"]] += event["dur"]
    parts = times["nodes"], times["MatMul"], times["Loop"] + times["If"], times["SequentialExecutor::Execute"]
    return [part / times["model_run"] for part in parts]


for label, found, total in [
    ("one after another", shares(steps), 1),
    ("Loop", shares([loop]), 2),
    ("Loop in If", shares([choice], {"wanted": wanted}), 3),
]:
    print(f"{label}: nodes {found[0]:.2f}, MatMul {found[1]:.2f}, Loop and If {found[2]:.2f}, executors {found[3]:.2f}")
    assert abs(found[0] - total) < 0.2 and abs(found[3] - total) < 0.2, "the sum has changed"
    assert found[1] > 0.8 and abs(found[2] - (total - 1)) < 0.2, "the parts have changed"
PROGRAM
