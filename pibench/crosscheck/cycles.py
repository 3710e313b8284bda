"""A network's time by the blocks that QEMU ran, beside the analytic time of the same stack.

Both are of one thread, and both wait for memory as the analytic model says: blocks state what the
core issued, not which lines it waited for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pibench.latency import stacks, work
from pibench.latency.analytic import Configuration, Parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.counting import NetworkCounts
    from pibench.devices import Device
    from pibench.engines.base import Protocol
    from pibench.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class Times:
    """Milliseconds of one layer or of several: issued by blocks, analytic, and for memory."""

    name: str
    type: str
    issue_ms: float
    analytic_issue_ms: float
    memory_ms: float

    @property
    def from_blocks_ms(self) -> float:
        """The time by the blocks that ran."""
        return self.issue_ms + self.memory_ms

    @property
    def analytic_ms(self) -> float:
        """The analytic time."""
        return self.analytic_issue_ms + self.memory_ms

    @property
    def apart(self) -> float | None:
        """How much longer the blocks take, as a fraction of the analytic time."""
        return self.from_blocks_ms / self.analytic_ms - 1 if self.analytic_ms else None


def compared(
    network: Network, counted: NetworkCounts, device: Device, stack: str, protocol: Protocol
) -> list[Times]:
    """Return the times of the layers that Caffe ran, in order.

    Caffe's loops and the C library are those of pibench's image, which was counted, whatever
    else the stack has. `counted` has cycles, of the BLAS of `stack` on the CPU of `device`.

    Raises:
        InvalidInputError: The stack is not known for the device.
    """
    own = stacks.load(stacks.default_of(device.cpu))
    configuration = Configuration(
        stack=stacks.load(stack).with_loops_of(own),
        device=device,
        threads=1,
        data="images",
    )
    parts = {one.name: configuration.parts(one) for one in work.count(network, protocol)}
    to_ms = 1e3 / device.clock_hz
    found = []
    for layer in counted.layers:
        # Splits are Caffe's own, and no layers of the network.
        of_layer = parts.get(layer.name, Parts())
        found.append(
            Times(
                name=layer.name,
                type=layer.type,
                issue_ms=to_ms * (layer.counts.issue_cycles or 0.0),
                analytic_issue_ms=of_layer.ms - of_layer.memory,
                memory_ms=of_layer.memory,
            )
        )
    return found


def total(times: Sequence[Times], name: str = "") -> Times:
    """Return the sum of some layers."""
    figures = ("issue_ms", "analytic_issue_ms", "memory_ms")
    sums = {figure: sum(getattr(one, figure) for one in times) for figure in figures}
    return Times(name=name, type="", **sums)


def by_type(times: Sequence[Times]) -> list[Times]:
    """Return the sum of the layers of each type, the types furthest apart in time first."""
    types = Counter(one.type for one in times)
    sums = [
        total([one for one in times if one.type == kind], f"{kind} ({count})")
        for kind, count in types.items()
    ]
    return sorted(sums, key=lambda one: -abs(one.issue_ms - one.analytic_issue_ms))
