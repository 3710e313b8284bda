"""Cache of cells from all studies, in a folder that several people may share."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pibench import cache, settings, untrusted_input
from pibench.atomic_write import write_whole
from pibench.errors import InvalidInputError, PibenchError
from pibench.records.schema import Record
from pibench.records.store import RecordStore
from pibench.sweep.journal import mark_of, sealed

_MOST_BYTES = 64 << 20


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
            line = untrusted_input.read(path, most_bytes=_MOST_BYTES)
        except InvalidInputError:
            return None
        with contextlib.suppress(PibenchError):
            mark = mark_of(line.rstrip(b"\n"))
            if mark and mark[0] == key and mark[1] != "inconclusive":
                (record,) = RecordStore(path).read()
                return sealed(record, key, record.cell.attempt if record.cell else 1)
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def put(self, record: Record) -> None:
        """Store a sealed record if it is conclusive. Raises HostError."""
        if record.cell is not None and record.verdict != "inconclusive":
            path = self._path(record.cell.key)
            if path.is_relative_to(settings.cache_dir()):
                # If the folder cannot be created, the write below reports it.
                with contextlib.suppress(OSError):
                    cache.make_folder(path.parent)
            write_whole(path, record.model_dump_json() + "\n")

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.jsonl"
