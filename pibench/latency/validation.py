"""Predict networks leave-one-out, by rates fitted without them, and estimate the model's error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import mean
from typing import TYPE_CHECKING

from pibench import devices
from pibench.errors import InvalidInputError
from pibench.latency import fit
from pibench.latency.model import Prediction, predict
from pibench.plan.planner import plan
from pibench.records.statistics import rank_correlation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.latency.fit import Counted
    from pibench.latency.pressure import Planner
    from pibench.latency.rates import LatencyRates
    from pibench.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network: its time on the board, and the prediction by rates fitted without it.

    A network at the edge of memory is not `counted` among the errors: the cost of the edge is known
    only from it, so its prediction is not independent. `work_ms` is the time without that cost.
    """

    network: str
    measured_ms: float
    predicted_ms: float
    error_pct: float
    counted: bool
    work_ms: float


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Errors in percent of the board's time, over the rows that are counted.

    `macs_alone_mape_pct` and `macs_alone_worst_pct` are those of the naive model:
    multiply-accumulates times one factor, fitted leave-one-out too.
    """

    mape_pct: float
    worst_pct: float
    rank_correlation: float
    within_10_pct: float
    rows: tuple[Row, ...]
    macs_alone_mape_pct: float
    macs_alone_worst_pct: float


def validate(calibration: LatencyRates) -> Validation:
    """Predict each network that the rates were fitted on by rates fitted on the others.

    Raises:
        InvalidInputError: There are too few networks away from the edge of memory.
    """
    if len(calibration.rated_on) < fit.LEAST_NETWORKS:
        raise InvalidInputError(
            f"--validate leaves one network out and fits the others: it takes "
            f"{fit.LEAST_NETWORKS} times, and the calibration has {len(calibration.rated_on)}",
            hint="measure more networks, then: pibench calibrate --from RECORDS",
        )
    device = devices.load(calibration.device)
    counted = fit.count_all(calibration.observations, device, calibration.protocol)
    free = [one for one in counted if not one.observation.at_the_edge]
    predicted = dict(zip(map(id, free), fit.left_out_ms(free), strict=True))
    rows = tuple(_row(one, predicted.get(id(one)), calibration) for one in counted)
    errors = [abs(row.error_pct) for row in rows if row.counted]
    naive = _naive_errors_pct(free)
    return Validation(
        mape_pct=mean(errors),
        worst_pct=max(errors),
        rank_correlation=rank_correlation(
            [row.measured_ms for row in rows if row.counted],
            [row.predicted_ms for row in rows if row.counted],
        ),
        within_10_pct=100 * mean(error <= 10 for error in errors),
        rows=rows,
        macs_alone_mape_pct=mean(naive),
        macs_alone_worst_pct=max(naive),
    )


def _row(one: Counted, left_out_ms: float | None, calibration: LatencyRates) -> Row:
    measured = one.observation.latency_ms
    work_ms = one.predicted_ms(calibration.rates) if left_out_ms is None else left_out_ms
    edge_ms = 0.0
    if left_out_ms is None:
        edge_ms = one.short_mib * (calibration.pressure.ms_per_mib or 0.0)
    return Row(
        network=one.observation.network,
        measured_ms=measured,
        predicted_ms=work_ms + edge_ms,
        error_pct=100 * ((work_ms + edge_ms) / measured - 1),
        counted=left_out_ms is not None,
        work_ms=work_ms,
    )


def _naive_errors_pct(counted: Sequence[Counted]) -> list[float]:
    errors = []
    for one in counted:
        mac_ns = fit.fit_macs_alone([other for other in counted if other is not one])
        errors.append(100 * abs(mac_ns * one.macs / 1e6 / one.observation.latency_ms - 1))
    return errors


def predict_leave_one_out(
    networks: Sequence[Network], calibration: LatencyRates, plan_of: Planner = plan
) -> list[Prediction]:
    """Predict each network for the calibrated board, by rates fitted on the others alone.

    Networks that the rates were not fitted on, including those at the edge of memory, are predicted
    by the given rates.
    """
    device = devices.load(calibration.device)
    # The observed networks have the batch of the zoo.
    loaded = {
        one.name: one for one in networks if one.entry and one.batch == 1 and not one.input_size
    }
    counted = fit.count_all(calibration.rated_on, device, calibration.protocol, loaded)
    predictions = []
    for network in networks:
        others = [one for one in counted if one.observation.network != network.name]
        known = calibration
        if len(others) < len(counted):
            known = replace(calibration, rates=fit.fit_rates(others))
        predictions.append(predict(network, device, known, plan_of=plan_of))
    return predictions
