#!/usr/bin/env bash
# memory_profiler counts its own helper process as a child of the measured function, and then all of them twice over.
#
# Guess: memory_usage(..., include_children=True) is the memory of the process and of what it has started; for a function
# that starts nothing it is the same with and without.
# Seen with memory-profiler 0.61.0 (psutil 7.2.2, numpy 2.4.6) on Linux, for a process with an array of 100 MiB, in MiB:
#                                                        no child     one forked child that waits
#   memory_usage                                         135          135
#     include_children=True                              259          382
#     include_children=True, backend="psutil_pss"        132          132, which is true
#     multiprocess=True, max_usage=True                  135          135
# The sampling process is forked from the measured one, so that it has all of its pages; they are counted for each
# process although they are shared. multiprocess=True measures children one by one and leaves them out of the maximum.
# A peak measured with children thus grows by the size of the parent's data whether or not there are any.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    memory-profiler==0.61.0 psutil==7.2.2 numpy==2.4.6
cd "$folder"
cat >measure.py <<'PROGRAM'
import os
import time

import numpy as np
from memory_profiler import memory_usage


def no_child():
    time.sleep(0.5)


def forked_child():
    child = os.fork()
    if child == 0:
        time.sleep(0.5)
        os._exit(0)
    os.waitpid(child, 0)


def large_child():
    child = os.fork()
    if child == 0:
        mine = np.ones(50 << 20, np.uint8)
        time.sleep(0.5)
        os._exit(mine[0] - 1)
    os.waitpid(child, 0)


def measure(function, **options):
    return memory_usage((function,), interval=0.05, max_usage=True, **options)


weights = np.ones(100 << 20, np.uint8)
for function, extra, processes in [(no_child, 0, 2), (forked_child, 0, 3), (large_child, 50, 3)]:
    alone = measure(function)
    children = measure(function, include_children=True)
    shares = measure(function, include_children=True, backend="psutil_pss")
    separate = measure(function, multiprocess=True)
    print(f"{function.__name__}: {alone:.0f} | include_children {children:.0f}",
          f"| and psutil_pss {shares:.0f} | multiprocess {separate:.0f} MiB")
    assert 105 < alone < 170, "the process has another size"
    counted = alone + (processes - 1) * (alone - 20) + extra
    assert abs(children - counted) < 35, "the behaviour of include_children has changed"
    assert abs(shares - alone - extra) < 20, "the proportional sizes have changed"
    assert abs(separate - alone) < 5, "multiprocess counts children in the maximum now"
PROGRAM
venv/bin/python measure.py
