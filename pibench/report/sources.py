"""Find the networks of records: a record has a network's name and hash, but no prototxt."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pibench import networks
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pibench.networks.network import Network
    from pibench.records.schema import Record


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
        for candidate in (*self._of_the_zoo(record), *self._of_files(record)):
            if candidate.sha256 == record.network_sha256:
                return candidate
        if record.network_source == "zoo":
            reason = "the zoo's network of this name is another one (of another image size, say)"
        else:
            reason = "the record does not hold its prototxt"
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
    for repair in (False, True):
        for batch in batches:
            with suppress(InvalidInputError):
                yield networks.load(path, batch=batch, repair=repair)
