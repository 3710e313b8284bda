#!/usr/bin/env bash
# pyperf reports its own memory as that of a smaller command, with --track-memory and without.
#
# Guess: `pyperf command --track-memory PROGRAM` and `command_max_rss` give the peak RSS of PROGRAM.
# Seen with pyperf 2.11.0 (psutil 7.2.2) and Python 3.11 on Linux 6.18: a shell whose own VmHWM is 1.7 MiB is
# reported with 12 MiB, the size of pyperf's Python process; a C program of 1 MiB gets the same 12 MiB.
# A child starts with its parent's pages, and Linux keeps that maximum (ru_maxrss) when the child executes
# another program. VmHWM in /proc/self/status starts again there, and is right. Programs larger than pyperf's
# process are reported rightly: the figure is the larger of the two.
# Programs for small boards are often below that floor. Two builds of 1 and 8 MiB then compare as equal, and a
# change of the Python version looks like a change of the program.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyperf==2.11.0 psutil==7.2.2
cat >"$folder/small.sh" <<'SHELL'
while read -r name kib _; do
    case $name in VmHWM:) echo "$kib" >"$1" ;; esac
done </proc/self/status
SHELL
cat >"$folder/large.py" <<'LARGE'
memory = b"x" * (64 << 20)
LARGE
run() { "$folder/venv/bin/python" -m pyperf command --quiet --processes 1 --values 1 --loops 1 --warmups 0 "$@"; }
run --track-memory --output "$folder/tracked.json" -- sh "$folder/small.sh" "$folder/small.kib"
run --output "$folder/timed.json" -- sh "$folder/small.sh" "$folder/small.kib"
run --track-memory --output "$folder/large.json" -- python3 "$folder/large.py"
"$folder/venv/bin/python" - "$folder" <<'PROGRAM'
import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])


def run(name):
    """Return the only run of a file, with the metadata of all levels."""
    suite = json.loads((folder / f"{name}.json").read_text())
    (benchmark,) = suite["benchmarks"]
    (only,) = benchmark["runs"]
    levels = [level.get("metadata", {}) for level in (suite, benchmark, only)]
    return only | {"metadata": levels[0] | levels[1] | levels[2]}


def mib(count):
    return round(count / 2**20, 1)


own = int((folder / "small.kib").read_text()) * 1024
tracked = run("tracked")["values"][0]
timed = run("timed")["metadata"]["command_max_rss"]
large = run("large")["values"][0]
print(f"small program: {mib(own)} MiB by its VmHWM, {mib(tracked)} MiB by --track-memory,",
      f"{mib(timed)} MiB by command_max_rss; 64 MiB in Python: {mib(large)} MiB")
assert own < 6 * 2**20, "the small program is not small here"
assert tracked > 1.5 * own and timed > 1.5 * own, "the behaviour has changed"
assert abs(tracked - timed) < 2 * 2**20, "the two figures have no common floor"
assert 64 * 2**20 < large < 96 * 2**20, "a large program is reported wrongly"
PROGRAM
