#!/usr/bin/env bash
# psrecord measures the shell that starts a program instead of the program, where /bin/sh is dash, as in Debian.
#
# Guess: `psrecord "program arguments" --log FILE`, as its documentation has it for a new process, records the CPU and the
# memory of that program; --include-children is for programs that start others.
# Seen with psrecord 1.4 (psutil 7.2.2), Debian 12 (dash 0.5.12), for a program that fills 100 MiB and computes for three
# seconds. Largest "Real (MB)", which is in MiB, and largest "CPU (%)" after the first second:
#                                             memory    CPU
#   "program"                                 1.7       0
#   "program" --include-children              110       100
#   "exec program"                            109       100
#   its process number                        109       100
# The command is given to a shell, and the shell's process is sampled. bash replaces itself by a single command, so that the
# same line is right where /bin/sh is bash; dash does not. A plot of a network that "takes 2 MB and no CPU" is the shell's.
# The first sample can be psrecord's own 8 MB, before the shell has started.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check psrecord==1.4 psutil==7.2.2
cd "$folder"
[ "$(basename "$(readlink -f /bin/sh)")" = dash ] || { echo "/bin/sh is not dash here" >&2; exit 1; }
cat >program.py <<'LOAD'
import time

memory = b"x" * (100 << 20)
end = time.monotonic() + 3
while time.monotonic() < end:
    pass
LOAD
record() { venv/bin/psrecord "$1" --log "$2" --interval 0.1 "${@:3}" >/dev/null 2>&1; }
record "venv/bin/python program.py" plain
record "venv/bin/python program.py" children --include-children
record "exec venv/bin/python program.py" replaced
venv/bin/python program.py &
record $! attached
wait
venv/bin/python - <<'PROGRAM'
from pathlib import Path


def largest(name):
    """Return the largest memory and CPU of a recording after its first second."""
    rows = [line.split() for line in Path(name).read_text().splitlines() if not line.startswith("#")]
    rows = [[float(number) for number in row] for row in rows]
    rows = [row for row in rows if row[0] > 1]
    return max(row[2] for row in rows), max(row[1] for row in rows)


for name, right in [("plain", False), ("children", True), ("replaced", True), ("attached", True)]:
    memory, cpu = largest(name)
    print(f"{name}: {memory:.1f} MiB, CPU {cpu:.0f} %")
    assert (memory > 100) == right and (cpu > 20) == right, "the behaviour has changed"
    assert right or memory < 4, "this is not the shell's memory"
PROGRAM
