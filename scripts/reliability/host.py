"""What this machine does with a model file that it does not trust: read, plan, predict."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from pathlib import Path

from pibench import devices, networks
from pibench.engines.base import Protocol
from pibench.errors import InvalidInputError
from pibench.judgements import judge
from pibench.latency import rates
from pibench.latency.model import predict
from pibench.networks import fold_bn
from pibench.networks.network import Network
from pibench.plan import answers, environment
from pibench.plan.planner import plan
from pibench.runner.jobs import cost_bytes
from pibench.runner.options import RunOptions

_PROTOCOLS: tuple[Protocol, ...] = ("caffe-time", "inference")


@cache
def _device() -> devices.Device:
    return devices.load("rpi3b")


def take(model: Path, weights: Path | None = None) -> bool:
    """Do everything with a file that needs no Caffe; return False if it is refused.

    A prototxt is read as it is and, if that is refused, repaired; a caffemodel is compared
    with the network and folded. Any exception here is an error of pibench.
    """
    try:
        loaded = networks.load(str(model), weights=weights)
    except InvalidInputError:
        if weights is None:
            _repair(model)
        return False
    if weights is not None:
        _fold(loaded, model.parent / "folded")
    _describe(loaded)
    return True


def _repair(model: Path) -> None:
    try:
        loaded = networks.load(str(model), repair=True)
    except InvalidInputError:
        return
    _describe(loaded)


def _describe(network: Network) -> None:
    """What `pibench run`, `plan` and `predict` say of a network before it is run."""
    with suppress(InvalidInputError):
        # `run` takes no Python layer, whose shapes `plan` can have.
        RunOptions(device=_device().id).check(network)
    cost_bytes(network)
    _ = network.sha256, network.weights_file_bytes
    for protocol in _PROTOCOLS:
        try:
            planned = plan(network, protocol=protocol, environment=environment.of_device(_device()))
            json.dumps(answers.summary(planned, _device(), judge(planned, _device())))
            json.dumps(answers.timeline(planned))
            answers.changes(planned)
        except InvalidInputError:
            # Caffe sets it up, and aborts on the way back, say.
            continue
    try:
        predict(network, _device(), rates.shipped())
    except InvalidInputError:
        return


def _fold(network: Network, folder: Path) -> None:
    try:
        fold_bn.write(network, folder, force=True)
    except InvalidInputError:
        return
