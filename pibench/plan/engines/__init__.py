"""Replay the programs of other engines: what each of them allocates for a network.

No figure is fitted but those of the programs themselves, which calibration.toml has: the sizes and
the order of allocations are the engines' own, and pibench/plan/malloc.py decides what becomes
resident.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.engines.registry import engine_of
from pibench.errors import InvalidInputError
from pibench.plan.engines import ncnn, opencv

if TYPE_CHECKING:
    from pibench.engines.base import Engine, Protocol
    from pibench.networks.network import Network
    from pibench.plan.environment import Environment
    from pibench.plan.process import Process


def checked(network: Network, protocol: Protocol, environment: Environment) -> Engine:
    """Return the environment's engine, after checking that it runs the network as Caffe does.

    Raises:
        InvalidInputError: It computes something else, cannot express a layer, or does not have the
            protocol.
    """
    engine = engine_of(environment.engine)
    if engine.model_format is None:
        raise InvalidInputError.at(
            network.place, None, f"a network of Caffe, which {engine.label} does not read",
            hint="take another engine",
        )  # fmt: skip
    if protocol not in engine.protocols:
        raise InvalidInputError(
            f"{engine.label} has no protocol {protocol}",
            hint=f"use --protocol {engine.protocols[0]}",
        )
    found = network.shapes_under(protocol)
    # Whatever its settings.
    version = f"{engine.id}=={engine.wheel_version}"
    if version not in found.computed_by:
        engine.check(found, network.place)
        found.computed_by.add(version)
    return engine


def replay(
    process: Process, network: Network, engine: Engine, threads: int, pass_bytes: int
) -> None:
    """Read the network, set it up and run it forward once.

    Args:
        process: The engine's process before it reads the network.
        network: A network that `checked` accepts.
        engine: OpenCV or ncnn.
        threads: The threads that compute.
        pass_bytes: What the program itself touches from the first pass on.
    """
    if engine.id == ncnn.ID:
        found = network.shapes_under("inference")
        ncnn.replay(process, found, dict(engine.chosen), threads, pass_bytes)
        return
    layout = opencv.layout_of(engine.wheel_version, dict(engine.chosen))
    opencv.replay(process, network, layout, threads, pass_bytes)
