#!/usr/bin/env bash
# On a PC, ONNX Runtime's default optimizations double what a network of convolutions takes while it is loaded.
#
# Guess: graph optimizations change speed; the peak memory of a network does not depend on their level, nor on the
# processor's architecture.
# Seen with onnxruntime 1.19.2 and 1.32.0 (onnx 1.17.0, numpy 1.26.4), x86-64, one thread: eight convolutions of 512
# channels on 14 x 14, 56 MiB of weights. Peak resident memory above that of the imported library, in MiB:
#                                                  1.19.2   1.32.0
#   ORT_ENABLE_EXTENDED                                75       74
#   ORT_ENABLE_ALL, the default                       153      182
#   default without its "NchwcTransformer"             75       74
#   the network that the default has saved             75       73
# The default level writes the weights again in the order of its convolution kernels (NCHWc) before it frees those that
# it read, and what it frees stays with malloc: after a run malloc_trim(0) gives 85 MiB and more back. 1.19.2 has that
# order on x86-64 alone, so a peak from a PC does not carry over to an arm64 board.
set -euo pipefail
[ "$(uname -m)" = x86_64 ] || { echo "this one is about x86-64" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >make.py <<'PROGRAM'
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 512
nodes, weights, last = [], [], "x"
for number in range(8):
    kernel = 3 if number < 6 else 1
    values = np.full((CHANNELS, CHANNELS, kernel, kernel), 1e-4, np.float32)
    weights.append(numpy_helper.from_array(values, f"weights{number}"))
    nodes += [
        helper.make_node(
            "Conv", [last, f"weights{number}"], [f"conv{number}"],
            kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4,
        ),
        helper.make_node("Relu", [f"conv{number}"], [f"relu{number}"]),
    ]
    last = f"relu{number}"
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
PROGRAM
cat >load.py <<'PROGRAM'
import ctypes
import sys

import numpy as np
import onnxruntime


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


way = sys.argv[1]
levels = onnxruntime.GraphOptimizationLevel
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.log_severity_level = 3
network, disabled = "network.onnx", None
if way == "extended":
    options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
elif way == "without":
    disabled = ["NchwcTransformer"]
elif way == "save":
    options.optimized_model_filepath = "saved.onnx"
elif way == "saved":
    options.graph_optimization_level = levels.ORT_DISABLE_ALL
    network = "saved.onnx"
before = mib("VmRSS")
session = onnxruntime.InferenceSession(
    network, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
)
session.run(None, {"x": np.ones((1, 512, 14, 14), np.float32)})
peak, after = mib("VmHWM"), mib("VmRSS")
ctypes.CDLL(None).malloc_trim(0)
print(round(peak - before), round(after - mib("VmRSS")))
PROGRAM
failed=0
for version in 1.19.2 1.32.0; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check \
        "onnxruntime==$version" onnx==1.17.0 numpy==1.26.4
    "$version/bin/python" make.py
    for way in extended default without save saved; do
        read -r peak freed < <("$version/bin/python" load.py "$way")
        echo "onnxruntime $version, $way: peak $peak MiB, $freed MiB of it free after the run"
        case $way in
            default) [ "$peak" -ge 130 ] && [ "$freed" -ge 60 ] || failed=1 ;;
            save) ;;
            *) [ "$peak" -le 95 ] || failed=1 ;;
        esac
    done
done
exit "$failed"
