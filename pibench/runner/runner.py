"""Run a list of networks; write each result as a record as soon as it exists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pibench import process
from pibench.errors import PibenchError
from pibench.runner.blobs import dump_blobs
from pibench.runner.context import Context, facts_of
from pibench.runner.options import RunOptions, job_of
from pibench.runner.record import observation_of, record_of
from pibench.targets.probe_events import first_of

if TYPE_CHECKING:
    from pibench.images.build import Builder
    from pibench.networks.network import Network
    from pibench.records.schema import KeptBlobs, Record
    from pibench.records.store import RecordStore
    from pibench.runner.context import NetworkFacts
    from pibench.targets.base import Job, Outcome, Progress, Target

REFERENCE_TIMEOUT_S = 300.0
# The twin's blobs are in this machine's memory; the rest of it belongs to other programs.
HOST_FRACTION = 0.5


@dataclass(kw_only=True)
class Runner:
    """Runs networks on one target.

    With a `store` each record is on disk before the next network's is made; `reference` measures
    the peak of networks that were killed or refused memory. `on_outcome` is called with each
    outcome before its record is made, `on_record` with the record, `on_progress` with each
    progress report of the target.
    """

    target: Target
    options: RunOptions
    store: RecordStore | None = None
    reference: Reference | None = None
    on_outcome: Callable[[Outcome], None] = lambda _: None
    on_progress: Callable[[Progress], None] = lambda _: None
    on_record: Callable[[Record], None] = lambda _: None

    def run(self, networks: Sequence[Network]) -> list[Record]:
        """Run all networks and return their records in the order given.

        Records that were made before any error are in the store.

        Raises:
            InvalidInputError: the options cannot be met for one of the networks.
            HostError: the target cannot run anything.
        """
        for network in networks:
            self.options.check(network)
        jobs = [job_of(i, network, self.options) for i, network in enumerate(networks)]
        self.target.prepare(jobs)
        context = Context(device=self.options.profile, target=self.target)
        records: dict[str, Record] = {}

        def on_outcome(outcome: Outcome) -> None:
            self.on_outcome(outcome)
            network = networks[int(outcome.job.id)]
            facts = facts_of(network, outcome.job)
            folder = self.options.blobs if self.options.keep else None
            kept = dump_blobs(outcome, network.slug, folder) if folder else None
            peak = self._reference_peak(outcome, context)
            record = _record_of(facts, outcome, context, peak, kept)
            records[outcome.job.id] = record
            try:
                if self.store is not None:
                    self.store.append(record)
            finally:
                # Also where it could not be written: it is all that is left of the run.
                self.on_record(record)

        self.target.run(jobs, on_outcome, self.on_progress)
        return [records[job.id] for job in jobs]

    def _reference_peak(self, outcome: Outcome, context: Context) -> int | None:
        seen = observation_of(outcome, context)
        cut_short = (seen.killed and not seen.timed_out) or seen.allocation_refused
        if self.reference is None or not cut_short:
            return None
        return self.reference.peak_bytes(outcome.job)


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


class Reference:
    """Runs single networks memory-only on the twin; repeated requests run once."""

    def __init__(self, builder: Builder) -> None:
        from pibench.targets.local import TwinTarget  # noqa: PLC0415  (start-up time)

        self._target = TwinTarget(builder)
        self._known: dict[Job, int | None] = {}

    def peak_bytes(self, job: Job) -> int | None:
        """Return the twin's peak RSS in bytes, or None where this host cannot measure it."""
        # Every remaining field of the work affects the peak: the protocol and the threads too.
        reference = replace(
            job, id="0", name="reference", compute="memory-only", timeout_s=REFERENCE_TIMEOUT_S,
            warmup=0, repeats=1,
        )  # fmt: skip
        if reference not in self._known:
            self._known[reference] = self._measure(reference)
        return self._known[reference]

    def _measure(self, reference: Job) -> int | None:
        if reference.cost_bytes > HOST_FRACTION * process.available_memory_bytes():
            return None
        seen: list[Outcome] = []
        try:
            self._target.prepare([reference])
            self._target.run([reference], seen.append, lambda _: None)
        except PibenchError:
            # This host cannot run the twin: the record then states that.
            return None
        result = seen[0].result if seen else None
        return result["peak_rss_bytes"] if result and result["exit_status"] == 0 else None
