#!/usr/bin/env bash
# ONNX Runtime needs more memory without its arena than with it, and shrinking the arena frees memory after some runs only.
#
# Guess: enable_cpu_mem_arena=False gives the memory of each run back; with the arena, memory.enable_memory_arena_shrinkage
# does after each run.
# Seen with onnxruntime 1.32.0 (onnx 1.23.2, numpy 2.4.6), x86-64, glibc 2.36, one thread: four 3x3 convolutions of 64 channels
# on images of 64, 256, 64, 250, 246 and 64 pixels one after the other. Resident memory above that of the session, in MiB:
#                                             peak    after the runs of 256, 64     at the end
#   the default                                 67                   52, 37            67
#   enable_mem_pattern=False                    67                   52, 37            67
#   enable_memory_arena_shrinkage               64                   34,  3 to 19      64
#   enable_cpu_mem_arena=False           83 to 129                   84, 68     67 to 129
#     with MALLOC_MMAP_THRESHOLD_=65536         48                   16,  1             1
# The maps are some 16 MiB. glibc maps such a block at first and gives it back; after the first one that is freed it takes them
# from the heap instead, up to 32 MiB each, where they stay below whatever lies on top. The same holds for what the arena
# gives back. Peaks include the input and the output. Advice to switch the arena off on a small board makes this network
# need up to twice the memory, unless malloc is told to map.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PROGRAM'
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

nodes, weights = [], []
for number in range(4):
    kernel = np.random.default_rng(number).normal(size=(64, 64, 3, 3)) * 0.05
    weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"w{number}"))
    nodes.append(helper.make_node("Conv", [f"x{number}", f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Relu", [f"c{number}"], [f"x{number + 1}"]))
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 64, "h", "w")) for name in ("x0", "x4")]
graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "net.onnx")
PROGRAM
cat >measure.py <<'PROGRAM'
import sys

import numpy as np
import onnxruntime


def mib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


options, run_options = onnxruntime.SessionOptions(), onnxruntime.RunOptions()
options.intra_op_num_threads = 1
options.enable_cpu_mem_arena = "no-arena" not in sys.argv
options.enable_mem_pattern = "no-pattern" not in sys.argv
if "shrink" in sys.argv:
    run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
session = onnxruntime.InferenceSession("net.onnx", options, providers=["CPUExecutionProvider"])
before = mib("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts again at what is resident now
remains = []
for side in (64, 256, 64, 250, 246, 64):
    x = np.ones((1, 64, side, side), np.float32)
    session.run(None, {"x0": x}, run_options)
    remains.append(round(mib("VmRSS") - before))
print(round(mib("VmHWM") - before), *remains[1:3], remains[-1])
PROGRAM
read -r default_peak default_large default_small default_end < <(venv/bin/python measure.py default)
read -r pattern_peak _ _ pattern_end < <(venv/bin/python measure.py no-pattern)
read -r shrink_peak shrink_large shrink_small shrink_end < <(venv/bin/python measure.py shrink)
read -r heap_peak heap_large heap_small heap_end < <(venv/bin/python measure.py no-arena)
read -r mapped_peak mapped_large mapped_small mapped_end < <(MALLOC_MMAP_THRESHOLD_=65536 venv/bin/python measure.py no-arena)
echo "default: peak $default_peak MiB, then $default_large, $default_small, at the end $default_end"
echo "no memory pattern: peak $pattern_peak MiB, at the end $pattern_end"
echo "shrinkage: peak $shrink_peak MiB, then $shrink_large, $shrink_small, at the end $shrink_end"
echo "no arena: peak $heap_peak MiB, then $heap_large, $heap_small, at the end $heap_end"
echo "no arena, blocks mapped: peak $mapped_peak MiB, then $mapped_large, $mapped_small, at the end $mapped_end"
((default_end > 45 && default_end < 90 && pattern_end < 90)) || { echo "the arena keeps another amount now" >&2; exit 1; }
((heap_end > 55 && heap_peak > default_peak + 5)) || { echo "no arena takes less now" >&2; exit 1; }
((shrink_small < 30 && shrink_end > 40)) || { echo "shrinkage has changed" >&2; exit 1; }
((mapped_end < 10 && mapped_peak < default_peak)) || { echo "mapped blocks are kept now" >&2; exit 1; }
