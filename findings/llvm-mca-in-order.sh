#!/usr/bin/env bash
# llvm-mca predicts 56 cycles on the Cortex-A53 for eight vector multiplications beside eight pointer updates: 7 times too many.
#
# Guess: the simulation ends near its own "Block RThroughput", 8 cycles, where no instruction needs another's result in the
# same round: the core issues a pointer update or an integer load beside a multiplication, "no penalty" (measured by ncnn:
# Tencent/ncnn, docs/developer-guide/arm-a53-a55-dual-issue.md).
# Seen with llvm-mca 19.1.7 of Debian 12 (14.0.6 has the same), cycles of a round for eight `fmla v.4s`, each with its own sum:
#                                                      -mcpu=cortex-a53    a55, a72    Block RThroughput, a53
#   alone                                              10                  4, 8        8
#   one addition to a pointer after the first          14                  4.5, 8      8
#   eight additions after the last                     18                  8, 8        8
#   an addition after each                             56                  8, 8        8
#   a load of an integer register after each           48                  8, 8        8
# In its model of an in-order core no instruction may finish before an older one, so that an addition of 3 cycles waits
# for 7 of the fmla's 10; the A55's description exempts such instructions, the A53's has none. The order that is best for
# the core, and that ncnn writes, is the worst one here: who optimises by the prediction undoes it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
# The packages of Debian 12 are unpacked, not installed.
apt-get download --quiet llvm-19 libllvm19 libedit2 libbsd0 libmd0 libz3-4 libxml2 libicu72 libffi8 libtinfo6 libzstd1 liblzma5 \
    >/dev/null 2>&1
for package in ./*.deb; do dpkg-deb -x "$package" debian; done
libraries=$(dirname "$(find "$folder/debian" -name 'libLLVM.so.19*' | head -n 1)")
export LD_LIBRARY_PATH="$libraries:$folder/debian/lib/x86_64-linux-gnu" PATH="$folder/debian/usr/lib/llvm-19/bin:$PATH"
python3 - <<'PROGRAM'
import re
import subprocess


def cycles(lines, core):
    """Return the simulated cycles of a round, and the bound that is printed beside them."""
    report = subprocess.run(
        ["llvm-mca", "-mtriple=aarch64-linux-gnu", f"-mcpu={core}", "-iterations=1000"],
        input="\n".join([*lines, ""]), check=True, capture_output=True, text=True,
    ).stdout
    total = int(re.search(r"Total Cycles: +(\d+)", report)[1])
    return round(total / 1000, 1), float(re.search(r"Block RThroughput: +([\d.]+)", report)[1])


def beside(other):
    return [line for number, fmla in enumerate(sums) for line in (fmla, other.format(number + 2))]


sums = [f"fmla v{number}.4s, v16.4s, v24.s[{number % 4}]" for number in range(8)]
step = "add x1, x0, #16"
for label, lines, seen in [
    ("alone", sums, (10, 4, 8)),
    ("one addition", [sums[0], step, *sums[1:]], (14, 4.5, 8)),
    ("eight additions at the end", sums + 8 * [step], (18, 8, 8)),
    ("an addition after each", beside(step), (56, 8, 8)),
    ("a load after each", beside("ldr x{}, [x0]"), (48, 8, 8)),
]:
    found = [cycles(lines, core) for core in ("cortex-a53", "cortex-a55", "cortex-a72")]
    print(label, "| A53 %s (at least %s) | A55 %s (%s) | A72 %s (%s)" % sum(found, ()))
    assert tuple(total for total, _ in found) == seen, "the behaviour has changed"
    assert found[0][1] == 8, "the bound has changed"
PROGRAM
