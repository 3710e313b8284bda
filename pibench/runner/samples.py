"""Timed passes as samples: the machine's state around each decides whether it counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pibench.records.schema import Sample
from pibench.records.statistics import is_outlier

if TYPE_CHECKING:
    from collections.abc import Sequence

THROTTLE_BITS: Final = {
    0: "under-voltage",
    1: "clock capped",
    2: "throttled",
    3: "soft temperature limit",
}
"""The firmware's bits for the present state; those 16 higher mean that the same has occurred
(Raspberry Pi documentation, `vcgencmd get_throttled`)."""
_NOW: Final = 0xF
_OCCURRED_SHIFT: Final = 16
MIB: Final = 2**20

Reading: TypeAlias = dict[str, Any]
"""One reading of the probe: see MachineState.read in pibench/probe/machine_state.py."""


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """How a machine reports throttling.

    An event is reported `lag_s` seconds later. `since_boot` means that
    bits for what has occurred stay set until the next boot.
    """

    lag_s: float = 0.0
    since_boot: bool = False

    @classmethod
    def of(cls, told: dict[str, Any] | None) -> Throttle:
        """Read the probe's `throttle`; None is a machine that does not report throttling."""
        if told is None:
            return cls()
        return cls(lag_s=told["lag_s"], since_boot=told["occurred_since"] == "boot")


def samples_of(
    times_ms: Sequence[float], readings: Sequence[Reading], throttle: Throttle
) -> tuple[Sample, ...]:
    """Return one sample per time.

    Args:
        times_ms: the times of the passes in milliseconds.
        readings: reading i is from right before pass i, reading i + 1 from right after it.
            Later readings have what the kernel did not know yet.
        throttle: how the machine reports throttling.

    Raises:
        ValueError: there are fewer readings than that.
    """
    if len(readings) <= len(times_ms):
        raise ValueError(f"{len(times_ms)} times have {len(readings)} readings around them")
    around = [_around(readings, i, i + 1, throttle) for i in range(len(times_ms))]
    counting = [ms for ms, seen in zip(times_ms, around, strict=True) if seen["set_aside"] is None]
    return tuple(
        Sample(
            latency_ms=ms,
            outlier=seen["set_aside"] is None and is_outlier(ms, counting),
            **seen,
        )
        for ms, seen in zip(times_ms, around, strict=True)
    )


def why_disturbed(
    readings: Sequence[Reading], first: int, last: int, throttle: Throttle
) -> str | None:
    """Return why a time between two readings does not count, or None if it does."""
    reason: str | None = _around(readings, first, last, throttle)["set_aside"]
    return reason


def _around(
    readings: Sequence[Reading], first: int, last: int, throttle: Throttle
) -> dict[str, Any]:
    """Return the machine's state between two readings, as fields of a sample."""
    before, after = readings[first], readings[last]
    known_s = after["time_s"] + throttle.lag_s
    end = next(
        (i for i in range(last, len(readings)) if readings[i]["time_s"] >= known_s),
        len(readings) - 1,
    )
    bits = [one["throttled_bits"] for one in readings[first : end + 1]]
    swaps = [one["swapped_bytes"] for one in (before, after)]
    swapped = max(0, swaps[1] - swaps[0]) if None not in swaps else None
    reasons = [_throttled(bits, throttle), _swapped(swapped)]
    told = [one for one in bits if one is not None]
    return {
        "throttled_bits": _either(told) if told else None,
        "clock_hz": min(_told(before, after, "clock_hz"), default=None),
        "temperature_c": max(_told(before, after, "temperature_c"), default=None),
        "swapped_bytes": swapped,
        "set_aside": "; ".join(reason for reason in reasons if reason) or None,
    }


def _told(before: Reading, after: Reading, name: str) -> list[Any]:
    return [one[name] for one in (before, after) if one[name] is not None]


def _either(bits: Sequence[int | None]) -> int:
    """Return all bits that are set in any of them."""
    return reduce(or_, (one or 0 for one in bits), 0)


def _throttled(bits: Sequence[int | None], throttle: Throttle) -> str | None:
    """Describe throttling within a pass in words; the first of `bits` is from before it.

    Where the bits for what has occurred stay until the next boot, only a newly set bit
    counts. Elsewhere the kernel has the firmware clear them at each of
    its readings, a few seconds apart: a bit that is set is recent.
    """
    seen, before = _either(bits), bits[0] or 0
    occurred = _either(bits[1:]) & ~before if throttle.since_boot else seen
    found = (seen | occurred >> _OCCURRED_SHIFT) & _NOW
    if not found:
        return None
    named = ", ".join(name for bit, name in THROTTLE_BITS.items() if found >> bit & 1)
    return f"the firmware reports {named} ({seen:#x})"


def _swapped(swapped_bytes: int | None) -> str | None:
    return f"the kernel swapped ({swapped_bytes / MIB:.1f} MiB)" if swapped_bytes else None
