"""Draw the whole report as one image (PNG or SVG): peaks and device limit, RAM and latency.

It uses matplotlib, which needs no browser. Colours are those of the page's light theme.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, Final, Literal

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from pibench.errors import InvalidInputError
from pibench.report.numbers import MIB
from pibench.report.plain import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from pibench.crosscheck.claims import Claim
    from pibench.crosscheck.paper import Column
    from pibench.report.content import NetworkReport, Report

COLOURS: Final = {
    "measured": "#1d4ed8", "emulated": "#0b7285", "twin": "#6d3fc9", "planned": "#8f5700",
    "predicted": "#b3195f",
}  # fmt: skip
_MUTED, _LINE = "#566170", "#d5dbe3"
_MARKERS: Final = {"fit": "o", "no-fit": "s", "borderline": "D", "inconclusive": "x"}
_SETTINGS: Final[dict[Any, Any]] = {
    # A dollar sign in a name does not start a formula.
    "text.parse_math": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _LINE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    # Fixed ids, equal in every run.
    "svg.hashsalt": "pibench",
    # Text as shapes: the image looks the same everywhere.
    "svg.fonttype": "path",
}


def overview(report: Report, form: Literal["png", "svg"]) -> bytes:
    """Draw the image file: peaks at the left, printed and pibench's figures (if any) at the right.

    Raises:
        InvalidInputError: if no record has a peak.
    """
    shown = sorted(
        (one for one in report.networks if one.peak is not None),
        key=lambda one: one.peak.size_bytes if one.peak else 0,
        reverse=True,
    )
    if not shown:
        raise InvalidInputError(
            "no record has a peak to draw", hint="see them as a table: pibench report RECORDS"
        )
    pairs: list[tuple[Column, str]] = [("ram_mb", "RAM, MiB"), ("latency_ms", "Latency, ms")]
    with_pairs = [
        (claims, title) for column, title in pairs if (claims := _compared(report, column))
    ]
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # A name may have characters that the font lacks.
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(
            figsize=(11 if with_pairs else 7, max(3.0, 1.4 + 0.22 * len(shown))),
            layout="constrained",
        )
        figure.suptitle(visible(report.headline), fontweight="bold")
        if with_pairs:
            grid = figure.add_gridspec(len(with_pairs), 2, width_ratios=(1.5, 1))
            _draw_peaks(figure.add_subplot(grid[:, 0]), shown)
            for index, (claims, title) in enumerate(with_pairs):
                _draw_pairs(figure.add_subplot(grid[index, 1]), claims, title)
        else:
            _draw_peaks(figure.add_subplot(), shown)
        buffer = io.BytesIO()
        when: dict[str, Any] = {"Date": None} if form == "svg" else {}
        figure.savefig(buffer, format=form, dpi=150, metadata=when)
    return buffer.getvalue()


def _compared(report: Report, column: Column) -> list[Claim]:
    return [
        claim for claim in report.claims if claim.column == column and isinstance(claim.ours, float)
    ]


def _draw_peaks(axes: Axes, shown: Sequence[NetworkReport]) -> None:
    axes.set_title("Peak resident memory, MiB")
    labelled: set[tuple[str, str]] = set()
    for place, one in enumerate(shown):
        if one.peak is None:
            continue
        kind, verdict = one.peak.provenance.kind, one.record.verdict
        peak_mib = one.peak.size_bytes / MIB
        label = f"{verdict}, {kind}" if (verdict, kind) not in labelled else None
        labelled.add((verdict, kind))
        axes.plot([0, peak_mib], [place, place], color=_LINE, linewidth=0.8, zorder=1)
        axes.plot(
            [peak_mib], [place], _MARKERS[verdict], color=COLOURS.get(kind, _MUTED),
            markersize=5, label=label, zorder=3,
        )  # fmt: skip
    for usable in {one.device.usable_bytes for one in shown}:
        axes.axvline(usable / MIB, color="black", linestyle="--", linewidth=1, zorder=2)
        axes.annotate(
            f"usable: {usable / MIB:,.1f}", (usable / MIB, len(shown) - 0.4), xytext=(4, 0),
            textcoords="offset points", va="center",
        )  # fmt: skip
    axes.set_yticks(range(len(shown)), [visible(one.name)[:40] for one in shown])
    axes.tick_params(length=0)
    axes.set_xlim(left=0)
    axes.set_ylim(-0.7, len(shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.legend(loc="upper right")


def _draw_pairs(axes: Axes, claims: Sequence[Claim], title: str) -> None:
    """Plot printed figures on x, pibench's on y; hollow if pibench's depend on the printed one."""
    axes.set_title(title)
    kinds: set[str] = set()
    for claim in claims:
        if not isinstance(claim.ours, float) or not isinstance(claim.paper, float):
            continue
        kind = claim.provenance.kind
        colour = COLOURS.get(kind, _MUTED)
        if claim.low is not None and claim.high is not None:
            axes.plot([claim.paper] * 2, [claim.low, claim.high], color=colour, linewidth=0.9)
        axes.plot(
            [claim.paper], [claim.ours], "o", color=colour, markersize=4,
            fillstyle="full" if claim.error_pct is not None else "none",
            label=None if kind in kinds else kind,
        )  # fmt: skip
        kinds.add(kind)
    axes.set_xscale("log")
    axes.set_yscale("log")
    limits = [*axes.get_xlim(), *axes.get_ylim()]
    low, high = min(limits), max(limits)
    axes.plot([low, high], [low, high], color=_MUTED, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel("printed")
    axes.set_ylabel("ours")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(FuncFormatter(_only_2_and_5))
    axes.tick_params(which="minor", labelsize=7)
    axes.grid(color=_LINE, linewidth=0.5)
    axes.legend(loc="upper left")


def _only_2_and_5(value: float, _: int) -> str:
    return f"{value:,g}" if f"{value:e}"[0] in "25" else ""
