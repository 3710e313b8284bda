"""What is known of a network without running it."""

# ruff: noqa: PLC0415  (start-up time: see pibench/api/__init__.py)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pibench.checks import Check
    from pibench.engines.base import Protocol
    from pibench.engines.caffe import Repair
    from pibench.latency.analytic import Data
    from pibench.latency.model import Prediction
    from pibench.networks.model_file import Runnable
    from pibench.networks.network import Network
    from pibench.plan.planner import Plan


def network(
    spec: str | Path,
    *,
    weights: Path | str | None = None,
    batch: int | None = None,
    image: tuple[int, int] | None = None,
    repair: Repair = False,
    python_shapes: Sequence[str] = (),
) -> Network:
    """Read and check a network of the zoo or a prototxt file.

    Args:
        spec: A name in the zoo, or the path of a prototxt.
        weights: A caffemodel for the network.
        batch: The batch size, in images.
        image: Height and width, in pixels.
        repair: Fix what stock Caffe would reject; `Network.repairs` lists each change. "paper"
            takes `ceil_mode: false` out, as the paper did.
        python_shapes: The shapes of Python layers' tops, for plans, such as data=1x3x224x224.
    """
    from pibench import networks

    return networks.load(
        str(spec),
        weights=Path(weights) if weights is not None else None,
        batch=batch,
        image=image,
        repair=repair,
        python_shapes=python_shapes,
    )


def plan(
    of: Network | str | Path,
    *,
    device: str = "rpi3b",
    protocol: Protocol | None = None,
    engine: str = "caffe",
) -> Plan:
    """Return the planned peak memory of a network on a device; nothing is run.

    Args:
        of: A network, a name in the zoo or the path of a prototxt.
        device: The device's id, alias or name.
        protocol: The protocol; None is the engine's first, caffe-time for Caffe.
        engine: The engine, as `--engine` takes it: caffe, ncnn, opencv, opencv==4.5.1.

    Raises:
        InvalidInputError: The engine would reject the network, or has no plan.
    """
    from pibench import devices
    from pibench.engines.registry import engine_of
    from pibench.plan.environment import of_device
    from pibench.plan.planner import plan as planned

    board = devices.load(device)
    environment = of_device(board, engine=engine)
    protocol = protocol or engine_of(engine).protocols[0]
    found = planned(caffe_network(of), protocol=protocol, environment=environment)
    return replace(found, device=board)


def predict(
    of: Network | str | Path,
    *,
    device: str = "rpi3b",
    stack: str | None = None,
    threads: int | None = None,
    protocol: Protocol = "caffe-time",
    data: Data | None = None,
) -> Prediction:
    """Return the predicted time of a forward pass on a device; nothing is run.

    Args:
        of: A network, a name in the zoo or the path of a prototxt.
        device: The device's id, alias or name.
        stack: The software on the board; "unknown" for the range of all of the device's core;
            None is that of pibench's images.
        threads: The BLAS threads; None is the device's cores.
        protocol: The protocol.
        data: What the input holds, zeros or images; None is zeros under caffe-time.
    """
    from pibench import devices
    from pibench.latency import rates, stacks
    from pibench.latency.model import predictor

    profile = devices.load(device)
    predict_one = predictor(
        profile,
        stack or stacks.default_of(profile.cpu),
        rates.shipped().pressure,
        threads=threads,
        data=data,
        protocol=protocol,
    )
    return predict_one(caffe_network(of))


def check(
    of: Network | str | Path,
    *,
    device: str = "rpi3b",
    protocol: Protocol | None = None,
    weights: Path | str | None = None,
    max_ms: float | None = None,
) -> Check:
    """Return whether a network fits a device, how fast it is, and what would make it fit.

    Args:
        of: A network, a name in the zoo or the path of a prototxt.
        device: The device's id, alias or name.
        protocol: The protocol; None is inference for a network with weights, else caffe-time.
        weights: A caffemodel for a name or a path.
        max_ms: A limit of the predicted time, in ms, that `Check.judged_time` is for.
    """
    from pibench import devices
    from pibench.checks import check as checked

    net = network(of, weights=weights) if isinstance(of, (str, Path)) else of
    default: Protocol = "caffe-time" if net.weights is None else "inference"
    return checked(net, devices.load(device), protocol or default, max_ms=max_ms)


def caffe_network(of: Runnable | str | Path) -> Network:
    """Return a network of Caffe; raise InvalidInputError for a user's own model file."""
    from pibench.networks.network import Network

    return (
        of if isinstance(of, Network) else network(of if isinstance(of, (str, Path)) else of.path)
    )
