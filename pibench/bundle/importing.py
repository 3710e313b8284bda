"""Convert a board's results to records, by the same path as for any target."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pibench import devices
from pibench.bundle.reading import BoardResults, BoardRun, read_results
from pibench.errors import InvalidInputError
from pibench.runner.observation import Context
from pibench.runner.record import record_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.records.schema import Machine, Record
    from pibench.records.schema import Target as TargetName
    from pibench.records.store import RecordStore
    from pibench.targets.base import Observer, Watcher, Work

# Raised by code for values that a probe never reports, although each one alone is valid.
_ABSURD: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


class BoardTarget:
    """The board that ran a kit: its runs are complete, and nothing can be run."""

    name: TargetName = "native"
    machine: Machine | None = None

    def prepare(self, work: Sequence[Work]) -> None:
        """Do nothing."""

    def run(self, work: Sequence[Work], observe: Observer, watch: Watcher) -> None:
        """Do nothing: the results already exist."""

    def environment(self) -> dict[str, str | None]:
        """Return an empty environment: no emulator or image of this machine was used."""
        return {"qemu_version": None, "image_lock_digest": None}


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The records of a file of results, and how many of them the store already had."""

    records: tuple[Record, ...]
    known: int


def import_results(
    path: Path, *, kit: Path | None = None, store: RecordStore | None = None
) -> Imported:
    """Convert a board's results to records, and append the new ones to `store`.

    All records are created before the first one is written.

    Raises:
        InvalidInputError: for results that are damaged, of another kit or incomplete.
        HostError: if a record cannot be written.
    """
    results = read_results(path, kit)
    records = tuple(_record(results, run) for run in results.runs)
    if store is None:
        return Imported(records=records, known=0)
    store.prepare()
    return Imported(records=records, known=len(records) - store.append_new(records))


def _record(results: BoardResults, run: BoardRun) -> Record:
    context = Context(device=devices.load(results.manifest.device), target=BoardTarget())
    try:
        record = record_of(run.network.facts(), run.outcome, context, None)
    except _ABSURD as error:
        said = " ".join(str(error).split())[:300]
        raise InvalidInputError.at(
            results.path,
            f"line {run.line}",
            f"no record can be made of it: {said}",
            hint="use the version of pibench that made the kit",
        ) from error
    # The same line gives the same record id, however often it is imported.
    name = hashlib.sha256(f"record of {run.digest}".encode()).hexdigest()[:32]
    return record.model_copy(update={"record_id": name})
