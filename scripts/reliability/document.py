"""Write docs/reliability.md again, section by section, from what these commands print.

    python scripts/reliability/document.py [NAME...]

All of them take an hour or two on two cores; names choose some: see SECTIONS.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pibench import process

TOP = Path(__file__).parents[2]
DOCUMENT = TOP / "docs" / "reliability.md"
SECTIONS = {
    "faults": "-m pytest -q -s -m emulation tests/emulation/test_sweep.py",
    "scheduler": "scripts/reliability/scheduler.py --cells 100000",
    "soak-container": "scripts/reliability/soak.py --runs 500 --target container",
    "soak-vm": "scripts/reliability/soak.py --runs 500 --target vm",
    "crowd": "scripts/reliability/crowd.py --runs 200",
    "fuzzing": "scripts/reliability/fuzz.py --count 100000",
    "opencv": "scripts/reliability/against_opencv.py",
}
DEADLINE_S = 4 * 3600.0


def printed(command: str) -> str:
    """What a command prints; of tests only the lines that they print themselves, as a list."""
    words = [sys.executable, *command.split()]
    output = process.run(words, deadline_s=DEADLINE_S, cwd=TOP, env={"PYTHONPATH": str(TOP)}).stdout
    if "pytest" not in command:
        return output.strip()
    lines = [line.lstrip(".") for line in output.splitlines()]
    return "\n".join(f"- {line}" for line in lines if re.match(r"[A-Za-z0-9].*: ", line))


def main() -> None:
    """Replace each section that is asked for, between its marks."""
    for name in sys.argv[1:] or SECTIONS:
        if name not in SECTIONS:
            sys.exit(f"{name} is none of {', '.join(SECTIONS)}")
        body = printed(SECTIONS[name])
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, found, rest = DOCUMENT.read_text(encoding="utf-8").partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            sys.exit(f"{DOCUMENT}: the marks of {name} are missing")
        DOCUMENT.write_text(f"{before}{begin}\n{body}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
