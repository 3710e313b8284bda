"""Run one cell: `pibench run` in a separate process, whose failure cannot harm the study."""

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
"""Time in addition to the network's: building images, booting a machine, running the twin."""


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """The result of a cell: its record and attempt number, or the reason for a missing record.

    `made_with` is the `made_with` of the machine that ran it, perhaps another one.
    """

    record: Record | None
    exit_code: int
    said: str
    attempt: int
    elapsed_s: float
    made_with: dict[str, str | None]


def run_cell(cell: Cell) -> CellResult:
    """Run a cell; run it a second time from scratch if it was inconclusive or failed.

    It raises no exception: the result reports why a cell could not run.
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
        # A timeout is not the machine's fault: later cells may succeed.
        over = time.monotonic() - begun >= budget_s
        code, said = int(ExitCode.INCONCLUSIVE if over else ExitCode.ENVIRONMENT), str(error)
        if over:
            said = f"beyond its budget of {budget_s:g} s; allow more: --budget SECONDS"
    if record is None and code == ExitCode.OK:
        code, said = int(ExitCode.ENVIRONMENT), said or "it ended without a record"
    elapsed_s = time.monotonic() - started
    # A signal ended it: the interrupted run is repeated.
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
    """Return the record with the path from the study: the copy that ran is deleted."""
    if record is None or cell.prototxt is None:
        return record
    return record.model_copy(update={"network_source": cell.source})


def command(cell: Cell, folder: Path, out: Path) -> Iterator[str | Path]:
    """Yield the arguments of `pibench`; a network's text is written to `folder` under its name."""
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
