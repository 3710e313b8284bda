#!/usr/bin/env bash
# ONNX GraphSurgeon folds a part of a shape as the whole shape.
#
# Guess: fold_constants() replaces a node by its value; an operator or an attribute that it does not know stays as it is.
# Seen with onnx-graphsurgeon 0.6.1 (onnx 1.23.2, numpy 2.4.6) for a tensor x of 2 x 3 x 3; onnxruntime 1.32.0 and onnxsim 0.8.1
# agree on the right column:
#                                                 right         after fold_constants().cleanup()
#   Shape                                         2, 3, 3       2, 3, 3
#   Shape, start=1                                3, 3          2, 3, 3
#   Shape, start=-1                               3             2, 3, 3
#   Shape, start=1, end=2                         3             2, 3, 3
#   x / sqrt(Shape, start=-1), for x of ones      0.58 nine     0.71, 0.58, 0.58 ...
#                                                 times two
#   Shape, start=-1, with a batch without size    stays as it is
# Nothing is printed. Where the count of axes is the size of the last one, or a sum over the sizes follows, no shape fails to
# match: the scaling of an attention differs by column. Exporters write such nodes, as torch.onnx does with dynamo.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx-graphsurgeon==0.6.1 onnx==1.23.2 onnxruntime==1.32.0 \
    numpy==2.4.6 onnxsim==0.8.1
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import numpy as np
import onnx
import onnx_graphsurgeon
import onnxruntime
import onnxsim
from onnx import TensorProto, helper

x = np.ones((2, 3, 3), np.float32)


def network(divide, batch, attributes):
    nodes = [
        helper.make_node("Shape", ["x"], ["size"], **attributes),
        helper.make_node("Cast", ["size"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Sqrt", ["number"], ["root"]),
        helper.make_node("Div", ["x", "root"], ["y"]),
    ]
    nodes = nodes if divide else [nodes[0], helper.make_node("Cast", ["size"], ["y"], to=TensorProto.FLOAT)]
    start = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 3])
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [start], [end])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def outputs(divide, batch, attributes):
    """Return the network's result, as it is, folded by GraphSurgeon and simplified by onnxsim."""
    model = network(divide, batch, attributes)
    folded = onnx_graphsurgeon.export_onnx(onnx_graphsurgeon.import_onnx(model).fold_constants().cleanup())
    simplified, _ = onnxsim.simplify(model)
    results = []
    for each in (model, folded, simplified):
        session = onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        results.append(session.run(None, {name: x for name in names})[0].ravel())
    return results


for divide, batch, attributes, seen in [
    (False, 2, {}, [2, 3, 3]),
    (False, 2, {"start": 1}, [2, 3, 3]),
    (False, 2, {"start": -1}, [2, 3, 3]),
    (False, 2, {"start": 1, "end": 2}, [2, 3, 3]),
    (False, "batch", {"start": -1}, [3]),
    (True, 2, {"start": -1}, [0.707, 0.577, 0.577] * 6),
]:
    right, folded, simplified = outputs(divide, batch, attributes)
    print("divided by the root of" if divide else "", f"Shape {attributes}, batch {batch}:",
          f"right {right.round(3).tolist()[:3]} | folded {folded.round(3).tolist()[:3]}")
    assert np.array_equal(right, simplified), "onnxsim's behaviour has changed"
    assert folded.size == len(seen) and np.allclose(folded, seen, atol=1e-3), "GraphSurgeon's behaviour has changed"
    if attributes and batch == 2:
        assert folded.size != right.size or not np.allclose(folded, right, atol=1e-3), "the fold is right"
PROGRAM
