"""Plot latency as SVG: predicted against the board's times, and a roofline with the networks.

Both axes are logarithmic: the fastest network takes a twentieth of the slowest one's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from pibench.latency.model import MACS_PER_CYCLE, MEMORY_BYTES_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.devices import Device
    from pibench.latency.calibration import Calibration
    from pibench.latency.model import Prediction
    from pibench.latency.validation import Validation

WIDTH: Final = 720
HEIGHT: Final = 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 44, 56
_SEEN, _UNSEEN, _ROOF = "#fc8d62", "#1f78b4", "#555555"
_SUBDIVISIONS: Final = (1, 2, 5)


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """A logarithmic axis from `low` to `high`, on the pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = log10(value / self.low) / log10(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def marks(self) -> list[float]:
        """Return 1, 2 and 5 of each decade."""
        decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        found = [step * 10.0**decade for decade in decades for step in _SUBDIVISIONS]
        return [mark for mark in found if self.low <= mark <= self.high]


def predicted_against_board(validation: Validation) -> str:
    """Plot one point per network, predicted by leave-one-out, except those at the memory edge."""
    times = [time for row in validation.rows for time in (row.measured_ms, row.predicted_ms)]
    x, y = _axes((min(times) / 1.2, max(times) * 1.2), (min(times) / 1.2, max(times) * 1.2))
    parts = _frame(x, y, "Time on the board, ms", "Predicted, ms",
                   "Predicted against the board's time; dotted: 10 % off")  # fmt: skip
    for factor, dashes in ((1.0, ""), (1.1, "2 4"), (1 / 1.1, "2 4")):
        low, high = max(x.low, x.low / factor), min(x.high, x.high / factor)
        ends = (x.at(low), y.at(low * factor), x.at(high), y.at(high * factor))
        parts.append(_line(*ends, dashes=dashes))
    for row in validation.rows:
        label = f"{row.network}: {row.measured_ms:.0f} ms, predicted {row.predicted_ms:.0f}"
        at = (x.at(row.measured_ms), y.at(row.predicted_ms))
        parts += _point(*at, row.network, label, _UNSEEN if row.counted else _SEEN)
    return _svg(parts)


def roofline(predictions: Sequence[Prediction], device: Device, calibration: Calibration) -> str:
    """Plot multiply-accumulates per second over multiply-accumulates per byte, with the bounds.

    The roofs are the memory's full speed, the NEON data path of all cores and of one core, and
    the BLAS throughput found on the board. Networks without multiply-accumulates are omitted.
    """
    points = [(one, *_position(one)) for one in predictions]
    points = [point for point in points if point[2]]
    one_core = MACS_PER_CYCLE * device.clock_hz / 1e9
    blas = 1.0 / (calibration.rates.tile_mac_ns * calibration.clock_ratio(device))
    intensities = [intensity for _, intensity, _ in points]
    slowest = min(rate for _, _, rate in points)
    x, y = _axes(
        (min(intensities) / 2, max(intensities) * 2), (slowest / 2, 1.5 * device.cores * one_core)
    )
    parts = _frame(x, y, "Multiply-accumulates per byte moved", "10^9 multiply-accumulates/s",
                   f"Roofline, {device.name}")  # fmt: skip
    roofs = {
        f"{device.cores} cores, NEON": device.cores * one_core,
        "1 core, NEON": one_core,
        "BLAS, as fitted": blas,
    }
    for name, rate in roofs.items():
        parts.append(_line(x.start, y.at(rate), x.end, y.at(rate), dashes="6 4"))
        parts.append(_text(x.end - 6, y.at(rate) - 5, name, "end"))
    slope = MEMORY_BYTES_PER_S / 1e9
    left = max(x.low, y.low / slope)
    right = min(x.high, device.cores * one_core / slope)
    if left < right:
        parts.append(_line(x.at(left), y.at(slope * left), x.at(right), y.at(slope * right)))
    for one, intensity, rate in points:
        label = f"{one.network}: {rate:.2f} x 10^9/s, {intensity:.1f} per byte"
        parts += _point(x.at(intensity), y.at(rate), one.network, label, _UNSEEN)
    return _svg(parts)


def _position(prediction: Prediction) -> tuple[float, float]:
    """Return multiply-accumulates per byte moved, and 10^9 of them per second."""
    macs = sum(layer.work.macs for layer in prediction.layers)
    moved_bytes = sum(layer.work.moved_bytes for layer in prediction.layers)
    return macs / max(1, moved_bytes), macs / max(prediction.latency_ms, 1e-9) / 1e6


def _axes(x: tuple[float, float], y: tuple[float, float]) -> tuple[_Axis, _Axis]:
    return (
        _Axis(low=x[0], high=x[1], start=_LEFT, end=WIDTH - _RIGHT),
        _Axis(low=y[0], high=y[1], start=HEIGHT - _BOTTOM, end=_TOP),
    )


def _frame(x: _Axis, y: _Axis, x_title: str, y_title: str, title: str) -> list[str]:
    parts = [
        _text(_LEFT, 20, title),
        (
            f'<rect x="{x.start}" y="{y.end}" width="{x.end - x.start}" '
            f'height="{y.start - y.end}" fill="none" stroke="black"/>'
        ),
        _text((x.start + x.end) / 2, HEIGHT - 12, x_title, "middle"),
        _text(8, _TOP - 10, y_title),
    ]
    parts += [_text(x.at(mark), y.start + 16, f"{mark:g}", "middle") for mark in x.marks()]
    parts += [_text(x.start - 6, y.at(mark) + 4, f"{mark:g}", "end") for mark in y.marks()]
    return parts


def _point(x: float, y: float, name: str, label: str, colour: str) -> list[str]:
    return [
        (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">'
            f"<title>{escape(label)}</title></circle>"
        ),
        f'<text x="{x + 6:.1f}" y="{y + 3:.1f}" class="small">{escape(name)}</text>',
    ]


def _line(x1: float, y1: float, x2: float, y2: float, *, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{_ROOF}"{dashed}/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str]) -> str:
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        "<style>text { font: 12px sans-serif } .small { font-size: 9px }</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"
