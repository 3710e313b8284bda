"""A record's facts about a network, apart from the observations of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pibench.networks.network import Network
    from pibench.targets.base import Work


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """A network as its record describes it, whether it is here or was sent to a board.

    `source` is "zoo" or the prototxt's path. `weights_sha256` is of the weights that ran, None
    where none were loaded; `weights_drawn` is true if they were drawn at random, with the work's
    seed. `layer_types` is by the name of the layer.
    """

    name: str
    sha256: str
    source: str
    parameter_count: int
    weights_file_bytes: int
    weights_sha256: str | None
    weights_drawn: bool
    repairs: tuple[str, ...]
    batch: int
    input_size: str | None = None
    layer_types: Mapping[str, str]


def facts_of(network: Network, work: Work) -> NetworkFacts:
    """Return the facts of a network and of the work made of it; reads all of its weights."""
    from pibench.images.recipe import file_sha256  # noqa: PLC0415  (start-up time)

    return NetworkFacts(
        name=network.name,
        sha256=network.sha256,
        source=network.recorded_source,
        parameter_count=network.parameter_count,
        weights_file_bytes=network.weights_file_bytes,
        weights_sha256=None if work.weights is None else file_sha256(work.weights),
        weights_drawn=network.weights is None,
        repairs=tuple(network.repairs),
        batch=network.batch_under(work.protocol),
        input_size=network.input_size,
        layer_types={layer.name: layer.type for layer in network.net.layer},
    )
