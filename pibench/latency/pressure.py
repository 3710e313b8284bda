"""Estimate the cost of running at the edge of the board's memory, from the plan's headroom.

A board caches file pages (for example of running libraries) in the memory that programs leave free.
If almost none is left, pages are dropped and read again from the SD card, pass after pass: a
penalty that sets in sharply and grows with the missing memory. The pages that must stay depend on
the programs and not on the board, so the onset is in MiB and the same on boards of any size.

The evidence is small: one time of one board, and one network with slightly more headroom that pays
nothing. `cost` gives only what follows from that. A network with as little headroom as the one that
paid, or less, pays at least as much, wherever the onset is. One with more headroom pays nothing, or
at most the value on a line from there to the headroom of the network that paid nothing. Below, a
MiB costs up to DEARER times the fitted price, which nobody has measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pibench.devices import MIB
from pibench.plan.environment import of_device
from pibench.plan.planner import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.devices import Device
    from pibench.engines.base import Protocol
    from pibench.latency.rates import Pressure
    from pibench.networks.network import Network
    from pibench.plan.planner import Plan

    Planner = Callable[..., Plan]

ONSET_MIB: Final = 46.0
"""Headroom in MiB below which a network is at the edge.

It lies between the headrooms of the paper's two largest networks as planned for its board: 49 MiB,
with a normal time, and 36 MiB, with an increased time.
"""
PLAN_ERROR_SHARE: Final = 0.0032
"""Largest observed error of a planned peak (docs/planned-against-measured.md, `vm`)."""
DEARER: Final = 2.0
"""How many times the fitted price a MiB may cost at most: an assumption.

The fitted price is about 2 ms for each page of 4 KiB; twice that is 1 MB/s, less than the slowest
speed class of SD cards (2 MB/s, SD Physical Layer Specification) sustains in writing.
"""


class Cost(NamedTuple):
    """Milliseconds on top of the time of the work: the estimate, and its least and most."""

    ms: float
    low_ms: float
    high_ms: float


def headroom_bytes(
    network: Network, device: Device, protocol: Protocol, plan_of: Planner = plan
) -> int:
    """Return the device's usable memory minus the peak planned by `plan_of`.

    Raises:
        InvalidInputError: Caffe would reject the network.
    """
    planned = plan_of(network, protocol=protocol, environment=of_device(device))
    return device.usable_bytes - planned.peak_rss_bytes


def short_mib(headroom_mib: float, onset_mib: float = ONSET_MIB) -> float:
    """Return the MiB missing up to the onset; 0 above it, and if the network does not fit at all.

    Such a network is killed before it would slow down: its time is for a board with more memory.
    """
    return max(0.0, onset_mib - headroom_mib) if headroom_mib >= 0 else 0.0


def cost(headroom: int, device: Device, pressure: Pressure, *, timed: bool = False) -> Cost:
    """Return the cost, in ms, of leaving `headroom` bytes of the device's memory.

    Args:
        headroom: Usable memory minus the planned peak, in bytes.
        device: The board.
        pressure: The fitted cost.
        timed: Whether the rates were fitted on a time of this network on this device. Its headroom
            then defines the bounds, and the plan's error does not widen them.
    """
    here_mib = headroom / MIB
    if pressure.ms_per_mib is None or headroom < 0:
        return Cost(0.0, 0.0, 0.0)
    error_mib = 0.0 if timed else PLAN_ERROR_SHARE * (device.usable_bytes - headroom) / MIB
    likely_ms = pressure.ms_per_mib * short_mib(here_mib, pressure.onset_mib)
    low_ms = pressure.paid_ms if here_mib + error_mib <= pressure.edge_mib else 0.0
    least_mib = here_mib - error_mib
    if least_mib <= pressure.edge_mib:
        further_mib = pressure.edge_mib - least_mib
        high_ms = pressure.paid_ms + DEARER * pressure.ms_per_mib * further_mib
    else:
        left_mib = max(0.0, pressure.clear_mib - least_mib)
        high_ms = pressure.paid_ms * left_mib / (pressure.clear_mib - pressure.edge_mib)
    return Cost(likely_ms, low_ms, high_ms)
