"""The time of layers from a software stack and a board's memory: no rate is fitted.

A layer's matrix products take what `products` says; its other work (`work.LayerCost`) takes what
Caffe's compiled loops take, plus waiting for memory where a blob does not stay in L2. A power is a
figure apart: it depends on the C library and on the data (`powers.toml`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import sqrt
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pibench.errors import InvalidInputError
from pibench.latency.products import Memory, on_threads, product

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.latency.stacks import Stack
    from pibench.latency.work import LayerWork

Data = Literal["zeros", "images"]
_FLOAT_BYTES: Final = 4
_LINE: Final = 16
_UNKNOWN_SHARES: Final = {"products": 0.2, "memory": 0.4, "loops": 0.3, "threads": 0.4}
"""How far a part may be off either way, in a 90 % interval.

Products: whole products that others published are met within 20 % each (docs/latency.md). Memory:
boards of one kind differ by 40 % (copies on ten RK3399: 1.34 to 2.03 GB/s). Loops: -O2 and -O3, and
what a compiler's version makes of a loop. Threads: what the cores wait for each other.
"""


class Parts(NamedTuple):
    """Milliseconds of a layer or a network, by what is known of them."""

    products: float = 0.0
    memory: float = 0.0
    loops: float = 0.0
    threads: float = 0.0
    powers: float = 0.0

    @property
    def ms(self) -> float:
        """Return the sum."""
        return sum(self)

    def plus(self, other: Parts) -> Parts:
        """Return both together."""
        return Parts(*(one + more for one, more in zip(self, other, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Power:
    """Cycles of one powf on a core, in a C library, for one kind of data; and where it is known from."""

    cycles: float
    low: float
    high: float
    source: str


def powers(c_library: str, data: Data) -> Power:
    """Return the figure of a C library for this data."""
    return Power(**_powers()[c_library][data])


@cache
def _powers() -> dict[str, dict[str, dict[str, float | str]]]:
    file = resources.files(__package__) / "powers.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def memory_of(device: Device, stack: Stack) -> Memory:
    """Return the memory of a device in cycles.

    Raises:
        InvalidInputError: The stack is for another core, or the times of the memory are not known.
    """
    if device.cpu != stack.cpu:
        raise InvalidInputError(
            f"no latency is known for {device.id}: its CPU is a {device.cpu}, the stack "
            f"{stack.id} is known for the {stack.cpu}",
            hint="measure some networks there, then: pibench calibrate --from RECORDS",
        )
    if device.memory is None:
        raise InvalidInputError(
            f"no latency is known for {device.id}: its profile has no times of its memory",
            hint="add [memory.timing] to the profile",
        )
    return Memory.of(device)


def layer_parts(
    done: LayerWork, stack: Stack, memory: Memory, *, threads: int, power: float, clock_hz: int
) -> Parts:
    """Return the time of one layer by its parts."""
    cost = done.cost
    if not cost.runs:
        return Parts()
    loops = stack.loops
    core = waiting = waited = 0.0
    for one in cost.products:
        found = product(one.columns, one.rows, one.depth, stack, memory)
        alone = found.core + found.memory
        macs = one.rows * one.columns * one.depth
        taken = on_threads(found, macs, stack.gemm, memory, threads)
        core += one.times * found.core
        waiting += one.times * found.memory
        waited += one.times * (alone - taken)
    # On several cores both shrink alike, and what the cores wait for each other is apart.
    shrink = 1 - waited / (core + waiting) if core + waiting else 1.0
    missing = memory.missing(done.largest_blob_bytes)
    from_l2 = memory.l2 / _LINE
    waits = cost.passes * (memory.copy / 2 * missing + from_l2 * (1 - missing))
    missing = memory.missing(_FLOAT_BYTES * cost.im2col)
    waits += cost.im2col * (memory.write * missing + from_l2 * (1 - missing))
    busy = (
        cost.passes * loops.access
        + cost.im2col * loops.im2col
        + cost.windows * loops.window
        + cost.exps * loops.exp
        + cost.randoms * loops.random
        + cost.entries * loops.layer
    )
    to_ms = 1e3 / clock_hz
    return Parts(
        products=to_ms * core * shrink,
        memory=to_ms * (waiting * shrink + waits),
        loops=to_ms * busy,
        powers=to_ms * cost.pows * power,
    )


def half_width(parts: Parts) -> float:
    """Return half the width of a 90 % interval in ms: the parts are off independently."""
    return sqrt(sum((share * getattr(parts, name)) ** 2 for name, share in _UNKNOWN_SHARES.items()))
