"""The journal of a study, one sealed record per cell in an append-only file, and its status.

A folder contains `journal.jsonl`, an ordinary file of records, `cells.jsonl`, the
most recent list of cells with their keys, and `study.json`. One sweep at a time writes there.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

from pydantic_core import from_json

from pibench import file_io
from pibench.errors import HostError, InvalidInputError
from pibench.file_io import write_whole
from pibench.images.recipe import fingerprint
from pibench.records.schema import CellMark, Record, Verdict
from pibench.records.store import RecordStore, record_from

_UNSEALED = "0" * 64
_VERDICTS: Final = get_args(Verdict)
_LONGEST_LINE_BYTES = 64 << 20
"""Per record: the signatures and outputs of a large network take about a megabyte."""


def sealed(record: Record, key: str, attempt: int) -> Record:
    """Return the record with the cell's mark and seal."""
    mark = CellMark(key=key, attempt=attempt, seal=_UNSEALED)
    seal = fingerprint(record.model_copy(update={"cell": mark}).model_dump(mode="json"))
    return record.model_copy(update={"cell": mark.model_copy(update={"seal": seal})})


def mark_of(line: bytes) -> tuple[str, Verdict] | None:
    """Return the cell's key and verdict from a journal line; None if it is damaged."""
    try:
        data = from_json(line)
        seal, key, verdict = data["cell"]["seal"], data["cell"]["key"], data["verdict"]
    except (ValueError, TypeError, KeyError):
        return None
    if not isinstance(key, str) or verdict not in _VERDICTS:
        return None
    data["cell"]["seal"] = _UNSEALED
    return (key, verdict) if fingerprint(data) == seal else None


@dataclass(frozen=True, kw_only=True)
class JournalContent:
    """The content of a journal: the verdict of each cell by its key, and the damaged lines."""

    verdicts: dict[str, Verdict]
    damaged: tuple[int, ...]


class Journal:
    """The files of a study in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = RecordStore(folder / "journal.jsonl")
        self.study_file = folder / "study.json"
        self.cells_file = folder / "cells.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder if needed and lock it against other sweeps.

        Raises:
            HostError: if another sweep is running there.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise InvalidInputError.at(
                self.folder, None, f"cannot be written ({error.strerror})", hint="another --out"
            ) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HostError(
                    f"{self.folder}: another sweep is running there",
                    hint=f"watch it: pibench sweep status {self.folder}",
                ) from None
            self.store.prepare()
            yield
        finally:
            os.close(descriptor)

    @property
    def at_work(self) -> bool:
        """Whether a sweep is running there; a sweep that ends or is killed releases the lock."""
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @property
    def _lock(self) -> Path:
        return self.folder / ".lock"

    def read(self) -> JournalContent:
        """Read the journal. A later record of a cell replaces an earlier one."""
        verdicts: dict[str, Verdict] = {}
        damaged = []
        for number, line in _lines(self.store.path):
            mark = mark_of(line)
            if mark is None:
                damaged.append(number)
            else:
                verdicts[mark[0]] = mark[1]
        return JournalContent(verdicts=verdicts, damaged=tuple(damaged))

    def records(self) -> Iterator[Record]:
        """Yield the latest record of each cell of the study, one at a time, to save memory.

        Records of cells that are no longer in the study, for example of a file that changed, remain
        in the journal only.
        """
        in_study = {cell["key"] for cell in self.cells()}
        lines = {
            mark[0]: number
            for number, line in _lines(self.store.path)
            if (mark := mark_of(line)) is not None and mark[0] in in_study
        }
        wanted = set(lines.values())
        for number, line in _lines(self.store.path):
            if number in wanted:
                yield record_from(from_json(line), self.store.path, f"line {number}")

    def set_aside(self, damaged: tuple[int, ...]) -> Path:
        """Move damaged lines into a separate file, so that the journal can be read completely."""
        good: list[bytes] = []
        bad: list[bytes] = []
        aside_lines = frozenset(damaged)
        for number, line in _lines(self.store.path):
            (bad if number in aside_lines else good).append(line + b"\n")
        aside = self.folder / "damaged.jsonl"
        RecordStore(aside).prepare()
        with aside.open("ab") as file:
            file.write(b"".join(bad))
            file.flush()
            os.fsync(file.fileno())
        write_whole(self.store.path, b"".join(good))
        return aside

    def write_cells(self, cells: Iterator[dict[str, Any]]) -> int:
        """Write the list of cells atomically; return their number."""
        count = 0
        unfinished = self.cells_file.with_suffix(".partial")
        try:
            with unfinished.open("w", encoding="ascii") as file:
                for cell in cells:
                    file.write(json.dumps(cell, separators=(",", ":")) + "\n")
                    count += 1
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.cells_file)
        except OSError as error:
            raise HostError(
                f"{self.cells_file}: not written: {error.strerror}", hint="make room there"
            ) from error
        finally:
            unfinished.unlink(missing_ok=True)
        return count

    def cells(self) -> Iterator[dict[str, Any]]:
        """Yield the list of cells: `key`, `label`, and `left_out` with the reason if it was."""
        for number, line in _lines(self.cells_file):
            try:
                cell = from_json(line)
                yield {"key": str(cell["key"]), "label": str(cell["label"]), **cell}
            except (ValueError, TypeError, KeyError):
                raise InvalidInputError.at(
                    self.cells_file, f"line {number}", "is damaged",
                    hint=f"write it again: pibench sweep --resume --out {self.folder}",
                ) from None  # fmt: skip


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, with their numbers; none if the file is missing."""
    if path.exists():
        with file_io.open_input(path, hint="give the folder of a study") as file:
            lines = iter(partial(file.readline, _LONGEST_LINE_BYTES), b"")
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip(b"\n")


@dataclass(frozen=True, kw_only=True)
class Status:
    """The number of cells, their verdicts, those left out with the reason, and those to run."""

    folder: str
    at_work: bool
    cells: int
    verdicts: dict[str, int]
    left_out: dict[str, str]
    missing: tuple[str, ...]
    damaged_lines: int


def status(folder: Path) -> Status:
    """Read the status. Raises InvalidInputError for a folder without a study."""
    journal = Journal(folder)
    if not journal.cells_file.exists():
        raise InvalidInputError.at(
            folder, None, "has no study", hint="name the folder that sweep --out wrote"
        )
    content = journal.read()
    verdicts: Counter[str] = Counter()
    left_out: dict[str, str] = {}
    missing: list[str] = []
    cells = 0
    for cell in journal.cells():
        cells += 1
        if "left_out" in cell:
            left_out[cell["label"]] = cell["left_out"]
        elif verdict := content.verdicts.get(cell["key"]):
            verdicts[verdict] += 1
        else:
            missing.append(cell["label"])
    return Status(
        folder=str(folder),
        at_work=journal.at_work,
        cells=cells,
        verdicts=dict(verdicts),
        left_out=left_out,
        missing=tuple(missing),
        damaged_lines=len(content.damaged),
    )
