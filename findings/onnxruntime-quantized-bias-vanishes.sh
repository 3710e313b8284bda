#!/usr/bin/env bash
# ONNX Runtime's quantizer loses the bias of a channel with small weights, for unsigned weights per channel alone.
#
# Guess: per_channel=True is at least as exact as one scale for all channels; a bias of 2 becomes about 2.
# Seen with onnxruntime 1.32.0 (onnx 1.23.2, numpy 2.4.6), CPU, for a 1x1 convolution of two channels, weights 1 and a
# small one, biases 0.5 and 2, inputs -1 ... 1. The second channel's mean, right is 2:
#   weight   QInt8, per channel   QUInt8, one scale   QUInt8, per channel: QDQ unoptimized, QDQ, QOperator
#   1e-3     2                    2                   2      2      2
#   1e-5     2                    2                   1.32   0.41   0.41
#   1e-7     2                    2                   0.01   0      0
#   0        2                    2                   2      2      2
# A bias is stored as int32 in units of (input scale * weight scale). Where that overflows, the quantizer makes the
# weight scale of a signed channel larger; the bias of an unsigned one it clips, and logs a warning. Channels whose
# weights have all but vanished remain where BatchNormalization with a small scale is folded in; their bias is all that
# is left of them. QUInt8 weights are a way around the saturation that QInt8 ones meet on a PC without VNNI.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import logging

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

logging.disable(logging.WARNING)
X = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 1, 4, 4)
LEVELS = onnxruntime.GraphOptimizationLevel


class Samples(CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": X}]

    def get_next(self):
        return self.left.pop() if self.left else None


def second(path, level=LEVELS.ORT_ENABLE_ALL):
    """Return the mean of the second channel."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return float(session.run(None, {"x": X})[0][0, 1].mean())


def quantized(form, weight_type, per_channel):
    quantize_static(
        "float.onnx", "quantized.onnx", Samples(), quant_format=form, per_channel=per_channel,
        weight_type=weight_type, activation_type=QuantType.QUInt8,
    )
    return "quantized.onnx"


for weight, expected in [
    (1e-3, [2, 2, 2, 2, 2]),
    (1e-5, [2, 2, 1.32, 0.41, 0.41]),
    (1e-7, [2, 2, 0.01, 0, 0]),
    (0, [2, 2, 2, 2, 2]),
]:
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 4, 4])],
        [
            numpy_helper.from_array(np.array([1, weight], np.float32).reshape(2, 1, 1, 1), "w"),
            numpy_helper.from_array(np.array([0.5, 2], np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "float.onnx")
    found = [
        second(quantized(QuantFormat.QDQ, QuantType.QInt8, True)),
        second(quantized(QuantFormat.QDQ, QuantType.QUInt8, False)),
    ]
    path = quantized(QuantFormat.QDQ, QuantType.QUInt8, True)
    found += [second(path, LEVELS.ORT_DISABLE_ALL), second(path)]
    found.append(second(quantized(QuantFormat.QOperator, QuantType.QUInt8, True)))
    print(f"second weight {weight:g}: second channel", [round(value, 2) for value in found])
    assert np.allclose(found, expected, atol=0.03), "the behaviour has changed"
PROGRAM
