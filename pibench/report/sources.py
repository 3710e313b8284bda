"""Read what a report is made of: the records of files, merged, and the networks behind them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pibench import networks
from pibench.crosscheck.sides import read_records
from pibench.engines import formats
from pibench.errors import InvalidInputError
from pibench.records.identity import latest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pibench.engines.caffe import Repair
    from pibench.networks.network import Network
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
                path, None, "has no record", hint="give a file that run --out wrote"
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
        _ = record.device_profile
    except InvalidInputError as error:
        raise InvalidInputError.at(path, place, error.message, hint=error.hint) from None


class Networks:
    """The zoo, the user's prototxt files, and networks already in memory.

    Records are not trusted: a file that only a record names is never opened.
    """

    def __init__(self, given: Sequence[Path] = (), at_hand: Sequence[Network] = ()) -> None:
        """Raise InvalidInputError for a given file that is not a network, even after fixes."""
        self._given = tuple(str(path) for path in given)
        for path in self._given:
            networks.load(path, repair=True)
        self._known = {network.sha256: network for network in at_hand}

    def without_record(self, records: Sequence[Record]) -> list[str]:
        """Return the given files that no record refers to."""
        hashes = {record.network_sha256 for record in records}
        batches = {None, *(record.batch for record in records)}
        return [
            path
            for path in self._given
            if hashes.isdisjoint(one.sha256 for one in _readings(path, batches))
        ]

    def of(self, record: Record) -> Network:
        """Return the network of the record, identified by its hash.

        Raises:
            InvalidInputError: if it is not available, with the reason and a remedy.
        """
        if record.network_sha256 not in self._known:
            self._known[record.network_sha256] = self._find(record)
        return self._known[record.network_sha256]

    def _find(self, record: Record) -> Network:
        if record.network_format != "caffe":
            raise InvalidInputError(
                "plans and predictions are of Caffe alone, and this is "
                f"{formats.article(record.network_format)}"
            )
        for candidate in (*self._of_the_zoo(record), *self._of_files(record)):
            if candidate.sha256 == record.network_sha256:
                return candidate
        if record.network_source == "zoo":
            reason = "the zoo's network of this name is another one (of another image size, say)"
        else:
            reason = "the record does not contain its prototxt"
        raise InvalidInputError(reason, hint="give it: --network FILE.prototxt")

    def _of_the_zoo(self, record: Record) -> Iterator[Network]:
        if record.network_source == "zoo":
            with suppress(InvalidInputError):
                # The entry's own name: the network name in a record may be a file path.
                yield networks.load(networks.find(record.network).name, batch=record.batch)

    def _of_files(self, record: Record) -> Iterator[Network]:
        """Yield each given file as a run may have read it: with the record's batch, fixed."""
        for path in self._given:
            yield from _readings(path, (None, record.batch))


def _readings(path: str, batches: Iterable[int | None]) -> Iterator[Network]:
    readings: tuple[Repair, ...] = (False, True, "paper")
    for repair in readings:
        for batch in batches:
            with suppress(InvalidInputError):
                yield networks.load(path, batch=batch, repair=repair)
