"""Judge whether a planned network fits a device: its peak against the usable memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pibench.devices import BORDERLINE_BAND

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.plan.planner import Plan
    from pibench.records.schema import Verdict


@dataclass(frozen=True)
class Judgement:
    """The verdict, and the usable memory minus the planned peak, in bytes."""

    verdict: Verdict
    headroom_bytes: int


def judge(plan: Plan, device: Device) -> Judgement:
    """Judge a plan by the rule for a run, for every peak that a run may have.

    A run's peak lies within the band of the model's error around the planned peak. The verdict is
    fit or no-fit only if it is the same for all of these peaks, by the rule for a run without an
    enforced limit, which has its own band around the limit; otherwise it is borderline.

    Returns:
        The verdict with the headroom in bytes, negative if the planned peak is too large.
    """
    usable = device.usable_bytes
    headroom = usable - plan.peak_rss_bytes
    if abs(headroom) <= plan.band_bytes + BORDERLINE_BAND * usable:
        return Judgement("borderline", headroom)
    return Judgement("fit" if headroom > 0 else "no-fit", headroom)
