"""Define the counts of a program section, a layer and a network, as stored and printed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Instructions by kind, lanes of multiply-accumulate, bytes moved between core and memory.

    Misses are lines of 64 bytes in a model of the Cortex-A53's data caches; None where the model
    was off.
    """

    mac_instructions: int
    simd_instructions: int
    load_instructions: int
    store_instructions: int
    branch_instructions: int
    other_instructions: int
    macs: int
    bytes_loaded: int
    bytes_stored: int
    l1_misses: int | None = None
    l2_misses: int | None = None

    @property
    def instructions(self) -> int:
        """Return the number of all instructions."""
        return (
            self.mac_instructions
            + self.simd_instructions
            + self.load_instructions
            + self.store_instructions
            + self.branch_instructions
            + self.other_instructions
        )

    def __add__(self, other: Self) -> Counts:
        sums: dict[str, int | None] = {}
        for field in fields(self):
            one, another = getattr(self, field.name), getattr(other, field.name)
            sums[field.name] = None if one is None or another is None else one + another
        return Counts(**sums)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class LayerCounts:
    """The counts of one layer as Caffe runs it; Split layers are included."""

    name: str
    type: str
    counts: Counts


@dataclass(frozen=True, kw_only=True)
class NetworkCounts:
    """One forward pass: the layers in order, and what it was counted with.

    Each layer includes the few thousand instructions of its call from Python, equal for all.
    """

    network: str
    network_sha256: str
    image_key: str
    qemu_version: str
    layers: tuple[LayerCounts, ...]

    @property
    def total(self) -> Counts:
        """Return the sum over layers."""
        first, *others = (layer.counts for layer in self.layers)
        for counts in others:
            first += counts
        return first

    def as_dict(self) -> dict[str, Any]:
        """Return the layers and their sum as plain data."""
        return {
            **{key: value for key, value in asdict(self).items() if key != "layers"},
            "total": _plain(self.total),
            "layers": [
                {"name": layer.name, "type": layer.type, **_plain(layer.counts)}
                for layer in self.layers
            ],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the result of `as_dict`.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        names = [field.name for field in fields(Counts)]
        layers = tuple(
            LayerCounts(
                name=layer["name"],
                type=layer["type"],
                counts=Counts(**{name: layer.get(name) for name in names}),
            )
            for layer in data["layers"]
        )
        if not layers:
            raise ValueError("no layers")
        own = ("network", "network_sha256", "image_key", "qemu_version")
        return cls(**{name: data[name] for name in own}, layers=layers)


def _plain(counts: Counts) -> dict[str, int | None]:
    return {"instructions": counts.instructions, **asdict(counts)}
