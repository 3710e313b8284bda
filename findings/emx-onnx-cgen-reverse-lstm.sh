#!/usr/bin/env bash
# emx-onnx-cgen's C code returns the outputs of a reverse LSTM in the order in which it computes them: the last step first.
#
# Guess: a direction that the generator does not know ends the compilation, as "forward" does for a GRU and an RNN ("Unsupported
# GRU direction b'forward'"); what it writes is right.
# Seen with emx-onnx-cgen 1.4.0 (onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6), cc -O1, for an LSTM of one number on the inputs
# 1, 2, 3, all weights 1, recurrent weights 0.5, Y for the three steps:
#                      right (onnxruntime)       C
#   forward            0.370, 0.791, 0.948       the same
#   reverse            0.785, 0.861, 0.704       0.704, 0.861, 0.785
#   bidirectional
#     forward half     0.370, 0.791, 0.948       the same
#     reverse half     0.785, 0.861, 0.704       0.704, 0.861, 0.785
# Y_h, the last state, is right: a network that uses it alone is right, one that labels each step joins the first step's past with
# the last step's future. `emx-onnx-cgen compile` reports success; `emx-onnx-cgen verify` finds it, where onnxruntime
# is installed. Run verify for each network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check emx-onnx-cgen==1.4.0 onnx==1.23.2 \
    onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PROGRAM'
import subprocess

import numpy as np
import onnx
import onnxruntime
from emx_onnx_cgen.onnx_backend import EmxOnnxCgenBackend
from onnx import helper, numpy_helper

STEPS = np.array([1, 2, 3], np.float32).reshape(3, 1, 1)


def lstm(direction, operator="LSTM", gates=4):
    """Return a network of one recurrent layer with one number, whose weights are 1 and whose recurrent weights are 0.5."""
    both = 2 if direction == "bidirectional" else 1
    node = helper.make_node(operator, ["x", "w", "r"], ["y", "last"], name="node", hidden_size=1, direction=direction)
    graph = helper.make_graph(
        [node], "net", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3, 1, 1])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [3, both, 1, 1]),
         helper.make_tensor_value_info("last", onnx.TensorProto.FLOAT, [both, 1, 1])],
        [numpy_helper.from_array(np.full((both, gates, 1), value, np.float32), name) for name, value in [("w", 1), ("r", 0.5)]],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    return model


for direction in ("forward", "reverse", "bidirectional"):
    model = lstm(direction)
    right, right_last = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": STEPS})
    seen, last = (np.asarray(output) for output in EmxOnnxCgenBackend.prepare(model).run([STEPS]))
    print(f"{direction}: right", right.ravel().astype(float).round(3).tolist(), "C", seen.ravel().astype(float).round(3).tolist())
    assert np.allclose(last, right_last, atol=1e-3), "the last state is wrong now"
    expected = right.copy()
    if direction != "forward":
        expected[:, -1] = right[::-1, -1]
        assert not np.allclose(expected, right, atol=0.05)
    assert np.allclose(seen, expected, atol=1e-3), "the order has changed"
    onnx.save(model, f"{direction}.onnx")
    verified = subprocess.run(["venv/bin/emx-onnx-cgen", "verify", f"{direction}.onnx"], capture_output=True, text=True)
    print("  verify:", verified.stdout.strip().splitlines()[-1] if verified.stdout else verified.stderr[-80:])
    assert (verified.returncode == 0) == (direction == "forward"), "verify finds something else"
    subprocess.run(["venv/bin/emx-onnx-cgen", "compile", f"{direction}.onnx", f"{direction}.c"], check=True, capture_output=True)
try:
    EmxOnnxCgenBackend.prepare(lstm("forward", "GRU", 3))
except Exception as error:  # its own class of errors
    assert "Unsupported GRU direction" in str(error)
else:
    raise AssertionError("a GRU with a direction is read now")
PROGRAM
