#!/usr/bin/env python3
"""Planned peaks beside those of records, as the Markdown of docs/planned-against-measured.md.

    planned_against_measured.py RECORDS.jsonl...

Records are what `pibench run --out RECORDS.jsonl` appends; those of networks that are not
in the zoo are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pibench import devices, networks
from pibench.crosscheck.planned import Comparison, compare, environment_of, markdown
from pibench.plan.planner import plan
from pibench.records.schema import Record
from pibench.records.store import RecordStore

HEAD = """# Planned against measured

Peak RSS in MiB (2^20 bytes) as `pibench plan` plans it from the prototxt, and as real Caffe
reached it. `make planned-against-measured` runs the networks and writes this file. Networks
that a machine's kernel killed have no measured peak there.
"""


def main() -> None:
    """Print the document."""
    groups: dict[str, list[Comparison]] = {}
    for path in sys.argv[1:]:
        for record in RecordStore(Path(path)).read():
            if record.network_source == "zoo":
                groups.setdefault(heading(record), []).append(row(record))
    print(HEAD)
    for title, rows in groups.items():
        print(f"## {title}\n")
        print(markdown(rows))


def heading(record: Record) -> str:
    """What one table's records have in common."""
    environment = environment_of(record, devices.load(record.device))
    return (
        f"{record.protocol}, target {record.target} ({environment.architecture}, OpenBLAS for "
        f"{environment.core}, {environment.threads} threads), {record.compute} compute, "
        f"batch {record.batch}"
    )


def row(record: Record) -> Comparison:
    """The record's network, planned for where it ran."""
    network = networks.load(record.network, batch=record.batch)
    environment = environment_of(record, devices.load(record.device))
    planned = plan(network, protocol=record.protocol, environment=environment)
    return compare(record, planned.peak_rss_bytes)


if __name__ == "__main__":
    main()
