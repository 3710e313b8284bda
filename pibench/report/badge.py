"""Draw a badge: whether networks fit a device, as an SVG file that needs no service to be shown."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from pibench.report.text import mib, visible

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from pibench.devices import Device
    from pibench.records.schema import Record

ENDING: Final = "badge.svg"
"""How the name of such a file ends."""
# White text on each has a contrast of 4.5 or more (WCAG 2, level AA).
_COLOURS: Final = {"fit": "#1a7f37", "no-fit": "#b3261e", "borderline": "#8f5700"}
_UNKNOWN: Final = "#566170"
_LABEL_COLOUR: Final = "#3b434d"
_LETTER_PX: Final = 6.6
"""The mean width of a letter; `textLength` makes the text that long in any font."""
_PADDING_PX: Final = 6
_HEIGHT_PX: Final = 20
_LONGEST: Final = 60
_LABELS: Final = {
    "fit": "fits {}", "no-fit": "does not fit {}", "borderline": "borderline on {}",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Badge:
    """A label, a message, the colour behind the message, and a sentence for screen readers."""

    label: str
    message: str
    colour: str
    title: str

    def svg(self) -> str:
        """Return the picture; all text in it is escaped."""
        label, message = (_short(visible(one)) for one in (self.label, self.message))
        left, right = (2 * _PADDING_PX + _LETTER_PX * len(one) for one in (label, message))
        width = left + right
        title = escape(visible(self.title))
        texts = "".join(
            f'<text x="{start + _PADDING_PX:.1f}" y="14" textLength="{_LETTER_PX * len(one):.1f}" '
            f'lengthAdjust="spacingAndGlyphs">{escape(one)}</text>'
            for start, one in ((0.0, label), (left, message))
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.1f}" height="{_HEIGHT_PX}" '
            f'role="img" aria-labelledby="title"><title id="title">{title}</title>'
            f'<clipPath id="r"><rect width="{width:.1f}" height="{_HEIGHT_PX}" rx="3"/></clipPath>'
            f'<g clip-path="url(#r)">'
            f'<rect width="{left:.1f}" height="{_HEIGHT_PX}" fill="{_LABEL_COLOUR}"/>'
            f'<rect x="{left:.1f}" width="{right:.1f}" height="{_HEIGHT_PX}" '
            f'fill="{self.colour}"/></g>'
            f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
            f"{texts}</g></svg>\n"
        )


def of_plans(
    answers: Sequence[dict[str, Any]], device: Device, refused: Collection[str] = ()
) -> Badge:
    """Return the badge of plans: the peak of one network, or how many of several fit.

    `answers` are what `plan --json` has of each network, `refused` those that have no plan.
    """
    if len(answers) == 1 and not refused:
        (answer,) = answers
        verdict = answer["verdict"]
        label = _LABELS.get(verdict, f"{verdict} on {{}}").format(device.id)
        message = f"{mib(answer['peak_rss_bytes'])} of {mib(answer['usable_bytes'])} MiB"
        return Badge(
            label=label,
            message=message,
            colour=_COLOURS.get(verdict, _UNKNOWN),
            title=f"{answer['network']} {label}: {message}, planned",
        )
    total = len(answers) + len(refused)
    fitting = sum(answer["verdict"] == "fit" for answer in answers)
    label, message = f"fits {device.id}", f"{fitting} of {total} networks"
    colour = _COLOURS["fit" if fitting == total else "no-fit"]
    if refused:
        message += f", {len(refused)} refused"
    return Badge(label=label, message=message, colour=colour, title=f"{label}: {message}, planned")


def of_records(records: Sequence[Record]) -> Badge:
    """Return the badge of runs: the peak of one network and where it is from, or how many fit."""
    boards = {record.device for record in records}
    board = boards.pop() if len(boards) == 1 else "its device"
    kinds = {record.provenance["peak_rss_bytes"].kind for record in records} - {"unavailable"}
    known = ", ".join(sorted(kinds))
    if len(records) == 1:
        (record,) = records
        label = _LABELS.get(record.verdict, f"{record.verdict} on {{}}").format(board)
        peak, headroom = record.peak_rss_bytes, record.headroom_bytes
        sizes = "peak unknown"
        if peak is not None:
            bound = "" if record.evidence.exit_status == 0 else "at least "
            sizes = f"{bound}{mib(peak)} MiB"
            if headroom is not None:
                sizes = f"{bound}{mib(peak)} of {mib(peak + headroom)} MiB"
        message = ", ".join(filter(None, [sizes, known]))
        colour = _COLOURS.get(record.verdict, _UNKNOWN)
        return Badge(
            label=label,
            message=message,
            colour=colour,
            title=f"{record.network} {label}: {message}",
        )
    fitting = sum(record.verdict == "fit" for record in records)
    label = f"fits {board}"
    message = ", ".join(filter(None, [f"{fitting} of {len(records)} runs", known]))
    colour = _COLOURS["fit"] if fitting == len(records) else _UNKNOWN
    if any(record.verdict == "no-fit" for record in records):
        colour = _COLOURS["no-fit"]
    return Badge(label=label, message=message, colour=colour, title=f"{label}: {message}")


def is_badge(path: Path) -> bool:
    """Return whether a file's name is that of a badge."""
    return path.name.lower().endswith(ENDING)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
