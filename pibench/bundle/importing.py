"""From a board's results to records, by the same path as any target's."""

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

# What code may raise over values that no probe would give, though each is well on its own.
_ABSURD: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


class BoardTarget:
    """The board that a kit ran on: what ran there is done, and nothing can be run."""

    name: TargetName = "native"
    machine: Machine | None = None

    def prepare(self, work: Sequence[Work]) -> None:
        """Nothing."""

    def run(self, work: Sequence[Work], observe: Observer, watch: Watcher) -> None:
        """Nothing: the results are at hand."""

    def environment(self) -> dict[str, str | None]:
        """No emulator and no image of this machine."""
        return {"qemu_version": None, "image_lock_digest": None}


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The records of a file of results, and how many of them were in the store before."""

    records: tuple[Record, ...]
    known: int


def import_results(
    path: Path, *, kit: Path | None = None, store: RecordStore | None = None
) -> Imported:
    """Make records of a board's results, and append to `store` those that it does not have.

    All are made before the first is written. Raises InvalidInputError for results that are
    damaged, of another kit or not whole, HostError if a record cannot be written.
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
    # The same line is the same record, however often it is imported.
    name = hashlib.sha256(f"record of {run.digest}".encode()).hexdigest()[:32]
    return record.model_copy(update={"record_id": name})
