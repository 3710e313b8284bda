"""Running one cell: `pibench run` in a process of its own, which cannot harm the study."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pibench import process
from pibench.errors import ExitCode, PibenchError
from pibench.records.store import RecordStore
from pibench.runner.work import TIMEOUT_S
from pibench.sweep.cell_key import made_with
from pibench.targets.scratch import scratch

if TYPE_CHECKING:
    from pibench.records.schema import Record
    from pibench.sweep.matrix import Cell

ATTEMPTS: Final = 2
AROUND_S: Final = 900.0
"""Beside the network's own time: images being built, a machine booting, the twin asked."""


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """What became of a cell: its record and which attempt made it, or why there is none.

    `made_with` is `made_with` of the machine that ran it, another one perhaps.
    """

    record: Record | None
    exit_code: int
    said: str
    attempt: int
    elapsed_s: float
    made_with: dict[str, str | None]


def run_cell(cell: Cell) -> CellResult:
    """Run a cell; once more, with all started afresh, if that was inconclusive or failed.

    Raises nothing: a cell that cannot be run says so in its result.
    """
    started = time.monotonic()
    ran = _run_once(cell, 1, started)
    for attempt in range(2, ATTEMPTS + 1):
        if ran.exit_code not in (ExitCode.INCONCLUSIVE, ExitCode.ENVIRONMENT):
            break
        ran = _run_once(cell, attempt, started)
    return ran


def _run_once(cell: Cell, attempt: int, started: float) -> CellResult:
    request = cell.options.request()
    budget_s = cell.budget_s or (request.timeout_s or TIMEOUT_S[request.compute]) + AROUND_S
    record = None
    begun = time.monotonic()
    try:
        with scratch("study") as folder:
            out = folder / "record.jsonl"
            done = process.run(
                [sys.executable, "-m", "pibench", *command(cell, folder, out)],
                deadline_s=budget_s,
                check=False,
            )
            code, said = done.returncode, done.last_lines(1)
            if out.exists():
                record = _with_source(cell, next(iter(RecordStore(out).read()), None))
    except (PibenchError, OSError) as error:
        # Over its time is no fault of the machine: the cells after it may do well.
        over = time.monotonic() - begun >= budget_s
        code, said = int(ExitCode.INCONCLUSIVE if over else ExitCode.ENVIRONMENT), str(error)
        if over:
            said = f"beyond its budget of {budget_s:g} s; allow more: --budget SECONDS"
    if record is None and code == ExitCode.OK:
        code, said = int(ExitCode.ENVIRONMENT), said or "it ended without a record"
    elapsed_s = time.monotonic() - started
    # A signal ended it: what it was in the midst of is run again.
    code = code if code >= 0 else int(ExitCode.ENVIRONMENT)
    return CellResult(
        record=record,
        exit_code=code,
        said=said,
        attempt=attempt,
        elapsed_s=elapsed_s,
        made_with=made_with(cell.options.target),
    )


def _with_source(cell: Cell, record: Record | None) -> Record | None:
    """The record with the path that the study gave: the copy that ran is gone."""
    if record is None or cell.prototxt is None:
        return record
    return record.model_copy(update={"network_source": cell.source})


def command(cell: Cell, folder: Path, out: Path) -> Iterator[str | Path]:
    """The words after `pibench`; a network's text is put into `folder`, under its own name."""
    options = cell.options
    network: str | Path = cell.network
    if cell.prototxt is not None:
        network = folder / Path(cell.network).name
        network.write_text(cell.prototxt, encoding="utf-8")
    yield from ("run", "--quiet", "--jobs", "1", "--out", out)
    values = {
        "--weights": cell.weights,
        "--batch": cell.batch,
        "--input": cell.input,
        "--device": options.device,
        "--target": options.target,
        "--machine": options.machine,
        "--protocol": options.protocol,
        "--compute": options.compute,
        "--blas": options.blas,
        "--repeats": options.repeats,
        "--threads": options.threads,
        "--timeout": options.timeout_s,
        "--seed": options.seed,
    }
    for name, value in values.items():
        if value is not None:
            yield from (name, str(value))
    if cell.repair:
        yield "--repair"
    yield from ("--", network)
