"""Compare verdict, RAM and latency of one network on two sides."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from pibench.devices import MIB
from pibench.records.statistics import rank_correlation

if TYPE_CHECKING:
    from pibench.crosscheck.sides import Entry

Metric = Literal["verdict", "ram", "latency", "outputs"]
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
RAM_TOLERANCE: Final = 0.05
RAM_FLOOR_BYTES: Final = 2 << 20
"""The RAM of two runs of one network may differ by this much, whatever its size: the resident
pages of the libraries' files and the memory kept by the allocator vary between runs. For a
LeNet the difference is 0.7 MiB of 8 in eight runs (docs/outputs.md)."""
LATENCY_TOLERANCE: Final = 0.15
FEWEST_LAYERS: Final = 3
"""The fewest layers for which a rank correlation is meaningful."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric of one network on two sides; true only if it was compared and agrees.

    `agrees` is None if the metric was not compared. `why` gives the reason, and also explains an
    agreement that rests on an absolute floor alone. `not_applicable` means that there was nothing
    to compare: the network did not complete on either side. `error` is the second value minus the
    first, as a fraction of the first. `required` is the smallest tolerance that would accept it.
    """

    metric: Metric
    agrees: bool | None
    why: str = ""
    not_applicable: bool = False
    error: float | None = None
    required: float | None = None

    def __bool__(self) -> bool:
        return self.agrees is True


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How two runs divide their time among layers, for times that cannot be compared directly.

    `rank_correlation` is Spearman's over the layers' times. `largest` is the layer whose fraction
    of the total differs most; `first` and `second` are its fractions (of 1).
    """

    layers: int
    rank_correlation: float
    largest: str
    first: float
    second: float


@dataclass(frozen=True, kw_only=True)
class LatencyComparison(Comparison):
    """Compare latencies; `shares` replaces the error if the times are from different clocks."""

    shares: Shares | None = None


def compare_verdicts(first: Entry, second: Entry) -> Comparison:
    """Compare fit and no-fit verdicts; any other verdict leaves `agrees` None."""
    both = f"{first.verdict} and {second.verdict}"
    for entry in (first, second):
        if entry.verdict is None:
            return Comparison(metric="verdict", agrees=None, why=f"{entry.source} gives none")
        if entry.verdict not in ("fit", "no-fit"):
            return Comparison(metric="verdict", agrees=None, why=f"undecided: {both}")
    same = first.verdict == second.verdict
    return Comparison(metric="verdict", agrees=same, why="" if same else both)


def compare_ram(
    first: Entry,
    second: Entry,
    tolerance: float = RAM_TOLERANCE,
    floor_bytes: int = RAM_FLOOR_BYTES,
) -> Comparison:
    """Compare peak minus baseline RAM of runs that completed.

    They agree within the tolerance, a fraction of the first, or, unless both are planned, within
    the floor.
    """
    if first.ram_bytes is None or second.ram_bytes is None:
        return Comparison(metric="ram", **_missing(first, second, "ram_bytes", "ram"))
    sizes = first.ram_bytes, second.ram_bytes
    found = Comparison(metric="ram", **_relative(*sizes, tolerance))
    apart_bytes = abs(sizes[1] - sizes[0])
    # A plan has no noise, so the floor does not apply to two plans.
    run = not first.kind == second.kind == "planned"
    if found.agrees is False and run and apart_bytes <= floor_bytes:
        why = f"{apart_bytes / MIB:.1f} MiB apart, within the floor of {floor_bytes / MIB:g} MiB"
        return replace(found, agrees=True, why=why)
    return found


def compare_latencies(
    first: Entry, second: Entry, tolerance: float = LATENCY_TOLERANCE
) -> LatencyComparison:
    """Compare times of one clock directly; otherwise compare how they divide among layers.

    A time from emulation or from the twin applies only to its own run and is never compared. A
    prediction for no single stack is a range, which contains the other time or does not.
    `tolerance` is a fraction of the first time.
    """
    if first.latency_ms is None or second.latency_ms is None:
        missing = _missing(first, second, "latency_ms", "latency")
        return LatencyComparison(metric="latency", **missing)
    if first.clock is None or second.clock is None or first.clock != second.clock:
        kinds = [f"{entry.latency.kind} ({entry.clock or 'its own'})" for entry in (first, second)]
        why = f"times of two clocks: {kinds[0]}, {kinds[1]}"
        if first.clock is second.clock is None and kinds[0] == kinds[1]:
            why = f"{first.latency.kind} times are of their own run, and compared with no other"
        return LatencyComparison(
            metric="latency", agrees=None, why=why, shares=_shares(first, second)
        )
    for one, other_ms in ((first, second.latency_ms), (second, first.latency_ms)):
        if one.latency_range_ms is not None:
            low_ms, high_ms = one.latency_range_ms
            inside = low_ms <= other_ms <= high_ms
            why = (
                f"{other_ms:.0f} ms is {'within' if inside else 'not within'} the "
                f"{low_ms:.0f} to {high_ms:.0f} ms of any known stack"
            )
            return LatencyComparison(metric="latency", agrees=inside, why=why)
    found = _relative(first.latency_ms, second.latency_ms, tolerance)
    return LatencyComparison(metric="latency", **found)


def neither_ended(first: Entry, second: Entry) -> bool:
    """Return whether both sides ran (or were planned not to fit) and neither completed."""
    return all(
        entry.verdict == "no-fit" if entry.came_to_its_end is None else not entry.came_to_its_end
        for entry in (first, second)
    )


def _missing(first: Entry, second: Entry, figure: str, provenance: str) -> dict[str, Any]:
    """Return the comparison's fields for a figure that at least one side lacks."""
    lacking = first if getattr(first, figure) is None else second
    why = f"{lacking.source}: {getattr(lacking, provenance).reason}"
    return {"agrees": None, "why": why, "not_applicable": neither_ended(first, second)}


def _relative(first: float, second: float, tolerance: float) -> dict[str, Any]:
    """Return the comparison's fields for two figures."""
    if not first or not math.isfinite(second / first):
        if second == first:
            return {"agrees": True, "error": 0.0}
        return {"agrees": False, "why": "the first is 0, or next to it"}
    error = second / first - 1
    return {"agrees": abs(error) <= tolerance, "error": error, "required": abs(error)}


def _shares(first: Entry, second: Entry) -> Shares | None:
    """Compare the layers that both sides have, by name; return None if there are too few."""
    left, right = (
        {layer.name: layer.forward_ms for layer in entry.layers} for entry in (first, second)
    )
    names = [name for name in left if name in right]
    totals = sum(left[name] for name in names), sum(right[name] for name in names)
    if len(names) < FEWEST_LAYERS or not all(totals):
        return None
    shares = {name: (left[name] / totals[0], right[name] / totals[1]) for name in names}
    correlation = rank_correlation(*zip(*shares.values(), strict=True))
    largest = max(shares, key=lambda name: abs(shares[name][0] - shares[name][1]))
    return Shares(
        layers=len(names),
        rank_correlation=correlation,
        largest=largest,
        first=shares[largest][0],
        second=shares[largest][1],
    )
