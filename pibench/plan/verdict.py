"""Does a planned network fit a device? Its peak against what the device leaves to programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.plan.planner import Plan
    from pibench.records.schema import Verdict


@dataclass(frozen=True)
class Judgement:
    """The verdict, and the usable memory less the planned peak, in bytes."""

    verdict: Verdict
    headroom_bytes: int


def judge(plan: Plan, device: Device) -> Judgement:
    """Fit or no-fit; borderline where the limit lies within the band of the model's error."""
    headroom = device.usable_bytes - plan.peak_rss_bytes
    if abs(headroom) <= plan.band_bytes:
        return Judgement("borderline", headroom)
    return Judgement("fit" if headroom > 0 else "no-fit", headroom)
