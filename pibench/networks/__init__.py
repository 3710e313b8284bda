"""Provide the networks: the paper's 26 as builders, others from prototxt files.

`load` returns a checked `Network`, `names` the catalogue's names, `find` and `catalog_entries` its
entries. Importing this package is fast: protobuf and the builders are imported at the first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pibench.networks.catalog import catalog_entries, find, names
    from pibench.networks.network import load
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = "network" if name == "load" else "catalog"
        return getattr(import_module(f"{__name__}.{module}"), name)


__all__ = ["catalog_entries", "find", "load", "names"]
