"""The time of layers from a software stack and a board's memory: no rate is fitted.

A layer's matrix products take what `products` says; its other work (`work.LayerCost`) takes what
Caffe's compiled loops take, plus waiting for memory where a blob does not stay in L2. A power is a
figure apart: it depends on the C library and on the data (`powers.toml`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from math import exp, sqrt
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pibench.errors import InvalidInputError
from pibench.latency.products import Call, Memory, on_threads
from pibench.latency.stacks import of_cpu
from pibench.latency.work import NO_VECTORS, VECTOR_ACCESSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.devices import Device
    from pibench.latency.factors import StackFactors
    from pibench.latency.stacks import Stack
    from pibench.latency.work import LayerWork, Product

Data = Literal["zeros", "images"]
_FLOAT_BYTES: Final = 4
_LINE: Final = 16
UNKNOWN_SHARES: Final = {"products": 0.2, "memory": 0.4, "loops": 0.3}
"""How far a part may be off either way, in a 90 % interval, on one core.

Products: whole products that others published are met within 20 % each (docs/latency.md). Memory:
boards of one kind differ by 40 % (copies on ten RK3399: 1.34 to 2.03 GB/s). Loops: what another
compiler makes of the same loop.
"""
UNKNOWN_OF_ALL: Final = 0.2
"""The same for everything but powers: what no part contains, such as misses of the TLB, branches
that the core mispredicts, and other programs on the board. Times that others published are up to a
fifth more than the parts."""
UNKNOWN_OF_THREADS: Final = 0.3
"""The same for products on several cores, which wait for each other."""


class Parts(NamedTuple):
    """Milliseconds of a layer or a network, by what is known of them."""

    products: float = 0.0
    memory: float = 0.0
    loops: float = 0.0
    powers: float = 0.0

    @property
    def ms(self) -> float:
        """Return the sum."""
        return sum(self)


@dataclass(frozen=True, kw_only=True)
class Power:
    """Cycles of one powf in a C library for one kind of data, their bounds, and the source."""

    cycles: float
    low: float
    high: float
    source: str


def powers(cpu: str, c_library: str, data: Data) -> Power:
    """Return the figure of a C library on a kind of core for this data."""
    return known_powers()[cpu][c_library][data]


@cache
def known_powers() -> dict[str, dict[str, dict[str, Power]]]:
    """Return all figures, by kind of core, C library and kind of data."""
    file = resources.files(__package__) / "powers.toml"
    return {
        cpu: {
            library: {data: Power(**figures) for data, figures in by_data.items()}
            for library, by_data in by_library.items()
        }
        for cpu, by_library in tomllib.loads(file.read_text(encoding="utf-8")).items()
    }


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A stack on a board: what its layers' times depend on.

    `factors` are those of a board's own times, if any.
    """

    stack: Stack
    device: Device
    threads: int
    data: Data
    factors: StackFactors | None = None

    @cached_property
    def memory(self) -> Memory:
        """Return the board's memory in cycles of its clock.

        Raises:
            InvalidInputError: The stack is for another core, or the memory's times are not known.
        """
        if self.device.cpu != self.stack.cpu:
            own = ", ".join(of_cpu(self.device.cpu))
            raise InvalidInputError(
                f"no latency is known for {self.device.id}: its CPU is a {self.device.cpu}, the "
                f"stack {self.stack.id} is of a {self.stack.cpu}",
                hint=f"the stacks of its core: {own or 'none'}; or measure some networks there, "
                "then: pibench calibrate --from RECORDS",
            )
        if self.device.memory is None:
            raise InvalidInputError(
                f"no latency is known for {self.device.id}: its profile has no times of its memory",
                hint="add [memory.timing] to the profile",
            )
        return Memory.of(self.device)

    @cached_property
    def power(self) -> Power:
        """Return what a power takes with this C library and data."""
        return powers(self.stack.cpu, self.stack.c_library, self.data)

    def parts(self, done: LayerWork) -> Parts:
        """Return the time of one layer by its parts."""
        cost, loops, memory = done.cost, self.stack.loops, self.memory
        if not cost.runs:
            return Parts()
        updates, vectors, passes = cost.updates, cost.vectors, cost.passes
        if not loops.counted:
            updates, vectors, passes = (), NO_VECTORS, cost.accesses
        core, waiting = self._products(cost.products)
        busy, waited_for = self._products(updates)
        waiting += waited_for
        from_l2 = memory.l2 / _LINE
        missing = memory.missing(done.largest_blob_bytes)

        def waited(accesses: float, cycles: float) -> float:
            # The prefetcher reads ahead of a loop, which waits for what memory is slower than it.
            streamed = max(from_l2, memory.copy / 2 - cycles)
            return accesses * (streamed * missing + from_l2 * (1 - missing))

        waiting += waited(passes, loops.access)
        if any(vectors):
            of_each = zip(vectors, self.stack.vectors, VECTOR_ACCESSES, strict=True)
            for elements, cycles, accesses in of_each:
                busy += elements * cycles
                if elements and accesses:
                    waiting += waited(elements * accesses, cycles / accesses)
        if loops.counted:
            busy += cost.vector_calls * self.stack.gemm.vector_call
            if not self.stack.gemm.skips_ones:
                busy += cost.scaled_by_1 * self.stack.vectors.scaled
        beyond_l2 = memory.missing(_FLOAT_BYTES * cost.im2col)
        waiting += cost.im2col * (memory.write * beyond_l2 + from_l2 * (1 - beyond_l2))
        busy += (
            passes * loops.access
            + cost.im2col * loops.im2col
            + cost.windows * loops.window
            + cost.relus * loops.relu
            + cost.exps * loops.exp
            + cost.randoms * loops.random
            + cost.entries * loops.layer
        )
        to_ms = of_products = of_accesses = 1e3 / self.device.clock_hz
        if self.factors is not None:
            of_products, of_accesses = to_ms * self.factors.products, to_ms * self.factors.accesses
        return Parts(
            of_products * core,
            of_accesses * waiting,
            of_accesses * busy,
            to_ms * cost.pows * self.power.cycles,
        )

    def _products(self, products: Sequence[Product]) -> tuple[float, float]:
        """Return the cycles of products in the cores, and waiting for memory."""
        core = waiting = 0.0
        for one in products:
            call = Call(one.columns, one.rows, one.depth, one.adds, one.transposed)
            found = on_threads(call, self.stack, self.memory, self.threads)
            core += one.times * found.core
            waiting += one.times * found.memory
        return core, waiting

    def bounds_ms(self, parts: Parts) -> tuple[float, float]:
        """Return how much less and how much more a whole forward pass may take, 90 % of the time.

        The parts are off independently; what the stack leaves open counts as one of them. Where
        a board's own times narrow the stack, their errors count instead, if there are enough.
        """
        if self.factors is not None and self.factors.half_width_log is not None:
            width = exp(self.factors.half_width_log)
            return parts.ms * (1 - 1 / width), parts.ms * (width - 1)
        shares = dict(UNKNOWN_SHARES)
        if self.threads > 1:
            shares["products"] = UNKNOWN_OF_THREADS
        both = sum((share * getattr(parts, name)) ** 2 for name, share in shares.items())
        both += (UNKNOWN_OF_ALL * (parts.ms - parts.powers)) ** 2
        per_cycle = parts.powers / self.power.cycles
        less = per_cycle * (self.power.cycles - self.power.low)
        more = per_cycle * (self.power.high - self.power.cycles)
        faster, slower = self.stack.open_loops
        less_open, more_open = parts.loops * (1 - faster), parts.loops * (slower - 1)
        return sqrt(both + less**2 + less_open**2), sqrt(both + more**2 + more_open**2)
