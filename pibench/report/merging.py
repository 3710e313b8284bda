"""Merge the records of several files: the latest record of each run counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pibench import devices
from pibench.crosscheck.reading import read_records
from pibench.errors import InvalidInputError
from pibench.records.identity import latest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pibench.records.schema import Record


@dataclass(frozen=True, kw_only=True)
class Merged:
    """The records that count, in the order in which each run first occurred.

    `superseded` is the number of records that a later one of the same run replaced.
    """

    records: tuple[Record, ...]
    superseded: int


def read_all(paths: Sequence[Path]) -> Merged:
    """Read and merge the records of all files.

    Raises:
        InvalidInputError: for a file without records, or a record of an unknown device.
    """
    records: list[Record] = []
    for path in paths:
        found = read_records(path)
        if not found:
            raise InvalidInputError.at(
                path, None, "holds no record", hint="give a file that run --out wrote"
            )
        for record in found:
            _check(path, record)
        records += found
    return merge(records)


def merge(records: Iterable[Record]) -> Merged:
    """Keep the latest record of each run; identical records are merged into one.

    Raises:
        InvalidInputError: if two records with one id differ, since one must have been edited.
    """
    distinct: dict[str, Record] = {}
    for record in records:
        if distinct.setdefault(record.record_id, record) != record:
            raise InvalidInputError(
                f"two different records have the id {record.record_id}",
                hint="remove the one that was edited",
            )
    counting = latest([*distinct.values()])
    return Merged(records=tuple(counting), superseded=len(distinct) - len(counting))


def _check(path: Path, record: Record) -> None:
    place = f"record {record.record_id}"
    try:
        devices.load(record.device)
    except InvalidInputError as error:
        raise InvalidInputError.at(path, place, error.message, hint=error.hint) from None
