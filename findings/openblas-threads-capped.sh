#!/usr/bin/env bash
# OPENBLAS_NUM_THREADS cannot give OpenBLAS more threads than cores; a call at run time can.
#
# Guess: OPENBLAS_NUM_THREADS=4 means four threads, as on a board with four cores, only slower on a PC or in a container
# with fewer.
# Seen with numpy 2.4.6, the OpenBLAS in it and threadpoolctl 3.6.0, for a process that may use one core (taskset) and
# multiplies two matrices of 1000 x 1000:
#                                                     threads, by threadpoolctl    by /proc/self/status
#   OPENBLAS_NUM_THREADS=4                            1                            1
#   OMP_NUM_THREADS=4                                 1                            1
#   threadpool_limits(4)                              4                            4
#   OPENBLAS_NUM_THREADS=4 and a limit of 4           4                            4
# With two cores it is 2, 2, 4, 4. The variable is a limit that is compared with the process's affinity when the library starts;
# nothing is printed. A measurement of time or memory "with four threads" on a small machine, an emulator or CI with a
# set of cores is one with fewer, although the variable is in the record. threadpool_limits(8) after a start with
# OPENBLAS_NUM_THREADS=1 starts seven more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 threadpoolctl==3.6.0
cat >"$folder/threads.py" <<'PROGRAM'
import sys
from contextlib import nullcontext

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

limit = int(sys.argv[1])
with threadpool_limits(limit) if limit else nullcontext():
    matrix = np.ones((1000, 1000), np.float32)
    matrix @ matrix
    (library,) = [pool for pool in threadpool_info() if pool["internal_api"] == "openblas"]
    with open("/proc/self/status") as status:
        threads = next(line.split()[1] for line in status if line.startswith("Threads:"))
    print(library["num_threads"], threads)
PROGRAM
first=$(awk '/^Cpus_allowed_list/ { sub(/[-,].*/, "", $2); print $2 }' /proc/self/status)
unset OPENBLAS_NUM_THREADS OMP_NUM_THREADS GOTO_NUM_THREADS
failed=0
while read -r variable limit expected; do
    found=$(env "$variable" taskset --cpu-list "$first" "$folder/venv/bin/python" "$folder/threads.py" "$limit")
    echo "$variable, threadpool_limits: $limit (0 is none): threads $found"
    if [ "$found" != "$expected $expected" ]; then
        echo "the behaviour has changed" >&2
        failed=1
    fi
done <<'CASES'
UNRELATED=1 0 1
OPENBLAS_NUM_THREADS=4 0 1
OMP_NUM_THREADS=4 0 1
UNRELATED=1 4 4
OPENBLAS_NUM_THREADS=4 4 4
OPENBLAS_NUM_THREADS=1 8 8
CASES
exit "$failed"
