"""Predict networks that the rates were fitted on, by rates fitted without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pibench import devices
from pibench.latency import fit
from pibench.latency.model import Prediction, predict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.latency.calibration import Calibration
    from pibench.networks.network import Network


def predict_leave_one_out(
    networks: Sequence[Network], calibration: Calibration
) -> list[Prediction]:
    """Predict each network for the calibrated board, with rates fitted only on the others.

    Networks that the rates were not fitted on, including those at the edge of memory, are predicted
    by the given rates.
    """
    device = devices.load(calibration.device)
    counted = fit.count_all(calibration.rated_on, device, calibration.protocol)
    predictions = []
    for network in networks:
        others = [one for one in counted if one.observation.network != network.name]
        known = calibration
        if len(others) < len(counted):
            known = replace(calibration, rates=fit.fit_rates(others))
        predictions.append(predict(network, device, known))
    return predictions
