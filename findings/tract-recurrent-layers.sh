#!/usr/bin/env bash
# tract runs a recurrent layer of direction "reverse" forwards, and ignores its activations and its clip.
#
# Guess: an engine refuses what it does not implement; where "forward" and "bidirectional" are right, "reverse" is too.
# Seen with tract 0.23.9 (onnx 1.23.2, numpy 2.4.6) for the inputs 1, 2, 3, weights 1, recurrent weights 0.5, no bias:
#                                     tract                   right (onnxruntime 1.32.0 too)
#   RNN, forward                      0.762, 0.983, 0.998     0.762, 0.983, 0.998
#   RNN, reverse                      0.762, 0.983, 0.998     0.904, 0.987, 0.995; GRU and LSTM likewise
#   RNN, bidirectional                right in both directions
#   RNN, activations=["Relu"]         0.762, 0.983, 0.998     1, 2.5, 4.25
#   RNN, clip=0.5                     0.762, 0.983, 0.998     0.462, 0.462, 0.462
#   LSTM, HardSigmoid for Sigmoid     0.370, 0.791, 0.948     0.341, 0.829, 0.984
# ONNX's own reference evaluator reads the direction and ignores clip, and the activations of LSTM and GRU, like tract: two
# engines agree on values that are wrong. Keras' LSTM had HardSigmoid by default for years.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    tract==0.23.9 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
import onnx
import onnxruntime
import tract
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

INPUTS = np.array([1, 2, 3], np.float32).reshape(3, 1, 1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def rnn(inputs, activation=np.tanh, clip=np.inf):
    """Return the outputs of a layer of one unit, by the formula of the operator's documentation."""
    state, outputs = 0.0, []
    for x in inputs:
        state = activation(np.clip(x + 0.5 * state, -clip, clip))
        outputs.append(state)
    return outputs


def lstm(inputs, gate=sigmoid):
    state, cell, outputs = 0.0, 0.0, []
    for x in inputs:
        opened, update = gate(x + 0.5 * state), np.tanh(x + 0.5 * state)
        cell = opened * cell + opened * update
        state = opened * np.tanh(cell)
        outputs.append(state)
    return outputs


def gru(inputs):
    state, outputs = 0.0, []
    for x in inputs:
        opened = sigmoid(x + 0.5 * state)
        state = (1 - opened) * np.tanh(x + 0.5 * opened * state) + opened * state
        outputs.append(state)
    return outputs


def outputs(operator, gates, **attributes):
    """Return the layer's outputs with tract, with onnxruntime and with onnx.reference."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    weights = {
        name: np.full((directions, gates, 1), value, np.float32) for name, value in [("w", 1), ("r", 0.5)]
    }
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w", "r"], ["y"], hidden_size=1, **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, directions, 1, 1])],
        [numpy_helper.from_array(each, name) for name, each in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "model.onnx")
    (by_tract,) = tract.onnx().load("model.onnx").into_model().into_runnable().run([INPUTS])
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    (by_runtime,) = session.run(None, {"x": INPUTS})
    try:
        (by_reference,) = ReferenceEvaluator(model).run(None, {"x": INPUTS})
    except RuntimeError:  # it has no Relu for an RNN
        by_reference = None
    return by_tract.to_numpy(), by_runtime, by_reference


series = INPUTS.ravel()
for operator, gates, layer, right, ignored, reference_is in [
    ("RNN", 1, {}, rnn(series), rnn(series), "right"),
    ("RNN", 1, {"direction": "reverse"}, rnn(series[::-1])[::-1], rnn(series), "right"),
    ("GRU", 3, {"direction": "reverse"}, gru(series[::-1])[::-1], gru(series), "right"),
    ("LSTM", 4, {"direction": "reverse"}, lstm(series[::-1])[::-1], lstm(series), "right"),
    ("RNN", 1, {"activations": ["Relu"]}, rnn(series, lambda x: max(x, 0)), rnn(series), "missing"),
    ("RNN", 1, {"clip": 0.5}, rnn(series, clip=0.5), rnn(series), "as tract"),
    (
        "LSTM",
        4,
        {"activations": ["HardSigmoid", "Tanh", "Tanh"]},
        lstm(series, hard_sigmoid),
        lstm(series),
        "as tract",
    ),
]:
    by_tract, by_runtime, by_reference = outputs(operator, gates, **layer)
    print(operator, layer, "| tract", by_tract.ravel().round(3), "| right", np.round(right, 3))
    assert np.allclose(by_runtime.ravel(), right, atol=1e-5), "onnxruntime differs from the formula"
    assert np.allclose(by_tract.ravel(), ignored, atol=1e-5), "tract's behaviour has changed"
    if reference_is == "missing":
        assert by_reference is None, "the reference has this activation now"
    else:
        expected = right if reference_is == "right" else ignored
        assert np.allclose(by_reference.ravel(), expected, atol=1e-5), "the reference has changed"

both, *_ = outputs("RNN", 1, direction="bidirectional")
print("RNN bidirectional | tract", both[:, 0].ravel().round(3), both[:, 1].ravel().round(3))
assert np.allclose(both[:, 0].ravel(), rnn(series), atol=1e-5)
assert np.allclose(both[:, 1].ravel(), rnn(series[::-1])[::-1], atol=1e-5)
PROGRAM
