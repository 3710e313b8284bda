"""Provide the networks: the paper's 26 as builders, others from prototxt files.

`load` returns a checked `Network`, `names` the catalogue's names, `export` writes files. Importing
this package is fast: protobuf and the builders are imported at the first call.
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
    """Load and check a network of the zoo or a prototxt file.

    See `pibench.networks.network.load` for arguments and errors.
    """
    from pibench.networks import network

    return network.load(spec, weights=weights, batch=batch, image=image, repair=repair)


def names() -> list[str]:
    """Return the names of the zoo: the paper's networks in its order, each with its variants."""
    from pibench.networks import catalog

    return catalog.names()


def catalog_entries() -> tuple[ZooEntry, ...]:
    """Return all entries of the catalogue; nothing is built."""
    from pibench.networks import catalog

    return catalog.CATALOG


def find(name: str) -> ZooEntry:
    """Return the catalogue's entry for `name`, in any spelling; else raise UnknownNetworkError."""
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
    """Write the prototxt (and seeded weights) of a network into `directory`; return the paths.

    See `pibench.networks.network.export` for arguments and errors.
    """
    from pibench.networks import network

    return network.export(
        name, directory, weights=weights, seed=seed, batch=batch, repair=repair, force=force
    )
