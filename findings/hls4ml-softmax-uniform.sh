#!/usr/bin/env bash
# hls4ml's softmax behind a fully connected layer gives all classes the same probability, with the configuration it proposes
# for each layer.
#
# Guess: config_from_onnx_model(..., granularity="name") only makes the choices of the whole model visible by layer; a softmax
# of 16 bits is off by some hundredths.
# Seen with hls4ml 1.3.0 (qonnx 1.0.0, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6), backend Vitis, GCC, for a MatMul by the
# identity of four, then Softmax:
#                                             of 1, 2, 3, 4            of 0, 0, 0, 12    of 0, 0, 0, 24
#   right                                     0.03, 0.09, 0.24, 0.64   0, 0, 0, 1        0, 0, 0, 1
#   granularity="model"                       0.03, 0.09, 0.25, 0.67   0, 0, 0, 1        0, 0, 0, 1
#   granularity="name" and "type"             0.25 four times          0.25 four times   0, 0, 0, 1
#     with the result of the MatMul as fixed<16,6>   as with "model"
#   Relu, Sigmoid, Tanh and Elu instead, "name"      right within 0.01
#   Softplus of 7, 8, 9, 10, "name"           7, 7.98, 7.98, 7.98
# "name" sets the result of each layer to `auto`: wide enough for all sums, and its upper ten bits choose one of the 1,024
# entries of the exponential. One step is then 16, and smaller differences count as none. Nothing is printed, and the class of
# the largest output is the first one. Softplus has a table that ends at 8.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hls4ml==1.3.0 qonnx==1.0.0 onnx==1.23.2 \
    onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
venv/bin/python - >log 2>&1 <<'PROGRAM' || { cat log >&2; exit 1; }
import hls4ml
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.cleanup import cleanup_model

x = np.array([[1, 2, 3, 4], [0, 0, 0, 12], [0, 0, 0, 24], [7, 8, 9, 10]], np.float32)


def network(operator):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node(operator, ["a"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4)) for name in "xy"]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return cleanup_model(ModelWrapper(made))


def right(operator):
    model = network(operator).model
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {model.graph.input[0].name: line[None]})[0] for line in x])


def by_hls4ml(operator, granularity, narrow=False):
    model = network(operator)
    config = hls4ml.utils.config_from_onnx_model(model, granularity=granularity, backend="Vitis")
    if narrow:
        config["LayerName"]["MatMul_0"]["Precision"]["result"] = "fixed<16,6>"
    converted = hls4ml.converters.convert_from_onnx_model(
        model, output_dir=f"project-{operator}-{granularity}-{narrow}", backend="Vitis", hls_config=config
    )
    converted.compile()
    return converted.predict(x).reshape(x.shape)


expected = right("Softmax")
print("ROW right", expected[:3].round(2).tolist())
for granularity, narrow in [("model", False), ("name", False), ("type", False), ("name", True)]:
    found = by_hls4ml("Softmax", granularity, narrow)
    print(f"ROW granularity {granularity}, narrow {narrow}", found[:3].round(2).tolist())
    if granularity == "model" or narrow:
        assert np.abs(found - expected).max() < 0.05, "the softmax that was right has changed"
    else:
        assert np.array_equal(found[:2], np.full((2, 4), 0.25)), "the behaviour has changed"
        assert np.allclose(found[2], [0, 0, 0, 1]), "the behaviour for 24 has changed"
for operator in ("Relu", "Sigmoid", "Tanh", "Elu"):
    difference = np.abs(by_hls4ml(operator, "name") - right(operator)).max()
    print(f"ROW {operator} differs by {difference:.4f}")
    assert difference < 0.01, "another activation has changed"
found = by_hls4ml("Softplus", "name")[3]
print("ROW Softplus", found.tolist())
assert np.allclose(found, [7, 7.984, 7.984, 7.984], atol=0.01), "Softplus has changed"
PROGRAM
grep ^ROW log
