"""Plot memory over layers: an SVG file, or columns of characters for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.plan.process import Step

MIB: Final = 2**20
WIDTH: Final = 960
HEIGHT: Final = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 40
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_PHASES: Final = {
    "set-up": "#8da0cb", "weights": "#e5c494", "inputs": "#b3b3b3", "forward": "#66c2a5",
    "backward": "#fc8d62", "outputs": "#e78ac3", "exit": "#d9d9d9",
}  # fmt: skip
"""Colours that are distinct for colour-blind readers (ColorBrewer Set2)."""


def svg(title: str, steps: Sequence[Step], *, usable_bytes: int) -> str:
    """Draw one column per step, coloured by phase, and the device's usable memory as a line."""
    ceiling = 1.05 * max(usable_bytes, *(step.peak_bytes for step in steps))
    inner_width, inner_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    column = inner_width / len(steps)

    def height(size_bytes: float) -> float:
        return inner_height * size_bytes / ceiling

    floor = HEIGHT - _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        "<style>text { font: 12px sans-serif }</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="20">{escape(title)}</text>',
    ]
    for index, step in enumerate(steps):
        tall = height(step.peak_bytes)
        name = escape(f"{step.phase} {step.layer}: {step.peak_bytes / MIB:.1f} MiB")
        parts.append(
            f'<rect x="{_LEFT + index * column:.2f}" y="{floor - tall:.1f}" '
            f'width="{column:.3f}" height="{tall:.1f}" '
            f'fill="{_PHASES.get(step.phase, "#b3b3b3")}"><title>{name}</title></rect>'
        )
    line = floor - height(usable_bytes)
    parts += [
        f'<path d="M{_LEFT} {line:.1f}H{WIDTH - _RIGHT}" stroke="black" stroke-dasharray="6 4"/>',
        f'<text x="{_LEFT + 4}" y="{line - 4:.1f}">usable {usable_bytes / MIB:.0f} MiB</text>',
        *_scale(ceiling, floor, inner_height),
        *_legend(steps),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _scale(ceiling: float, floor: float, inner_height: float) -> list[str]:
    """Draw the MiB scale at the left, with about five round numbers."""
    rough = ceiling / MIB / 5
    power = 10 ** (len(str(int(rough))) - 1)
    step = power * min((one for one in (1, 2, 5, 10) if one * power >= rough), default=10)
    marks = []
    for mark in range(0, int(ceiling / MIB) + 1, step):
        y = floor - inner_height * mark * MIB / ceiling
        marks.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark}</text>')
    return [*marks, f'<text x="8" y="{_TOP - 4}">MiB</text>']


def _legend(steps: Sequence[Step]) -> list[str]:
    parts = []
    x = _LEFT
    for phase in dict.fromkeys(step.phase for step in steps):
        colour = _PHASES.get(phase, "#b3b3b3")
        parts.append(f'<rect x="{x}" y="{HEIGHT - 24}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="{HEIGHT - 14}">{escape(phase)}</text>')
        x += 100
    return parts


def columns(steps: Sequence[Step], *, width: int, rows: int) -> list[str]:
    """Draw memory over steps with block characters.

    Args:
        steps: the planned steps, in order.
        width: the number of intervals (characters per line); at most one per step.
        rows: the number of lines.

    Returns:
        The lines; a column shows the highest RSS in its interval.
    """
    width = max(1, min(width, len(steps)))
    peaks = [0] * width
    for index, step in enumerate(steps):
        at = index * width // len(steps)
        peaks[at] = max(peaks[at], step.peak_bytes)
    tallest = max(peaks)
    eighths = [round(8 * rows * peak / tallest) for peak in peaks]
    return [
        "".join(_EIGHTHS[min(8, max(0, tall - 8 * row))] for tall in eighths)
        for row in reversed(range(rows))
    ]


def phase_line(steps: Sequence[Step], *, width: int) -> str:
    """Return the first letter of each interval's phase, for the line below `columns`."""
    width = max(1, min(width, len(steps)))
    return "".join(steps[index * len(steps) // width].phase[0] for index in range(width))
