#!/usr/bin/env python3
"""Planned peaks beside measured ones, as the Markdown of docs/planned-against-measured.md.

    planned_against_measured.py FOLDER

Runs the paper's networks on the twin and in the VM, and keeps the records in FOLDER: what
is there already is not run again. About eight minutes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pibench import devices, networks
from pibench.crosscheck.planned import Comparison, compare, environment_of, summary
from pibench.devices import MIB
from pibench.plan.planner import plan
from pibench.records.schema import Record
from pibench.records.store import RecordStore

RUNS = (
    ("twin", "caffe-time", "memory-only"),
    ("twin", "inference", "real"),
    ("vm", "caffe-time", "memory-only"),
    ("vm", "inference", "memory-only"),
)

HEAD = """# Planned against measured

Peak RSS in MiB (2^20 bytes) as `pibench plan` plans it from the prototxt, and as real Caffe
reached it. Written by `make planned-against-measured`. Networks that the VM's kernel killed
have no measured peak there; from one that needs nearly all of the VM's memory it takes the
program's file pages back, so that the measured peak is lower.
"""


def main() -> None:
    """Run what was not run, and print the document."""
    folder = Path(sys.argv[1])
    print(HEAD)
    for target, protocol, compute in RUNS:
        path = folder / f"{target}-{protocol}.jsonl"
        if not path.exists():
            measure(path, "--target", target, "--protocol", protocol, "--compute", compute)
        records = RecordStore(path).read()
        print(f"## {heading(records[0])}\n")
        print(markdown([row(record) for record in records]))


def measure(path: Path, *options: str) -> None:
    """Run the paper's networks; records go to `path` when all are there."""
    names = [entry.name for entry in networks.catalog_entries() if entry.in_paper]
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pibench", "run", *names, *options, "--out", str(partial)]
    subprocess.run(command, stdout=sys.stderr, check=True)
    partial.rename(path)


def heading(record: Record) -> str:
    """Return what one table's records have in common."""
    environment = environment_of(record, devices.load(record.device))
    return (
        f"{record.protocol}, target {record.target} ({environment.architecture}, OpenBLAS for "
        f"{environment.core}, {environment.threads} threads), {record.compute} compute"
    )


def row(record: Record) -> Comparison:
    """Return the record's network, planned for where it ran."""
    network = networks.load(record.network, batch=record.batch)
    environment = environment_of(record, devices.load(record.device))
    planned = plan(network, protocol=record.protocol, environment=environment)
    return compare(record, planned)


def markdown(rows: Sequence[Comparison]) -> str:
    """Format a table in MiB for the documentation."""
    lines = [
        "| network | planned MiB | measured MiB | error % |",
        "|---|---|---|---|",
    ]
    for row in rows:
        measured = f"{row.measured_bytes / MIB:.1f}" if row.measured_bytes else "killed"
        error = f"{100 * row.error:+.2f}" if row.error is not None else ""
        name = row.network.replace("|", "\\|")
        lines.append(f"| {name} | {row.planned_bytes / MIB:.1f} | {measured} | {error} |")
    return "\n".join([*lines, "", summary(rows), ""])


if __name__ == "__main__":
    main()
