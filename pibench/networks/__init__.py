"""The networks: 26 of the paper as builders, others from prototxt files.

`load` gives a checked `Network`, `names` the catalogue, `export` writes files. Importing
this package costs nothing: protobuf and the builders come with the first call.
"""

# ruff: noqa: PLC0415 (imports inside functions keep command-line help under 0.3 s)

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pibench.networks.catalog import ZooEntry
    from pibench.networks.network import Network

__all__ = ["catalog_entries", "export", "find", "load", "names"]


def load(
    spec: str,
    *,
    weights: Path | None = None,
    batch: int | None = None,
    image: tuple[int, int] | None = None,
    repair: bool = False,
) -> Network:
    """The network that `spec` names, of the zoo or a prototxt file, checked.

    See `pibench.networks.network.load`. Raises UnknownNetworkError and InvalidInputError.
    """
    from pibench.networks import network

    return network.load(spec, weights=weights, batch=batch, image=image, repair=repair)


def names() -> list[str]:
    """Names of all networks of the zoo: the paper's in its order, each before its variants."""
    from pibench.networks import catalog

    return catalog.names()


def catalog_entries() -> tuple[ZooEntry, ...]:
    """All entries of the catalogue; nothing is built."""
    from pibench.networks import catalog

    return catalog.CATALOG


def find(name: str) -> ZooEntry:
    """The catalogue's entry for `name`, however it is spelt. Raises UnknownNetworkError."""
    from pibench.networks import catalog

    return catalog.find(name)


def export(
    name: str,
    directory: Path | str,
    *,
    weights: bool = False,
    seed: int = 0,
    batch: int | None = None,
    repair: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write the prototxt (and seeded weights) of a network into `directory`; the paths.

    See `pibench.networks.network.export`. Raises InvalidInputError.
    """
    from pibench.networks import network

    return network.export(
        name, directory, weights=weights, seed=seed, batch=batch, repair=repair, force=force
    )
