#!/usr/bin/env bash
# OSACA predicts 7 cycles for a step of a sum of products on the Cortex-A72 that takes 3, and sees no chain through BIT.
#
# Guess: an instruction that its table of the A72 has is predicted as measured; what the table lacks is marked "X", and no
# result is given.
# Seen with OSACA 0.7.1 (--arch A72); measured on an A72 by ocxtal/insn_bench_aarch64, results/nxp_lx2160a_a72.md. Cycles of
# a round, the larger of port pressure and loop-carried dependency:
#                                                        OSACA   the core
#   fmla v0, into itself                                 7       3: an accumulator is needed late ("acc. fwd.")
#   four fmla, each into itself                          7       4: one each cycle
#   mla v0, into itself                                  4       2
#   ldr q with a post-increment                          3       1 ("ptr fwd.")
#   bit v0, which keeps some bits of v0                  1       3
#   four fmul beside six integer additions               5.5     4: three instructions enter each cycle
#   four fmul alone                                      4       4
# fmla, fmul and fadd of vectors are on port 5, an integer port in the drawing that the table has, where F0 is 6 and F1 is 4. No
# line is marked. A kernel that the multiplier limits is thus "latency-bound" until it has seven accumulators, where three do.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check osaca==0.7.1
cd "$folder"
venv/bin/python - <<'PROGRAM'
import re
import subprocess
from pathlib import Path

SUMS = re.compile(r"^[\d. ]+$", re.MULTILINE)


def cycles(*instructions):
    """Return what OSACA predicts for a round of a loop: port pressure, or dependency where that is larger."""
    lines = ["// OSACA-BEGIN", ".loop:", *instructions, "subs x9, x9, #1", "bne .loop", "// OSACA-END", ""]
    Path("loop.s").write_text("\n".join(lines))
    report = subprocess.run(
        ["venv/bin/osaca", "--arch", "A72", "loop.s"], check=True, capture_output=True, text=True
    ).stdout
    assert "missing" not in report and "WARNING" not in report, report
    *ports, _, dependency = [float(number) for number in SUMS.findall(report)[-1].split()]
    return max(*ports, dependency)


products = [f"{{}} v{number}.4s, v8.4s, v9.4s" for number in range(4)]
fmla, fmul = ([line.format(name) for line in products] for name in ("fmla", "fmul"))
additions = [f"add x{number}, x10, x11" for number in range(1, 7)]
for label, loop, seen, measured in [
    ("fmla", fmla[:1], 7, 3),
    ("four fmla", fmla, 7, 4),
    ("mla", ["mla v0.4s, v8.4s, v9.4s"], 4, 2),
    ("ldr q with a post-increment", ["ldr q0, [x0], #16"], 3, 1),
    ("bit", ["bit v0.16b, v8.16b, v9.16b"], 1, 3),
    ("four fmul, six additions", fmul + additions, 5.5, 4),
    ("four fmul", fmul, 4, 4),
]:
    found = cycles(*loop)
    print(f"{label} | OSACA {found} cycles | the core {measured}")
    assert found == seen, "the behaviour has changed"
PROGRAM
