"""Run a sweep from the command line: report the choice of a target, show progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pibench import api
from pibench.cli.progress import Progress
from pibench.cli.streams import say
from pibench.records.identity import network_labels

if TYPE_CHECKING:
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.records.store import RecordStore
    from pibench.runner.options import Options


def sweep(
    loaded: Sequence[Network],
    options: Options,
    store: RecordStore | None = None,
    made: list[Record] | None = None,
    *,
    quiet: bool = False,
) -> list[Record]:
    """Run all networks; each record is added to `store` and `made` as soon as it exists.

    Raises:
        HostError: if the target cannot run.
    """
    options = api.choose(options, say)
    made = made if made is not None else []
    names = network_labels(loaded)
    by_hash = {network.sha256: name for network, name in zip(loaded, names, strict=True)}
    with Progress(len(loaded), quiet=quiet, names=names) as progress:

        def finished(record: Record) -> None:
            made.append(record)
            progress.finished(record, by_hash[record.network_sha256])

        return api.run_all(
            loaded,
            options,
            store=store,
            finished=finished,
            watched=progress.watched,
            step=progress.step,
        )
