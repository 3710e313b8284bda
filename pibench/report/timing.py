"""Describe the reliability of a latency: its passes, those excluded and why, machine state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.records.statistics import counting_ms, set_aside, why_no_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pibench.records.schema import Record


def timing(record: Record) -> list[str]:
    """Return the lines about a record's passes; none if nothing was timed."""
    if not record.samples:
        return []
    lines = [line for line in (_passes(record), _left_out(record)) if line]
    if record.provenance["latency_ms"].kind == "measured" or set_aside(record.samples):
        lines += _state(record)
    return lines


def not_told(records: Iterable[Record]) -> list[str]:
    """Return why machine state is missing for the measured times, each reason once."""
    measured = [one for one in records if one.samples and not one.is_emulated_or_twin]
    reasons = {
        (figure, reason): None
        for record in measured
        for figure, reason in record.environment.guest.unavailable.items()
    }
    return [f"unavailable: {figure}: {reason}" for figure, reason in reasons]


def _passes(record: Record) -> str | None:
    """Return the median with its interval, if there are several passes."""
    if record.latency_ms is None or len(record.samples) == 1:
        return None
    count = len(counting_ms(record.samples))
    kind = record.provenance["latency_ms"].kind
    said = f"{_ms(record.latency_ms)} ms {kind}, median of {_passes_of(count)}"
    interval = record.latency_interval
    if interval is None:
        return f"{said}; {why_no_interval(record.samples) or 'no interval'}"
    return (
        f"{said}, {interval.confidence:.0%} interval "
        f"{_ms(interval.low_ms)} to {_ms(interval.high_ms)} ms"
    ).replace("%", " %")


def _left_out(record: Record) -> str | None:
    """Return the excluded samples, and the outliers among those that count."""
    outliers = [one.latency_ms for one in record.samples if one.outlier]
    parts = [set_aside(record.samples)]
    if outliers:
        listed = ", ".join(_ms(one) for one in outliers)
        parts.append(f"outlier{'s' if len(outliers) > 1 else ''}, counted: {listed} ms")
    return "; ".join(part for part in parts if part) or None


def _state(record: Record) -> list[str]:
    """Return the clock, the temperature and the firmware's bits over all passes."""
    clocks = [one.clock_hz for one in record.samples if one.clock_hz is not None]
    degrees = [one.temperature_c for one in record.samples if one.temperature_c is not None]
    governor = record.environment.guest.governor
    parts = []
    if clocks:
        low, high = (one / 1e6 for one in (min(clocks), max(clocks)))
        said = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
        parts.append(f"clock {said} MHz{f' (governor {governor})' if governor else ''}")
    if degrees:
        parts.append(f"up to {max(degrees):.1f} degrees C")
    return ["; ".join(parts)] if parts else []


def _passes_of(count: int) -> str:
    return f"{count} pass" if count == 1 else f"{count} passes"


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"
