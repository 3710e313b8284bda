"""The content of a report, in any format: claims, and per network its runs, plan and times.

It needs records, and networks to plan and predict; it runs nothing.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from pibench import devices
from pibench.crosscheck import claims as checking
from pibench.crosscheck.claims import is_the_papers_run, predict_times
from pibench.crosscheck.paper import DEFAULT, Paper, load_paper, plain
from pibench.crosscheck.planned import environment_of
from pibench.engines.caffe import CAFFE
from pibench.engines.registry import label_of
from pibench.errors import InvalidInputError
from pibench.latency import rates as latency_rates
from pibench.latency import stacks
from pibench.latency.as_run import predict_as_run, stack_of
from pibench.latency.model import predict
from pibench.plan.planner import plan
from pibench.records.identity import Run, labels, labels_of
from pibench.records.schema import LayerTime, Provenance
from pibench.report import ledger
from pibench.report.sources import Networks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pibench.crosscheck.claims import Claim, ColumnSummary
    from pibench.devices import Device
    from pibench.latency.model import Prediction
    from pibench.latency.pressure import Planner
    from pibench.networks.network import Network
    from pibench.plan.planner import Plan
    from pibench.records.schema import Record
    from pibench.report.ledger import Row
    from pibench.report.sources import Merged


@dataclass(frozen=True, kw_only=True)
class LayerTimes:
    """The layers of one forward pass, in order: predicted, or of one record.

    `note` warns how the times can be misread; empty if there is no such risk.
    """

    provenance: Provenance
    title: str
    layers: Sequence[LayerTime]
    note: str = ""

    @cached_property
    def total_ms(self) -> float:
        """The time of all layers together."""
        return sum(layer.forward_ms for layer in self.layers)

    def share(self, layer: LayerTime) -> float:
        """Return the layer's fraction of the total time, from 0 to 1."""
        return layer.forward_ms / self.total_ms if self.total_ms else 0.0


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The memory that a network needs: its whole peak RSS in bytes, or a lower bound of it."""

    size_bytes: int
    provenance: Provenance
    is_lower_bound: bool = False


@dataclass(frozen=True, kw_only=True)
class NetworkReport:
    """One network: its records, the representative one first, and its claims (the paper's only).

    `name` distinguishes it from the report's other networks. `planned` is for the environment of
    the first record, `prediction` for the device of its verdict. If one is None, `not_planned` or
    `not_predicted` gives the reason.
    """

    name: str
    records: tuple[Record, ...]
    device: Device
    claims: Mapping[str, Claim]
    planned: Plan | None
    not_planned: str
    prediction: Prediction | None
    not_predicted: str
    times: tuple[LayerTimes, ...]

    @property
    def record(self) -> Record:
        """The record that represents the network."""
        return self.records[0]

    @property
    def peak(self) -> Peak | None:
        """The network's peak; for a run that was cut short the twin's, if it is known."""
        record = self.record
        headroom, provenance = record.headroom_bytes, record.provenance["headroom_bytes"]
        if record.evidence.exit_status != 0 and headroom is not None and provenance.kind == "twin":
            return Peak(size_bytes=self.device.usable_bytes - headroom, provenance=provenance)
        if record.peak_rss_bytes is None:
            return None
        return Peak(
            size_bytes=record.peak_rss_bytes,
            provenance=record.provenance["peak_rss_bytes"],
            is_lower_bound=record.evidence.exit_status != 0,
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that a report shows. `claims` are of the paper's networks that were run."""

    paper: Paper
    claims: Sequence[Claim]
    summary: Mapping[str, ColumnSummary]
    networks: Sequence[NetworkReport]
    records: Sequence[Record]
    superseded: int

    def __repr__(self) -> str:
        return f"<report of {len(self.records)} records: {self.headline}>"

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """The shortest names that distinguish all runs, by the records' ids."""
        return labels_of(self.records)

    @cached_property
    def ledger(self) -> list[Row]:
        """The rows of the ledger; empty if no record is of the paper's networks."""
        return ledger.rows(self.claims, self.records, self.paper)

    @cached_property
    def others(self) -> list[Record]:
        """The records that the ledger does not show."""
        shown = {row.record.record_id for row in self.ledger if row.record}
        return [record for record in self.records if record.record_id not in shown]

    @cached_property
    def plotted(self) -> Mapping[str, list[Claim]]:
        """The claims to plot, printed against pibench's, of each column of times and memory."""
        found: dict[str, list[Claim]] = {}
        for claim in self.claims:
            if isinstance(claim.pibench, float) and claim.field != "weights_file_bytes":
                found.setdefault(claim.column, []).append(claim)
        return {name: found[name] for name in self.paper.columns if name in found}

    @property
    def missing_from_the_paper(self) -> int:
        """The number of the paper's networks without a record by its protocol."""
        return len(self.paper.entries) - len({claim.key for claim in self.claims})

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        total = self.summary.get(self.paper.column_of("verdict") or "")
        if total is not None:
            return f"{total.agreed} of {total.total} verdicts agree with the paper"
        fitting = sum(record.verdict == "fit" for record in self.records)
        if len(self.records) == 1:
            return f"{self.networks[0].name}: {self.records[0].verdict}"
        if len(self.networks) == len(self.records):
            return f"{fitting} of {len(self.networks)} networks fit"
        # If a network has several runs, no single run represents it.
        return f"{fitting} of {len(self.records)} runs fit"


def build(
    merged: Merged,
    known: Networks | None = None,
    *,
    only: Sequence[str] | None = None,
    predictions: Mapping[str, Prediction] | None = None,
    table: str = DEFAULT,
) -> Report:
    """Build the report of these records.

    `only` are the paper's networks to include, by default those of the records; `predictions`
    are existing results of `predict_times`, by the networks' hashes; `table` is an id or a folder.
    """
    paper = load_paper(table)
    records = merged.records
    rebuilt, reasons = _rebuild(records, known or Networks())
    # The paper's runs, of unmodified networks of the zoo.
    of_the_paper = {
        record.record_id
        for record in records
        if record.network_source == "zoo" and is_the_papers_run(record, paper)
    }
    # The plan for a prediction is the record's too, where the environment is the board's.
    plan_of = cache(plan)
    by_record, unpredicted = _predict(records, rebuilt, predictions or {}, plan_of, of_the_paper)
    if only is None:
        only = _of_the_paper(records, paper)
    comparable = [one for record_id, one in by_record.items() if record_id in of_the_paper]
    predicted = checking.predicted_times(comparable)
    claims = checking.check_claims(records, paper, networks=only, predicted=predicted)
    missing = unpredicted | reasons
    return Report(
        paper=paper,
        claims=claims,
        summary=checking.summary(claims),
        networks=[
            _network_report(
                name,
                own,
                claims,
                network=rebuilt.get(own[0].record_id),
                plan_of=plan_of,
                prediction=by_record.get(own[0].record_id),
                missing=missing.get(own[0].record_id, ""),
            )
            for name, own in _by_network(records, claims)
        ],
        records=records,
        superseded=merged.superseded,
    )


def _rebuild(
    records: Sequence[Record], known: Networks
) -> tuple[dict[str, Network], dict[str, str]]:
    """Return the networks by record id, and the reason for each that is not available."""
    rebuilt: dict[str, Network] = {}
    reasons: dict[str, str] = {}
    for record in records:
        try:
            rebuilt[record.record_id] = known.of(record)
        except InvalidInputError as error:
            reasons[record.record_id] = error.line()
    return rebuilt, reasons


def _predict(
    records: Sequence[Record],
    rebuilt: Mapping[str, Network],
    known: Mapping[str, Prediction],
    plan_of: Planner,
    of_the_paper: Collection[str],
) -> tuple[dict[str, Prediction], dict[str, str]]:
    """Return predictions by record id; each network is predicted once per device.

    The paper's runs are predicted by rates that are fitted on its other times, all other runs for
    the software that their records name, or else for that of pibench's images, as `check` does.
    """
    calibration = latency_rates.shipped()
    found = {(sha256, calibration.device): one for sha256, one in known.items()}
    reasons: dict[str, str] = {}
    left_out = {
        key: rebuilt[record.record_id]
        for record in records
        if (key := (record.network_sha256, calibration.device)) not in found
        and record.record_id in rebuilt
        and record.record_id in of_the_paper
        and record.device == calibration.device
    }
    found.update(zip(left_out, predict_times([*left_out.values()], plan_of), strict=True))
    predictions: dict[str, Prediction] = {}
    for record in records:
        network = rebuilt.get(record.record_id)
        if network is None:
            continue
        key = (record.network_sha256, record.device)
        try:
            if record.engine != CAFFE.id:
                raise InvalidInputError(
                    f"times are predicted for Caffe, not for {label_of(record.engine)}",
                    hint="run it on the board",
                )
            stack = stack_of(record)
            if stack is None and record.record_id not in of_the_paper:
                stack = stacks.default_of(record.device_profile.cpu)
            if stack is not None:
                predictions[record.record_id] = predict_as_run(record, network, stack, plan_of)
                continue
            if key not in found:
                device = devices.load(record.device)
                found[key] = predict(network, device, calibration, plan_of=plan_of)
            predictions[record.record_id] = found[key]
        except InvalidInputError as error:
            reasons[record.record_id] = error.line()
    return predictions, reasons


def _of_the_paper(records: Sequence[Record], paper: Paper) -> list[str]:
    """Return the keys of the paper's networks that were run by the paper's protocol."""
    run = {plain(one.network) for one in records if is_the_papers_run(one, paper)}
    return [
        entry.key for entry in paper.entries if run & {plain(entry.key), plain(entry.zoo_network)}
    ]


def _by_network(
    records: Sequence[Record], claims: Sequence[Claim]
) -> list[tuple[str, list[Record]]]:
    """Return the networks by name, the paper's in its order, then the others.

    The latest of a network's records is first, but the one used by the ledger before it.
    """
    place = {claim.record_id: index for index, claim in reversed([*enumerate(claims)])}
    by_network: dict[Run, list[Record]] = {}
    for record in records:
        keys = ("network", "network_sha256", "batch", "input_size")
        network = Run(**{key: getattr(record, key) for key in keys})
        by_network.setdefault(network, []).append(record)
    firsts = [
        network.model_copy(update={"network_source": of[0].network_source})
        for network, of in by_network.items()
    ]
    named = [*zip(labels(firsts), by_network.values(), strict=True)]
    named.sort(key=lambda one: min(place.get(record.record_id, len(claims)) for record in one[1]))
    for _, own in named:
        own.sort(key=lambda record: (record.record_id in place, record.created), reverse=True)
    return named


def _network_report(
    name: str,
    records: Sequence[Record],
    claims: Sequence[Claim],
    *,
    network: Network | None,
    plan_of: Planner,
    prediction: Prediction | None,
    missing: str,
) -> NetworkReport:
    """Return the report of one network; `missing` is why it, or its prediction, is not there."""
    ids = {record.record_id for record in records}
    device = records[0].device_profile
    planned, not_planned = None, missing
    if network is not None:
        try:
            environment = environment_of(records[0], device)
            planned = plan_of(network, protocol=records[0].protocol, environment=environment)
        except InvalidInputError as error:
            not_planned = error.line()
    times = [_predicted_layers(prediction, device)] if prediction is not None else []
    times += [_layers_of(record) for record in records if record.layers]
    return NetworkReport(
        name=name,
        records=tuple(records),
        device=device,
        claims={claim.column: claim for claim in claims if claim.record_id in ids},
        planned=planned,
        not_planned=not_planned,
        prediction=prediction,
        not_predicted="" if prediction else missing,
        times=tuple(times),
    )


def _predicted_layers(prediction: Prediction, device: Device) -> LayerTimes:
    notes = []
    if not prediction.fits:
        notes.append("the network does not fit: the time is for a board with more memory")
    if prediction.pressure_ms:
        notes.append(
            f"another {prediction.pressure_ms:.0f} ms are for the edge of memory, and no layer's"
        )
    return LayerTimes(
        provenance=Provenance(kind="predicted", reason="counted work; nothing was run"),
        title=f"one forward pass on the {device.name}, {prediction.software}",
        layers=[
            LayerTime.model_construct(
                name=one.work.name, type=one.work.type, forward_ms=one.latency_ms
            )
            for one in prediction.layers
        ],
        note="; ".join(notes),
    )


def _layers_of(record: Record) -> LayerTimes:
    provenance = record.provenance["layers"]
    return LayerTimes(
        provenance=provenance,
        title=f"forward pass of {record.protocol} on target {record.target}",
        layers=record.layers,
        note="" if provenance.kind == "measured" else "shares only: no time of the board",
    )


@contextmanager
def without_collecting() -> Iterator[None]:
    """Pause garbage collection: a third of the time for tens of thousands of acyclic objects."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
