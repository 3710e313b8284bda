"""Load networks named on the command line, and check them before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pibench import networks
from pibench.cli.streams import say
from pibench.errors import InvalidInputError
from pibench.networks import input_size

if TYPE_CHECKING:
    from pibench.networks.network import Network
    from pibench.records.schema import Protocol


def load_all(
    specs: Sequence[str],
    *,
    weights: Path | None = None,
    batch: int | None = None,
    size: str | None = None,
    repair: bool = False,
    backward: bool = False,
) -> list[Network]:
    """Load all networks and report the repairs.

    With `backward` they must also be valid in the training phase, as `caffe time` sets it up.

    Raises:
        InvalidInputError: for the first network that cannot be used.
    """
    image = input_size.parse(size) if size is not None else None
    loaded = []
    for spec in specs:
        network = networks.load(spec, weights=weights, batch=batch, image=image, repair=repair)
        for sentence in network.repairs:
            say(f"{network.source}: repaired: {sentence}")
        loaded.append(network)
    for network in loaded if backward else ():
        network.check_training_phase()
    return loaded


def load_to_run(
    specs: Sequence[str],
    protocol: Protocol,
    *,
    weights: Path | None,
    batch: int | None,
    size: str | None,
    repair: bool,
    otherwise: str,
) -> list[Network]:
    """Load networks that will run, under a protocol and perhaps with weights.

    `otherwise` is the hint if weights are given for several networks.

    Raises:
        InvalidInputError: as `load_all`, and for weights with several networks.
    """
    if weights is not None and len(specs) != 1:
        raise InvalidInputError(
            f"--weights {weights} goes with one network, and {len(specs)} were given",
            hint=otherwise,
        )
    loaded = load_all(
        specs,
        weights=weights,
        batch=batch,
        size=size,
        repair=repair,
        backward=protocol == "caffe-time",
    )
    if weights is not None and protocol == "caffe-time":
        say("the weights fit the network; caffe-time loads none (--protocol inference does)")
    return loaded
