"""Run a list of networks; write each result as a record as soon as it exists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pibench.runner.blobs import dump_blobs
from pibench.runner.facts import facts_of
from pibench.runner.observation import Context, observation_of
from pibench.runner.record import record_of
from pibench.runner.work import Request, check, work_of
from pibench.targets.probe_events import first_of

if TYPE_CHECKING:
    from pibench.networks.network import Network
    from pibench.records.schema import KeptBlobs, Record
    from pibench.records.store import RecordStore
    from pibench.runner.facts import NetworkFacts
    from pibench.runner.reference import Reference
    from pibench.targets.base import Outcome, Progress, Target

Finished = Callable[["Record"], None]
Watched = Callable[["Progress"], None]
Heard = Callable[["Outcome"], None]


@dataclass(kw_only=True)
class Runner:
    """A list of networks on one target.

    With a `store` each record is on disk before the next network's is made;
    `reference` measures the peak of networks that were killed or refused memory.
    `blobs` is the folder for the whole blobs that the request keeps; `heard` is called with
    each outcome before its record is made.
    """

    target: Target
    request: Request
    store: RecordStore | None = None
    reference: Reference | None = None
    blobs: Path | None = None
    finished: Finished = field(default=lambda _: None)
    watched: Watched = field(default=lambda _: None)
    heard: Heard = field(default=lambda _: None)

    def run(self, networks: Sequence[Network]) -> list[Record]:
        """Run all networks and return their records in the order given.

        Records that were made before any error are in the store.

        Raises:
            InvalidInputError: the request cannot be met for one of the networks.
            HostError: the target cannot run anything.
        """
        for network in networks:
            check(network, self.request)
        works = [work_of(i, network, self.request) for i, network in enumerate(networks)]
        self.target.prepare(works)
        context = Context(device=self.request.device, target=self.target)
        records: dict[str, Record] = {}

        def observe(outcome: Outcome) -> None:
            self.heard(outcome)
            network = networks[int(outcome.work.id)]
            facts = facts_of(network, outcome.work)
            kept = dump_blobs(outcome, network.slug, self.blobs) if self.blobs else None
            peak = self._reference_peak(outcome, context)
            record = _record_of(facts, outcome, context, peak, kept)
            records[outcome.work.id] = record
            try:
                if self.store is not None:
                    self.store.append(record)
            finally:
                # Also where it could not be written: it is all that is left of the run.
                self.finished(record)

        self.target.run(works, observe, self.watched)
        return [records[work.id] for work in works]

    def _reference_peak(self, outcome: Outcome, context: Context) -> int | None:
        seen = observation_of(outcome, context)
        cut_short = (seen.killed and not seen.timed_out) or seen.allocation_refused
        if self.reference is None or not cut_short:
            return None
        return self.reference.peak_bytes(outcome.work)


def _record_of(
    facts: NetworkFacts,
    outcome: Outcome,
    context: Context,
    peak: int | None,
    kept: KeptBlobs | None,
) -> Record:
    """Return the record; an inconclusive one if its figures contradict each other."""
    try:
        return record_of(facts, outcome, context, peak, kept)
    except ValidationError as error:
        died = f"the probe's figures make no record: {first_of(error)}"
        return record_of(facts, replace(outcome, result=None, died=died), context, None)
