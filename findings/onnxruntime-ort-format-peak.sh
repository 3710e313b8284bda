#!/usr/bin/env bash
# A network in ORT format, ONNX Runtime's own for small devices, takes 1.8 to 2.4 times the memory of the ONNX file.
#
# Guess: a flat file of the optimized network, which needs no parser, loads with less memory than protobuf.
# Seen with onnxruntime 1.19.2 and 1.32.0 (onnx 1.17.0, numpy 1.26.4), x86-64, one thread, ORT_ENABLE_EXTENDED: eight
# convolutions of 512 channels on 14 x 14, 56 MiB of weights. Peak resident memory above that of the imported library,
# and what remains after a run, in MiB:
#                                      1.19.2                   1.32.0
#   network.onnx                       75, 71                   74, 71
#   network.ort, made from it          155 to 181, 72 to 129    130, 70
#   network.onnx, weights beside it    68, 68                   70, 70
# A file in ORT format is read into one block, from which the weights are copied; the block is freed when the session
# is complete. In 1.19.2 freed memory stays with malloc besides, more or less of it from run to run; it is 131, 71 with
# MALLOC_MMAP_THRESHOLD_=65536. Weights in a file of their own (save_as_external_data) are mapped from it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >make.py <<'PROGRAM'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 512
nodes, weights, last = [], [], "x"
for number in range(8):
    kernel = 3 if number < 6 else 1
    values = np.full((CHANNELS, CHANNELS, kernel, kernel), 1e-4, np.float32)
    weights.append(numpy_helper.from_array(values, f"weights{number}"))
    nodes.append(
        helper.make_node(
            "Conv", [last, f"weights{number}"], [f"conv{number}"],
            kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4,
        )
    )
    last = f"conv{number}"
shape = [1, CHANNELS, 14, 14]
graph = helper.make_graph(
    nodes, "graph",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
    [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
    weights,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "network.onnx")
onnx.save(model, "beside.onnx", save_as_external_data=True, location="beside.bin")
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
options.add_session_config_entry("session.save_model_format", "ORT")
options.optimized_model_filepath = "network.ort"
onnxruntime.InferenceSession("network.onnx", options, providers=["CPUExecutionProvider"])
PROGRAM
cat >load.py <<'PROGRAM'
import sys

import numpy as np
import onnxruntime


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
before = mib("VmRSS")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, {"x": np.ones((1, 512, 14, 14), np.float32)})
print(round(mib("VmHWM") - before), round(mib("VmRSS") - before))
PROGRAM
failed=0
for version in 1.19.2 1.32.0; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check \
        "onnxruntime==$version" onnx==1.17.0 numpy==1.26.4
    "$version/bin/python" make.py
    for network in network.onnx network.ort beside.onnx; do
        read -r peak after < <("$version/bin/python" load.py "$network")
        echo "onnxruntime $version, $network: peak $peak MiB, $after MiB after the run"
        case $network in
            *.ort) [ "$peak" -ge 110 ] || failed=1 ;;
            *) [ "$peak" -le 95 ] || failed=1 ;;
        esac
    done
done
exit "$failed"
