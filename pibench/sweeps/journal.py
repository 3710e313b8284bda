"""The journal of a study, one sealed record per cell in an append-only file, and its status.

A folder contains `journal.jsonl`, an ordinary file of records, `cells.jsonl`, the
most recent list of cells with their keys, and `study.json`. One sweep at a time writes there.
The cache has the sealed records of all studies, by the keys of their cells.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic_core import from_json

from pibench import cache, file_io, settings
from pibench.errors import HostError, InvalidInputError, PibenchError
from pibench.file_io import write_whole, writing_whole
from pibench.images.recipe import fingerprint
from pibench.records.schema import CellMark, Record, Verdict
from pibench.records.store import RecordStore, numbered_lines, record_from

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
            file = self._lock_file.open("ab")
        except OSError as error:
            raise InvalidInputError.at(
                self.folder, None, f"cannot be written ({error.strerror})", hint="another --out"
            ) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HostError(
                    f"{self.folder}: another sweep is running there",
                    hint=f"watch it: pibench sweep status {self.folder}",
                ) from None
            self.store.prepare()
            yield

    @property
    def at_work(self) -> bool:
        """Whether a sweep is running there; a sweep that ends or is killed releases the lock."""
        try:
            with self._lock_file.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    @property
    def _lock_file(self) -> Path:
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
        with writing_whole(self.cells_file) as file:
            for count, cell in enumerate(cells, start=1):  # noqa: B007  (returned)
                file.write(json.dumps(cell, separators=(",", ":")).encode("ascii") + b"\n")
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
            yield from numbered_lines(file, _LONGEST_LINE_BYTES)


class CellCache:
    """Records by the keys of their cells, one file each, written atomically and checked on read."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or settings.cache_dir() / "cells"

    def get(self, key: str) -> Record | None:
        """Return the record of a cell; a damaged file is removed and None returned.

        The record is sealed again: reading upgrades a record of an earlier version, and the old
        seal does not match the upgraded record.
        """
        path = self._path(key)
        try:
            line = file_io.read_input(path, most_bytes=_LONGEST_LINE_BYTES)
        except InvalidInputError:
            return None
        with suppress(PibenchError):
            mark = mark_of(line.rstrip(b"\n"))
            if mark and mark[0] == key and mark[1] != "inconclusive":
                (record,) = RecordStore(path).read()
                return sealed(record, key, record.cell.attempt if record.cell else 1)
        with suppress(OSError):
            path.unlink()
        return None

    def put(self, record: Record) -> None:
        """Store a sealed record if it is conclusive. Raises HostError."""
        if record.cell is not None and record.verdict != "inconclusive":
            path = self._path(record.cell.key)
            if path.is_relative_to(settings.cache_dir()):
                # If the folder cannot be created, the write below reports it.
                with suppress(OSError):
                    cache.make_folder(path.parent)
            write_whole(path, record.model_dump_json() + "\n")

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.jsonl"


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
