#!/usr/bin/env bash
# A float16 network has half of the file and takes twice the memory of the float32 one in ONNX Runtime, and more in OpenVINO.
#
# Guess: float16 weights take half of the memory, or are converted one by one when they are used.
# Seen with onnxruntime 1.32.0 and openvino 2026.4.1 (onnx 1.23.2, numpy 2.4.6), CPU, x86-64, one thread: six 3x3 convolutions
# of 512 channels on 14 x 14. Peak resident memory above that of the imported library, in MiB:
#                                                   float32    float16
#   the file                                             54         27
#   ONNX Runtime, ORT_ENABLE_EXTENDED                    72        142
#   ONNX Runtime, ORT_ENABLE_ALL, the default    160 to 180 170 to 230
#   OpenVINO, INFERENCE_PRECISION_HINT f32              150        180
# Peaks are of two runs; ONNX Runtime's first takes 100. It has no float16 convolution for this processor and puts a Cast before
# each weight: all weights are cast again in every run, and the results are kept side by side. The default level casts them
# once. Nothing is printed. Cores as old as the Cortex-A53 and A72 have no float16 arithmetic either.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 openvino==2026.4.1 onnx==1.23.2 \
    numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PROGRAM'
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 512, 14, 14)
for name, number, dtype in (
    ("float32", TensorProto.FLOAT, np.float32),
    ("float16", TensorProto.FLOAT16, np.float16),
):
    random = np.random.default_rng(0)
    nodes, weights = [helper.make_node("Cast", ["x"], ["x0"], to=number)], []
    for layer in range(6):
        kernel = (random.normal(size=(512, 512, 3, 3)) * 0.01).astype(dtype)
        weights.append(numpy_helper.from_array(kernel, f"w{layer}"))
        weights.append(numpy_helper.from_array(np.zeros(512, dtype), f"b{layer}"))
        inputs = [f"x{layer}", f"w{layer}", f"b{layer}"]
        nodes.append(helper.make_node("Conv", inputs, [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"x{layer + 1}"]))
    nodes.append(helper.make_node("Cast", ["x6"], ["y"], to=TensorProto.FLOAT))
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, SHAPE) for end in "xy"]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, f"{name}.onnx")
PROGRAM
cat >measure.py <<'PROGRAM'
import sys

import numpy as np


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def start():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts again at what is resident now
    return mib("VmRSS")


file, engine = sys.argv[1:]
x = np.ones((1, 512, 14, 14), np.float32)
if engine == "openvino":
    import openvino

    core = openvino.Core()
    before = start()
    hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    core.compile_model(core.read_model(file), "CPU", hints)([x])
else:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, engine)
    before = start()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    for _ in range(2):
        session.run(None, {"x": x})
print(round(mib("VmHWM") - before))
PROGRAM
failed=0
while read -r engine least; do
    single=$(venv/bin/python measure.py float32.onnx "$engine" 2>/dev/null)
    half=$(venv/bin/python measure.py float16.onnx "$engine" 2>/dev/null)
    echo "$engine: peak $single MiB with float32, $half MiB with float16"
    if ((half < single + least)); then
        echo "the behaviour has changed" >&2
        failed=1
    fi
done <<'CASES'
ORT_ENABLE_EXTENDED 50
openvino 10
CASES
sizes=$(stat --format %s float32.onnx float16.onnx | awk '{ printf "%s%d", separator, $1 / 1048576; separator = " and " }')
echo "files of $sizes MiB"
[ "$sizes" = "54 and 27" ] || exit 1
exit "$failed"
