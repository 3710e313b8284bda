"""Does a planned network fit a device? Its peak against what the device leaves to programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pibench.devices.profile import BORDERLINE_BAND

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
    """Judge a plan by what a run would be judged by, for every peak that a run may have.

    A run's peak lies within the band of the model's error around the planned one. Fit and
    no-fit are answers that hold for all of these peaks by the rule of a run without an
    enforced limit, which has a band of its own around the limit; anything else is borderline.
    """
    usable = device.usable_bytes
    headroom = usable - plan.peak_rss_bytes
    if abs(headroom) <= plan.band_bytes + BORDERLINE_BAND * usable:
        return Judgement("borderline", headroom)
    return Judgement("fit" if headroom > 0 else "no-fit", headroom)
