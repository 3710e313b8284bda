"""What a network pays at the edge of the board's memory, from the plan's headroom alone.

A board keeps file pages (the libraries that run, say) in what programs leave free. Where next
to nothing is left they are dropped and read anew from the SD card, pass after pass: a penalty
that sets in sharply and grows with what is missing. What has to stay is of the programs and
not of the board, so that the onset is in MiB and alike on boards of any size.

Little is known of it: one time of one board, and that a network with a little more left pays
nothing. `cost` gives what follows from that and no more. A network that leaves as little as the
one that paid, or less, pays as much at least, wherever the onset is. One that leaves more pays
nothing, or what a line from there to the headroom of the network that paid nothing gives.
Below, a MiB costs up to DEARER times the fitted price, which nobody has measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pibench.plan.environment import of_device
from pibench.plan.planner import plan

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.latency.calibration import Pressure
    from pibench.networks.network import Network
    from pibench.records.schema import Protocol

MIB: Final = 2**20
ONSET_MIB: Final = 46.0
"""Headroom in MiB below which a network is at the edge.

Between the headrooms of the paper's two largest networks as planned for its board: 49 MiB, whose
time is as any other's, and 36 MiB, whose time is not.
"""
PLAN_ERROR_SHARE: Final = 0.0032
"""By how much a planned peak was off at most (docs/planned-against-measured.md, `vm`)."""
DEARER: Final = 2.0
"""How many times the fitted price a MiB may cost at most: an assumption.

The fitted price is about 2 ms for each page of 4 KiB; twice that is 1 MB/s, less than the slowest
speed class of SD cards (2 MB/s, SD Physical Layer Specification) keeps up in writing.
"""


class Cost(NamedTuple):
    """Milliseconds on top of the time that the work takes, and the least and most of them."""

    ms: float
    low_ms: float
    high_ms: float


def headroom_bytes(network: Network, device: Device, protocol: Protocol) -> int:
    """The device's usable memory less the planned peak.

    Raises InvalidInputError for a network that Caffe would refuse.
    """
    planned = plan(network, protocol=protocol, environment=of_device(device))
    return device.usable_bytes - planned.peak_rss_bytes


def short_mib(headroom_mib: float, onset_mib: float = ONSET_MIB) -> float:
    """MiB missing up to the onset; 0 above it, and for a network that does not fit at all.

    That one is killed before it would slow down: its time is for a board with more memory.
    """
    return max(0.0, onset_mib - headroom_mib) if headroom_mib >= 0 else 0.0


def cost(headroom: int, device: Device, pressure: Pressure, *, timed: bool = False) -> Cost:
    """What a network that leaves `headroom` bytes of the device's memory pays, in ms.

    `timed` says that the calibration has a time of this very network on this device: its
    headroom is one of those that the bounds are made of, and not off from them.
    """
    here_mib = headroom / MIB
    if pressure.ms_per_mib is None or headroom < 0:
        return Cost(0.0, 0.0, 0.0)
    error_mib = 0.0 if timed else PLAN_ERROR_SHARE * (device.usable_bytes - headroom) / MIB
    return Cost(
        pressure.ms_per_mib * short_mib(here_mib, pressure.onset_mib),
        _least_ms(here_mib + error_mib, pressure),
        _most_ms(here_mib - error_mib, pressure),
    )


def _least_ms(headroom_mib: float, pressure: Pressure) -> float:
    return pressure.paid_ms if headroom_mib <= pressure.edge_mib else 0.0


def _most_ms(headroom_mib: float, pressure: Pressure) -> float:
    if headroom_mib <= pressure.edge_mib:
        further_mib = pressure.edge_mib - headroom_mib
        return pressure.paid_ms + DEARER * (pressure.ms_per_mib or 0.0) * further_mib
    left_mib = max(0.0, pressure.clear_mib - headroom_mib)
    return pressure.paid_ms * left_mib / (pressure.clear_mib - pressure.edge_mib)
