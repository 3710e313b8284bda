#!/usr/bin/env python3
"""Measure again, from records, what pibench/plan/calibration.toml states about the programs.

    calibrate_plan.py RECORDS.jsonl...

Prints a table per architecture and protocol. Records are what `pibench run --out
RECORDS.jsonl` appends: of the zoo's networks, as many as possible, for example

    pibench run squeezenet-v1.1 nin googlenet alexnet resnet-101 --target twin --out twin.jsonl

A program's own bytes come out as the median of what was measured beyond the plan.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from pibench import devices, networks
from pibench.crosscheck.planned import environment_of
from pibench.plan.planner import plan
from pibench.records.schema import Record
from pibench.records.store import RecordStore


def main() -> None:
    """Print the tables."""
    groups: dict[str, list[tuple[Record, int, int]]] = {}
    for path in sys.argv[1:]:
        for record in RecordStore(Path(path)).read():
            if record.network_source == "zoo" and record.evidence.exit_status == 0:
                key, planned_bytes, program_bytes = planned(record)
                groups.setdefault(key, []).append((record, planned_bytes, program_bytes))
    for key, seen in groups.items():
        print("\n".join(table(key, seen)), end="\n\n")


def planned(record: Record) -> tuple[str, int, int]:
    """Return the record's table, its planned peak, and the program's bytes in it."""
    environment = environment_of(record, devices.load(record.device))
    network = networks.load(record.network, batch=record.batch)
    found = plan(network, protocol=record.protocol, environment=environment)
    key = f"{environment.architecture}.{record.protocol}"
    return key, found.peak_rss_bytes, environment.program(record.protocol).program_bytes


def table(key: str, seen: list[tuple[Record, int, int]]) -> list[str]:
    """Return one table: the medians, and the error that remains with them."""
    beyond = [(record.peak_rss_bytes or 0) - planned_bytes for record, planned_bytes, _ in seen]
    shift = round(statistics.median(beyond))
    errors = [
        abs((planned_bytes + shift) / (record.peak_rss_bytes or 1) - 1)
        for record, planned_bytes, _ in seen
    ]
    baseline = statistics.median(record.baseline_rss_bytes or 0 for record, _, _ in seen)
    return [
        f"[{key}]  # {len(seen)} records, worst error {max(errors):.4f}",
        f"baseline_bytes = {round(baseline):_}",
        f"program_bytes = {seen[0][2] + shift:_}",
    ]


if __name__ == "__main__":
    main()
