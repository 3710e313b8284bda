"""A simulated study of many cells: what the scheduler costs a cell, and the memory it takes.

    python scripts/reliability/scheduler.py --cells 100000

Cells are answered at once by a stub in the place of a target; all else is real: the matrix,
keys, sealed records, a journal that is synced to the disk record by record. Prints Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path
from uuid import uuid4

import psutil

from pibench.sweeps import matrix
from pibench.sweeps.execute import CellResult, Room
from pibench.sweeps.journal import Journal
from pibench.sweeps.matrix import Cell, made_with
from pibench.sweeps.scheduler import SweepScheduler, SweepSummary
from tests import whole_records

NETWORKS = ("SqueezeNet V1.1", "NIN")
BATCHES = tuple(range(1, 11))
ROWS = 5
MIB = 2**20


def answered(cell: Cell) -> Future[CellResult]:
    """A cell's record, at once."""
    record = whole_records.record(record_id=uuid4().hex)
    future: Future[CellResult] = Future()
    made = made_with(cell.options.target)
    future.set_result(
        CellResult(record=record, exit_code=0, message="", attempt=1, elapsed_s=0.0, made_with=made)
    )
    return future


def main() -> None:
    """Run the study, then resume it when nothing is left."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=100_000)
    seeds = parser.parse_args().cells // (len(NETWORKS) * len(BATCHES))
    study = matrix.of(
        {
            "networks": NETWORKS,
            "batch": BATCHES,
            "seed": list(range(seeds)),
            "protocol": "inference",
        },
        "the study",
    )
    step = max(1, study.combinations // ROWS)
    print("| cells | ms a cell | memory MiB |\n|---:|---:|---:|", flush=True)
    begun = time.monotonic()

    def watch(tally: SweepSummary, *_: object) -> None:
        if tally.ran and tally.ran % step == 0:
            took_ms = (time.monotonic() - begun) * 1000 / tally.ran
            memory_mib = psutil.Process().memory_info().rss / MIB
            print(f"| {tally.ran} | {took_ms:.2f} | {memory_mib:.1f} |", flush=True)

    with tempfile.TemporaryDirectory() as folder:

        def conducted() -> SweepSummary:
            return SweepScheduler(
                study=study,
                journal=Journal(Path(folder)),
                submit=answered,
                room=Room(memory_bytes=1 << 40, cores=1 << 20),
                cache=None,
                on_change=watch,
            ).run()

        conducted()
        again = time.monotonic()
        assert conducted().ran == 0  # noqa: S101
        took_s = time.monotonic() - again
        print(f"\nResumed with nothing left to do: {took_s:.0f} s.")


if __name__ == "__main__":
    main()
