"""Predict the board's times of the paper's networks without using their printed times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.crosscheck.claims import PredictedTime
from pibench.latency import rates as latency_rates
from pibench.latency.validation import predict_leave_one_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.latency.model import Prediction
    from pibench.networks.network import Network


def predict(networks: Sequence[Network]) -> list[Prediction]:
    """Predict a forward pass of each network, with rates fitted on the paper's other networks."""
    # Fitting the rates takes a second, for any number of networks.
    return predict_leave_one_out(networks, latency_rates.shipped()) if networks else []


def predicted_times(predictions: Sequence[Prediction]) -> dict[str, PredictedTime]:
    """Convert the predictions for the ledger: times by pibench's network names."""
    known = latency_rates.shipped()
    observed = {one.network for one in known.observations}
    edge = {one.network for one in known.observations if one.at_the_edge}
    return {
        one.network: PredictedTime(
            latency_ms=one.latency_ms,
            low_ms=one.low_ms,
            high_ms=one.high_ms,
            reason=f"counted work, rates fitted on {known.source}"
            + (
                ", the only source for the cost at the edge of memory"
                if one.network in edge
                else ", without this network"
                if one.network in observed and one.device == known.device
                else ""
            ),
            independent=one.network not in edge,
        )
        for one in predictions
    }
