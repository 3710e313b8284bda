#!/usr/bin/env bash
# MNN takes five times the memory of 3x3 convolutions' weights; its "low" memory mode changes nothing, a hint halves it.
#
# Guess: the engine for phones takes little more than the weights, or does with `memory: low`.
# Seen with MNN 3.6.1 (onnx 1.23.2, numpy 2.4.6), x86-64, one thread: six 3x3 convolutions of 512 channels on 14 x 14, 54 MiB
# of weights. Memory above that of the imported library, in MiB:
#                                                        peak     after a run
#   as it is                                              315             283
#   config with "memory": "low"                           315             283
#   set_hint(3, 1)                                        175             175
#   set_hint(3, 0)                                        135             128
#   after loading, with any of these                               55
# Hint 3 is the memory level of Winograd's method, which keeps up to 36 numbers for the 9 of each kernel; Python's package has no
# name for it. The kernels are transformed at the first run, so that memory after loading says nothing. Outputs are
# the same but for rounding.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check MNN==3.6.1 onnx==1.23.2 numpy==2.4.6
mkdir "$folder/first"
# The converter starts pip for a log client; a pip that does nothing keeps the environment as it is.
printf '#!/bin/sh\nexit 1\n' >"$folder/first/pip"
chmod +x "$folder/first/pip"
export PATH="$folder/first:$PATH"
cd "$folder"
venv/bin/python - <<'PROGRAM'
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(0)
nodes, weights = [], []
for number in range(6):
    kernel = (random.normal(size=(512, 512, 3, 3)) * 0.01).astype(np.float32)
    weights.append(numpy_helper.from_array(kernel, f"w{number}"))
    nodes.append(helper.make_node("Conv", [f"x{number}", f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Relu", [f"c{number}"], [f"x{number + 1}"]))
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 512, 14, 14)) for name in ("x0", "x6")]
graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "net.onnx")
PROGRAM
venv/bin/mnnconvert -f ONNX --modelFile net.onnx --MNNModel net.mnn --bizCode any >log 2>&1 || { cat log >&2; exit 1; }
cat >measure.py <<'PROGRAM'
import json
import sys

import MNN
import numpy as np

WINOGRAD_MEMORY_LEVEL = 3


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


config, level = json.loads(sys.argv[1]), sys.argv[2]
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts again at what is resident now
before = mib("VmRSS")
runtime = MNN.nn.create_runtime_manager(({"numThread": 1, **config},))
if level != "none":
    runtime.set_hint(WINOGRAD_MEMORY_LEVEL, int(level))
net = MNN.nn.load_module_from_file("net.mnn", ["x0"], ["x6"], runtime_manager=runtime)
loaded = mib("VmRSS") - before
x = np.random.default_rng(1).normal(size=(1, 512, 14, 14)).astype(np.float32)
(result,) = net.forward([MNN.expr.const(x, list(x.shape), MNN.expr.NCHW, MNN.expr.float)])
y = np.array(MNN.expr.convert(result, MNN.expr.NCHW).read())
print("RESULT", round(loaded), round(mib("VmHWM") - before), round(mib("VmRSS") - before), f"{np.abs(y).mean():.4g}")
PROGRAM
failed=0 first=""
while read -r config level peak remains; do
    read -r loaded found_peak found_remains mean < <(venv/bin/python measure.py "$config" "$level" | sed -n 's/^RESULT //p')
    echo "$config, hint $level: $loaded MiB after loading, peak $found_peak MiB, $found_remains MiB after a run, mean $mean"
    first=${first:-$mean}
    if ((loaded > 70 || found_peak < peak - 20 || found_peak > peak + 20 ||
        found_remains < remains - 20 || found_remains > remains + 20)) || [ "$mean" != "$first" ]; then
        echo "the behaviour has changed" >&2
        failed=1
    fi
done <<'CASES'
{} none 315 283
{"memory":"low"} none 315 283
{} 1 175 175
{} 0 135 128
CASES
exit "$failed"
