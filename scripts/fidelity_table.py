#!/usr/bin/env python3
"""Print how far each way can be trusted, as a table for README.md and docs/trust.md.

    fidelity_table.py FOLDER

Runs the paper's 26 networks on each target and keeps what comes out in FOLDER: what is there
already is not run again. Four minutes on two cores that did other work too. Outputs take
hours: their line is read from the table of docs/outputs.md, which `make outputs-document` writes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from textwrap import wrap
from typing import Any

from pibench import devices, networks
from pibench.cli.reproduce import FilesOfRun
from pibench.crosscheck.blobs import OUTPUT_TOLERANCE
from pibench.crosscheck.planned import compare, environment_of
from pibench.errors import ExitCode
from pibench.plan.planner import plan
from pibench.records.store import RecordStore
from pibench.runner.options import RunOptions

TARGETS = ("vm", "container", "sysroot", "twin")
OUTPUTS = Path(__file__).resolve().parent.parent / "docs/outputs.md"
OUTPUTS_ROW = re.compile(r"^\|[^|]+\| (\d+) \|(?:[^|]*\|){4} ([\d.e+-]+) \| (\w+) \|", re.MULTILINE)


def main() -> None:
    """Run what was not run, and print the table."""
    print("\n".join(lines(Path(sys.argv[1]))))


def lines(folder: Path) -> list[str]:
    """Return the table, and what it does not contain."""
    return [
        "| 26 networks | verdicts as printed | RAM against the paper | plan against its peaks |",
        "|---|---|---|---|",
        *(row(target, reproduced(folder, target)) for target in TARGETS),
        "",
        *wrap(f"Errors are means of absolute values, then the worst. {latency()} {outputs()}", 118),
    ]


def reproduced(folder: Path, target: str) -> FilesOfRun:
    """Return the files that `pibench reproduce` wrote."""
    files = FilesOfRun.of(folder, RunOptions(target=target))
    if not files.report.exists():
        command = [*pibench("reproduce"), "--target", target, "--out", str(folder)]
        code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
        # The table reports verdicts that differ.
        if code not in (ExitCode.OK, ExitCode.DISAGREEMENT, ExitCode.INCONCLUSIVE):
            raise SystemExit(code)
    return files


def row(target: str, files: FilesOfRun) -> str:
    """Return one target's row: its ledger's totals, and the plans for it against its own peaks."""
    total = json.loads(files.claims_json.read_text(encoding="utf-8"))["summary"]
    of_ram, verdicts = total["ram_mb"], total["verdict"]
    ram = error(of_ram["mean_absolute_error_pct"], of_ram["worst_error_pct"], 1)
    errors = planned_errors(files.records, target)
    worst = max(errors, key=lambda name: abs(errors[name]))
    plans = error(fmean(map(abs, errors.values())), errors[worst], 2)
    cells = (
        f"`{target}`",
        f"{verdicts['agreed']} of {verdicts['total']}",
        f"{ram} ({of_ram['worst_network']}), {of_ram['compared']} networks",
        f"{plans} ({worst}), {len(errors)} networks",
    )
    return f"| {' | '.join(cells)} |"


def planned_errors(records: Path, target: str) -> dict[str, float]:
    """By network, the planned peak less a target's in per cent; of those that ended."""
    errors = {}
    for record in RecordStore(records).read():
        if record.target != target:
            continue
        environment = environment_of(record, devices.load(record.device))
        network = networks.load(record.network, batch=record.batch)
        planned = plan(network, protocol=record.protocol, environment=environment)
        found = compare(record, planned).error
        if found is not None:
            errors[record.network] = 100 * found
    return errors


def latency() -> str:
    """Return what `pibench predict --validate` reports."""
    completed = subprocess.run(
        [*pibench("predict"), "--validate", "--json"], stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(completed.stdout)
    counted = [one for one in found["rows"] if one["counted"]]
    figures = error(found["mape_pct"], max((one["error_pct"] for one in counted), key=abs), 1)
    return (
        f"Predicted latency of a network left out: {figures}, "
        f"{len(counted)} networks (`pibench predict --validate`)."
    )


def outputs() -> str:
    """Return the last line, from the table of docs/outputs.md."""
    found = OUTPUTS_ROW.findall(OUTPUTS.read_text(encoding="utf-8"))
    needed = max(float(rtol) for _, rtol, _ in found)
    same = sum(top5 == "same" for _, _, top5 in found)
    return (
        f"Outputs on amd64 and on emulated arm64: an rtol of {needed:.1e} would be enough, "
        f"{OUTPUT_TOLERANCE.rtol:g} is used; the same first five classes for {same} of "
        f"{len(found)} networks (docs/outputs.md)."
    )


def error(mean: float, worst: float, decimals: int) -> str:
    """Format a mean absolute error and the worst one, in per cent."""
    return f"{mean:.{decimals}f} %, {worst:+.{decimals}f} %"


def pibench(command: str) -> list[str]:
    """Return the command line of this environment."""
    return [sys.executable, "-m", "pibench", command]


if __name__ == "__main__":
    main()
