"""What a network pays at the edge of the board's memory, from the plan's headroom alone.

A board keeps file pages (the libraries that run, say) in what programs leave free. Where next
to nothing is left they are dropped and read anew from the SD card, pass after pass: a penalty
that sets in sharply and grows with what is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pibench.plan.environment import of_device
from pibench.plan.planner import plan

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.latency.calibration import Pressure
    from pibench.networks.network import Network
    from pibench.records.schema import Protocol

MIB: Final = 2**20
ONSET_SHARE: Final = 0.05
"""Share of the usable memory below which a headroom is the edge.

Between the headrooms of the paper's two largest networks as planned: 50 MiB of 918 (5.4 %),
whose time is as any other's, and 37 MiB (4.0 %), whose time is not.
"""


def headroom_bytes(network: Network, device: Device, protocol: Protocol) -> int:
    """The device's usable memory less the planned peak.

    Raises InvalidInputError for a network that Caffe would refuse.
    """
    planned = plan(network, protocol=protocol, environment=of_device(device))
    return device.usable_bytes - planned.peak_rss_bytes


def short_mib(headroom: int, device: Device, onset_share: float = ONSET_SHARE) -> float:
    """MiB missing up to the onset; 0 above it, and for a network that does not fit at all.

    That one is killed before it would slow down: its time is for a board with more memory.
    """
    if headroom < 0:
        return 0.0
    return max(0.0, onset_share * device.usable_bytes - headroom) / MIB


def extra_ms(headroom: int, device: Device, pressure: Pressure) -> float:
    """Milliseconds on top of the time that the work takes."""
    return short_mib(headroom, device, pressure.onset_share) * (pressure.ms_per_mib or 0.0)
