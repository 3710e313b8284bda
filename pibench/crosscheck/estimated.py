"""Figures of pibench that need no run, for tables that are compared with them: plans, predictions.

A column of such a table says where its figure comes from (`Column.compared_with`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pibench import devices
from pibench.devices import MIB
from pibench.errors import InvalidInputError
from pibench.records.schema import Provenance
from pibench.setups import DEFAULT, Setup

if TYPE_CHECKING:
    from collections.abc import Collection

    from pibench.crosscheck.paper import Paper, PaperEntry, ResultField
    from pibench.devices import Device
    from pibench.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure in the unit of the column's field, and the interval of a prediction.

    `value` is None if there is none; `provenance` gives the reason.
    """

    value: str | float | None
    provenance: Provenance
    low: float | None = None
    high: float | None = None


def estimates(paper: Paper, entry: PaperEntry) -> dict[str, Estimate]:
    """Return pibench's figure for each cell of an entry that is not compared with a run."""
    found: dict[str, Estimate] = {}
    planned: dict[ResultField, Estimate] = {}
    network: Network | None = None
    for name, column in paper.columns.items():
        if column.compared_with == "run" or not paper.prints(entry, name):
            continue
        try:
            network = network or paper.network_of(entry)
            if column.compared_with == "prediction":
                device = devices.load(paper.device).with_reserve(paper.reserve_mib)
                found[name] = predicted(network, device, paper, entry.threads or device.cores)
                continue
            planned = planned or _planned(network, paper, entry)
            found[name] = planned[column.field]
        except InvalidInputError as error:
            found[name] = Estimate(value=None, provenance=Provenance.missing(error.line()))
    return found


@dataclass(frozen=True, kw_only=True)
class RamBySetup:
    """The RAM of one network as printed, and as planned for each set-up; in the column's unit."""

    key: str
    network: str
    printed: float
    planned: dict[Setup, float]

    def error_pct(self, setup: Setup) -> float:
        """Return the plan's error in percent of the printed figure."""
        return 100 * (self.planned[setup] / self.printed - 1)


def ram_by_setup(paper: Paper, keys: Collection[str]) -> list[RamBySetup]:
    """Plan the RAM of these entries for the default set-up, and for the inferred one.

    The list is empty if the table has no RAM column, or no set-up was inferred from it.
    """
    from pibench.plan.environment import of_device  # noqa: PLC0415  (start-up time)
    from pibench.plan.planner import plan  # noqa: PLC0415  (start-up time)

    name = paper.column_of("network_rss_bytes")
    if name is None or paper.inferred_setup is None:
        return []
    device, unit = devices.load(paper.device), paper.columns[name].unit_size
    found = []
    for entry in paper.entries:
        if entry.key not in keys or name not in entry.figures:
            continue
        network = paper.network_of(entry)
        planned: dict[Setup, float] = {}
        for setup in (DEFAULT, paper.inferred_setup):
            one = plan(network, protocol=paper.protocol, environment=of_device(device, setup))
            planned[setup] = (one.peak_rss_bytes - one.baseline_rss_bytes) / unit
        printed = entry.figures[name].value
        found.append(
            RamBySetup(key=entry.key, network=entry.label, printed=printed, planned=planned)
        )
    return found


def predicted(network: Network, device: Device, paper: Paper, threads: int) -> Estimate:
    """Predict the time of a forward pass in ms: the only place where a table gets one."""
    from pibench.latency import rates  # noqa: PLC0415  (start-up time)
    from pibench.latency.model import basis, predict, predictor  # noqa: PLC0415  (start-up time)

    shipped = rates.shipped()
    if paper.stack == "paper":
        one = predict(network, device, shipped)
        reason = basis(one, shipped)
    else:
        of_stack = predictor(
            device,
            paper.stack,
            shipped.pressure,
            threads=threads,
            data=paper.data,
            protocol=paper.protocol,
        )
        one = of_stack(network)
        reason = f"{basis(one, shipped)}; input of {paper.data}"
    return Estimate(
        value=one.latency_ms,
        low=one.low_ms,
        high=one.high_ms,
        provenance=Provenance(kind="predicted", reason=reason),
    )


def _planned(network: Network, paper: Paper, entry: PaperEntry) -> dict[ResultField, Estimate]:
    from pibench.judgements import judge  # noqa: PLC0415  (start-up time)
    from pibench.plan.environment import of_device  # noqa: PLC0415  (start-up time)
    from pibench.plan.planner import plan  # noqa: PLC0415  (start-up time)

    device = devices.load(paper.device).with_reserve(paper.reserve_mib)
    environment = replace(of_device(device), threads=entry.threads or device.cores)
    planned = plan(network, protocol=paper.protocol, environment=environment)
    peak, baseline = planned.peak_rss_bytes, planned.baseline_rss_bytes
    figures: dict[ResultField, int | None] = {
        "peak_rss_bytes": peak,
        "network_rss_bytes": peak - baseline,
        "memory_required_for_data_bytes": planned.data_bytes,
    }
    by_model = Provenance(
        kind="planned", reason="from a static model of Caffe's allocations; nothing was run"
    )
    found = {
        field: Estimate(value=float(size), provenance=by_model)
        for field, size in figures.items()
        if size is not None
    }
    at = f"planned peak {peak / MIB:.0f} MiB of {device.usable_bytes / MIB:.0f} MiB usable"
    verdict = judge(planned, device).verdict
    return found | {
        "verdict": Estimate(value=verdict, provenance=Provenance(kind="planned", reason=at))
    }
