#!/usr/bin/env bash
# ExecuTorch's memory plan leaves out what XNNPACK takes, and has a transposed copy of a fully connected layer's weights without.
#
# Guess: the sizes that the exported program declares for its buffers are the memory of its activations: more with larger
# maps, and next to nothing for fully connected layers. With the weights, which are in the file, that is the peak.
# Seen with executorch 1.5.1 (torch 2.13.0, numpy 2.4.6), x86-64, in MiB; "peak" is above the imported runtime:
#                                                 file    planned    peak
#   four Linear of 2,048 (activations: 8 KiB)       64
#     portable operators                                      16      80
#     XNNPACK                                                  0.02   128
#   eight 3x3 convolutions of 512 channels, 8 x 8   72
#     portable operators                                       0.25   73
#     XNNPACK                                                  0.25   144
#   six 3x3 convolutions of 32 channels, 128 x 128   0.2
#     portable operators                                       4       7
#     XNNPACK                                                  4      18
# A Linear becomes "transpose the weights, then multiply": the copy is in the plan, and is made in each run. XNNPACK packs the
# weights beside the file's and frees that later, and has its own memory for activations, which nothing in the program
# declares. A device that is sized by the plan and the file lacks half of the memory; without XNNPACK the sum is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 executorch==1.5.1 numpy==2.4.6
cd "$folder"
cat >run.py <<'RUN'
import sys

import torch
from executorch.runtime import Runtime


def resident(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name + ":")) / 1024


x = torch.ones([int(size) for size in sys.argv[2:]])
runtime = Runtime.get()
start = resident("VmRSS")
runtime.load_program(sys.argv[1]).load_method("forward").execute([x])
print(resident("VmHWM") - start)
RUN
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import os
import subprocess
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from torch import nn


def convolutions(channels, count):
    return nn.Sequential(*(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(count)))


def measured(model, shape, partitioner):
    """Return the MiB of the file, of the planned buffers, and of the peak in a process that runs it."""
    exported = torch.export.export(model.eval(), (torch.ones(shape),))
    program = to_edge_transform_and_lower(exported, partitioner=partitioner).to_executorch()
    Path("model.pte").write_bytes(program.buffer)
    planned = sum(program.executorch_program.execution_plan[0].non_const_buffer_sizes)
    peak = subprocess.run(
        ["venv/bin/python", "run.py", "model.pte", *map(str, shape)], check=True, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ).stdout.split()[-1]
    return len(program.buffer) / 2**20, planned / 2**20, float(peak)


for label, make, shape, seen in [
    ("Linear", lambda: nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(4))), (1, 2048), (16, 80, 0.02, 128)),
    ("Convolutions of 512", lambda: convolutions(512, 8), (1, 512, 8, 8), (0.25, 73, 0.25, 144)),
    ("Convolutions of 128 x 128", lambda: convolutions(32, 6), (1, 32, 128, 128), (4, 7, 4, 18)),
]:
    file, planned, peak = measured(make(), shape, [])
    _, by_xnnpack, peak_by_xnnpack = measured(make(), shape, [XnnpackPartitioner()])
    print(f"{label} | file {file:.1f} | planned {planned:.2f}, peak {peak:.0f}",
          f"| XNNPACK: planned {by_xnnpack:.2f}, peak {peak_by_xnnpack:.0f} MiB")
    assert abs(planned - seen[0]) < 0.1 and abs(by_xnnpack - seen[2]) < 0.1, "the plan has changed"
    assert abs(peak - seen[1]) < 4 and abs(peak_by_xnnpack - seen[3]) < 0.1 * seen[3] + 2, "the memory has changed"
    assert peak < file + planned + 4 and peak_by_xnnpack > 1.6 * (file + by_xnnpack), "the plan is right now"
PROGRAM
