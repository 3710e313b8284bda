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
from typing import NamedTuple

from pibench import devices, networks
from pibench.crosscheck.planned import environment_of
from pibench.engines.registry import engine_of
from pibench.plan.environment import Program
from pibench.plan.planner import plan
from pibench.records.schema import Record
from pibench.records.store import RecordStore


def main() -> None:
    """Print the tables."""
    groups: dict[str, list[Seen]] = {}
    for path in sys.argv[1:]:
        for record in RecordStore(Path(path)).read():
            if record.network_source == "zoo" and record.evidence.exit_status == 0:
                one = planned(record)
                groups.setdefault(one.table, []).append(one)
    for name, seen in groups.items():
        print("\n".join(table(name, seen)), end="\n\n")


class Seen(NamedTuple):
    """A record, the name of its table, its plan's peak in bytes, and the program's figures.

    `is_read` is whether the planned peak is where an engine reads the network.
    """

    table: str
    record: Record
    planned_bytes: int
    program: Program
    is_read: bool

    @property
    def beyond_bytes(self) -> int:
        """What was measured beyond the plan."""
        return (self.record.peak_rss_bytes or 0) - self.planned_bytes


def planned(record: Record) -> Seen:
    """Plan what a record is of."""
    environment = environment_of(record, devices.load(record.device))
    network = networks.load(record.network, batch=record.batch)
    found = plan(network, protocol=record.protocol, environment=environment)
    name = f"{environment.architecture}.{record.protocol}"
    if not environment.is_caffe:
        engine = engine_of(environment.engine)
        name = f'engines.{engine.id}."{engine.wheel_version}".{environment.architecture}'
    is_read = not environment.is_caffe and found.peak_step.phase in ("read", "weights")
    program = environment.program(record.protocol)
    return Seen(name, record, found.peak_rss_bytes, program, is_read)


def table(name: str, seen: list[Seen]) -> list[str]:
    """Return one table: the medians, and the error that remains with them."""
    beyond = {
        is_read: round(statistics.median(shifts))
        for is_read in (False, True)
        if (shifts := [one.beyond_bytes for one in seen if one.is_read == is_read])
    }
    rows = [
        ((one.planned_bytes + beyond[one.is_read]) / (one.record.peak_rss_bytes or 1) - 1, one)
        for one in seen
    ]
    rows.sort(key=lambda row: -abs(row[0]))
    baseline = round(statistics.median(one.record.baseline_rss_bytes or 0 for one in seen))
    program = seen[0].program
    lines = [
        f"[{name}]  # {len(seen)} records, worst error {abs(rows[0][0]):.4f}",
        f"baseline_bytes = {baseline:_}",
    ]
    if name.startswith("engines."):
        in_read = program.program_bytes + beyond.get(True, 0)
        in_pass = program.program_bytes + program.loading_bytes + beyond.get(False, 0)
        lines += [f"program_bytes = {in_read:_}", f"loading_bytes = {in_pass - in_read:_}"]
    else:
        lines.append(f"program_bytes = {program.program_bytes + beyond[False]:_}")
    return lines + [f"# {100 * error:+.2f} % {one.record.network}" for error, one in rows]


if __name__ == "__main__":
    main()
