#!/usr/bin/env bash
# eco2ai takes an Arm core's revision for the model number of a PC's processor: a Raspberry Pi Zero draws 250 W, a Pi 3 115 W.
#
# Guess: a processor that is not in the table gets the documented constant of 100 W and a warning; one that is in the table gets
# its power.
# Seen with eco2ai 0.3.12 and carbontracker 2.4.7 (pandas 2.3.3), W, for names as Linux has them:
#                                                          eco2ai    carbontracker
#   ARMv6-compatible processor rev 7 (v6l), Pi Zero           250      36, with a warning
#   ARMv7 Processor rev 4 (v7l), Pi 3                         115      36, with a warning
#   ARMv7 Processor rev 3 (v7l), Pi 4                          65      36, with a warning
#   Cortex-A53, with a warning                                100      36, with a warning
#   Intel(R) Celeron(R) J4125 CPU @ 2.00GHz                    10      36, not 5, half of the 10 in its table
#   Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz                   15      36, not 7.5, half of the 15 in its table
# eco2ai looks for each part of a name that contains a digit, and takes the largest power of all processors that have "4". It warns
# of names without a hit alone. A later board of the same family seems to need half of the energy. carbontracker compares
# names with those of its table, which are without "(R)" and "(TM)": no Intel processor is found by the name that
# Linux has for it, and half of the table's mean is used. A Raspberry Pi draws a few W. Measure at the plug.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check eco2ai==0.3.12 carbontracker==2.4.7 pandas==2.3.3
cd "$folder"
venv/bin/python - >log 2>&1 <<'PROGRAM' || { cat log >&2; exit 1; }
import warnings
from pathlib import Path

import eco2ai
from carbontracker.components.cpu.generic import GenericCPU
from eco2ai.tools.tools_cpu import find_tdp_value

TABLE = Path(eco2ai.__file__).parent / "data" / "cpu_names.csv"


def by_carbontracker(name):
    """Return the W that carbontracker finds for a name, or None, and what it takes otherwise."""
    processor = GenericCPU([], False)
    processor.cpu_brand = name
    return processor.find_matching_tdp(), processor.average_tdp


for name, by_eco2ai, warned in [
    ("ARMv6-compatible processor rev 7 (v6l)", 250, False), ("ARMv7 Processor rev 4 (v7l)", 115, False),
    ("ARMv7 Processor rev 3 (v7l)", 65, False), ("Cortex-A53", 100.1, True),
    ("Intel(R) Celeron(R) J4125 CPU @ 2.00GHz", 10, False), ("Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz", 15, False),
]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        power = find_tdp_value(name, TABLE, ignore_warnings=False)
    found, mean = by_carbontracker(name)
    print(f"{name}: eco2ai {power} W{' and a warning' if caught else ''}, carbontracker {found or f'{mean:.1f} W, the mean'}")
    assert power == by_eco2ai and bool(caught) == warned, "eco2ai finds something else now"
    assert found is None and 35 < mean < 37, "carbontracker finds the processor now"
table = GenericCPU([], False).cpu_power_data
assert table["Intel Celeron J4125"] == 10 and table["Intel Core i5-8250U"] == 15, "the table has changed"
PROGRAM
grep ': eco2ai' log
