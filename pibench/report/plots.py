"""Draw the static figures with matplotlib: the report, memory over layers, latency, roofline.

Figures are deterministic: fixed ids, no date. They look like the page's plots: colours are those of
its style sheet, in an SVG the light and the dark ones, in a PNG the light ones.
"""

from __future__ import annotations

import io
import re
import warnings
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Literal

from pibench.errors import InvalidInputError, extra
from pibench.latency.model import MACS_PER_CYCLE, MEMORY_BYTES_PER_S
from pibench.report.text import MIB, sentence, visible

with extra("report"):
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter
    from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

    from pibench.crosscheck.claims import Claim
    from pibench.devices import Device
    from pibench.latency.model import Prediction
    from pibench.latency.rates import LatencyRates
    from pibench.latency.validation import Validation
    from pibench.plan.planner import Plan
    from pibench.report.content import NetworkReport, Peak, Report

_COLOUR: Final = re.compile(r"--([a-z-]+): (#[0-9a-f]{6})")


def _themes() -> tuple[dict[str, str], dict[str, str]]:
    """Return the page's colours by their names in its style sheet: light, and dark."""
    style = (resources.files(__package__) / "html" / "style.css").read_text(encoding="utf-8")
    light, dark = style[: style.index("* { box-sizing")].split("@media", maxsplit=1)
    return dict(_COLOUR.findall(light)), dict(_COLOUR.findall(dark))


COLOURS, DARK = _themes()
_INK, _MUTED, _LINE = (COLOURS[name] for name in ("ink", "muted", "line"))
_MARKERS: Final = {"fit": "o", "no-fit": "s", "borderline": "D", "inconclusive": "x"}
_BESIDE: Final = (
    ((4, -3), "left"), ((-4, -3), "right"), ((0, 5), "center"), ((0, -10), "center"),
)  # fmt: skip
"""Where the name of a point may be, in points of type from it; the first that is free is used."""
_SETTINGS: Final[dict[Any, Any]] = {
    # A dollar sign in a name does not start a formula.
    "text.parse_math": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _LINE,
    # No colour is matplotlib's own: an SVG has another for each on a dark page.
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "figure.facecolor": COLOURS["page"],
    "axes.facecolor": COLOURS["page"],
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    # Fixed ids, equal in every run.
    "svg.hashsalt": "pibench",
}


def overview(report: Report, form: Literal["png", "svg"]) -> bytes:
    """Draw the image file: peaks at the left, printed and pibench's figures (if any) at the right.

    Raises:
        InvalidInputError: if no record has a peak.
    """
    shown = [(one, one.peak) for one in report.networks if one.peak is not None]
    shown.sort(key=lambda pair: -pair[1].size_bytes)
    if not shown:
        raise InvalidInputError(
            "no record has a peak to draw", hint="see them as a table: pibench report RECORDS"
        )
    pairs = [(claims, report.paper.columns[name]) for name, claims in report.plotted.items()]
    # Text as shapes: the image looks the same everywhere.
    with _style("path"):
        figure = Figure(
            figsize=(11 if pairs else 7, max(3.0, 1.4 + 0.22 * len(shown))), layout="constrained"
        )
        figure.suptitle(visible(report.headline), fontweight="bold")
        if pairs:
            grid = figure.add_gridspec(len(pairs), 2, width_ratios=(1.5, 1))
            _draw_peaks(figure.add_subplot(grid[:, 0]), shown)
            for index, (claims, column) in enumerate(pairs):
                axes = figure.add_subplot(grid[index, 1])
                axes.set_title(f"{sentence(column.title)}, {column.unit}")
                _draw_pairs(axes, claims)
        else:
            _draw_peaks(figure.add_subplot(), shown)
        return _saved(figure, form)


def memory_over_layers(planned: Plan, device: Device) -> str:
    """Draw the memory at each step, coloured by phase, and the device's usable memory as a line."""
    steps, usable_mib = planned.steps, device.usable_bytes / MIB
    batch = planned.network.batch_under(planned.protocol)
    title = f"{planned.network.name}, {planned.protocol}, batch {batch}"
    with _style():
        figure, axes = _axes((10, 4), title)
        for phase in dict.fromkeys(step.phase for step in steps):
            places = [index for index, step in enumerate(steps) if step.phase == phase]
            peaks = [steps[index].peak_bytes / MIB for index in places]
            colour = COLOURS.get(f"phase-{phase}", _MUTED)
            edges, levels = [*places, places[-1] + 1], [*peaks, peaks[-1]]
            axes.fill_between(
                edges, levels, step="post", color=colour, alpha=0.3, linewidth=0, label=phase
            )
            axes.step(edges, levels, where="post", color=colour, linewidth=1)
        axes.axhline(usable_mib, color=_INK, linestyle="--", linewidth=1)
        _note(axes, f"usable {usable_mib:.0f} MiB", (0, usable_mib), (4, 4))
        axes.set_xlim(0, len(steps))
        axes.margins(y=0.1)
        axes.set_xticks([])
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=_LINE, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel("steps of the program, layer by layer")
        axes.set_ylabel("resident, MiB")
        figure.legend(loc="outside lower left", ncols=len({step.phase for step in steps}))
        return _saved(figure, "svg").decode()


def predicted_against_board(validation: Validation) -> str:
    """Plot one point per network, predicted by leave-one-out, except those at the memory edge."""
    with _style():
        figure, axes = _axes((8, 6), "Predicted against the board's time; dotted: 10 % off")
        times = [time for row in validation.rows for time in (row.measured_ms, row.predicted_ms)]
        ends = (min(times) / 1.2, max(times) * 1.2)
        for factor, dashes in ((1.0, "-"), (1.1, ":"), (1 / 1.1, ":")):
            axes.plot(ends, [factor * one for one in ends], dashes, color=_MUTED, linewidth=0.8)
        _logarithmic(axes, ends, ends)
        points = [(row.network, row.measured_ms, row.predicted_ms) for row in validation.rows]
        colours = [COLOURS["predicted" if row.counted else "planned"] for row in validation.rows]
        _points(figure, axes, points, colours)
        axes.set_xlabel("Time on the board, ms")
        axes.set_ylabel("Predicted, ms")
        return _saved(figure, "svg").decode()


def roofline(predictions: Sequence[Prediction], device: Device, calibration: LatencyRates) -> str:
    """Plot multiply-accumulates per second over multiply-accumulates per byte, with the bounds.

    The roofs are the memory's full speed, the NEON data path of all cores and of one core, and,
    where rates predict, the BLAS throughput fitted on the board. Networks without
    multiply-accumulates are omitted.
    """
    points = [(one.network, *_position(one)) for one in predictions]
    points = [point for point in points if point[2]]
    one_core = MACS_PER_CYCLE * device.clock_hz / 1e9
    top = device.cores * one_core
    roofs = {
        f"{device.cores} cores, NEON": top,
        "1 core, NEON": one_core,
    }
    if any(one.stack in (None, "paper") for one in predictions):
        slower = calibration.clock_ratio(device)
        roofs["BLAS, as fitted"] = 1.0 / (calibration.rates.tile_mac_ns * slower)
    intensities = [intensity for _, intensity, _ in points]
    x = (min(intensities) / 2, max(intensities) * 2)
    y = (min(rate for _, _, rate in points) / 2, 1.5 * top)
    with _style():
        figure, axes = _axes((8, 6), f"Roofline, {device.name}")
        for name, rate in roofs.items():
            axes.axhline(rate, color=_MUTED, linestyle="--", linewidth=0.8)
            _note(axes, name, (x[1], rate), (-4, 3), ha="right")
        slope = MEMORY_BYTES_PER_S / 1e9
        axes.plot([x[0], top / slope], [x[0] * slope, top], color=_MUTED, linewidth=0.8)
        _logarithmic(axes, x, y)
        _points(figure, axes, points, [COLOURS["predicted"]] * len(points))
        axes.set_xlabel("Multiply-accumulates per byte moved")
        axes.set_ylabel("10^9 multiply-accumulates/s")
        return _saved(figure, "svg").decode()


def _position(prediction: Prediction) -> tuple[float, float]:
    """Return multiply-accumulates per byte moved, and 10^9 of them per second."""
    macs = sum(layer.work.macs for layer in prediction.layers)
    moved_bytes = sum(layer.work.moved_bytes for layer in prediction.layers)
    return macs / max(1, moved_bytes), macs / max(prediction.latency_ms, 1e-9) / 1e6


@contextmanager
def _style(fonttype: str = "none") -> Iterator[None]:
    """Apply the settings; text in an SVG stays text by default, and is readable by programs."""
    with mpl.rc_context(_SETTINGS | {"svg.fonttype": fonttype}), warnings.catch_warnings():
        # A name may have characters that the font lacks.
        warnings.simplefilter("ignore", UserWarning)
        yield


def _axes(size_inches: tuple[float, float], title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size_inches, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(visible(title))
    return figure, axes


def _saved(figure: Figure, form: Literal["png", "svg"]) -> bytes:
    buffer = io.BytesIO()
    title = figure.get_suptitle() or figure.axes[0].get_title(loc="left")
    metadata: dict[str, Any] = {"Title": title} | ({"Date": None} if form == "svg" else {})
    figure.savefig(buffer, format=form, dpi=150, metadata=metadata)
    return _for_dark_pages(buffer.getvalue()) if form == "svg" else buffer.getvalue()


def _for_dark_pages(picture: bytes) -> bytes:
    """Return the SVG with the page's dark colours for readers whose browser asks for them."""
    named = {light: name for name, light in reversed(COLOURS.items()) if name in DARK}
    rules = [
        f'[style*="{what}: {light}"]{{{what}: {DARK[name]} !important}}'
        for light, name in named.items()
        for what in ("fill", "stroke")
        if f"{what}: {light}".encode() in picture
    ]
    css = f"@media (prefers-color-scheme: dark) {{{' '.join(rules)}}}"
    style = f' <style type="text/css">{css}</style>\n <g id="figure_1">'
    return picture.replace(b' <g id="figure_1">', style.encode(), 1)


def _points(
    figure: Figure, axes: Axes, points: Sequence[tuple[str, float, float]], colours: Sequence[str]
) -> None:
    """Draw points, and their names where they overlap neither a point nor another name."""
    for (name, x, y), colour in zip(points, colours, strict=True):
        axes.plot([x], [y], "o", color=colour, markersize=4, gid=f"point {visible(name)}")
    # Positions are known once the layout is done.
    figure.draw_without_rendering()
    places = [axes.transData.transform((x, y)) for _, x, y in points]
    taken = [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    for index, (name, x, y) in enumerate(points):
        others = [*taken[:index], *taken[index + 1 :]]
        for beside, side in _BESIDE:
            label = _note(axes, visible(name)[:40], (x, y), beside, ha=side, fontsize=7)
            box = label.get_window_extent()
            inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in others):
                taken.append(box)
                break
            label.remove()


def _note(
    axes: Axes, text: str, at: tuple[float, float], beside: tuple[float, float], **style: Any
) -> Annotation:
    """Write text beside a point; the distance is in points."""
    return axes.annotate(text, at, xytext=beside, textcoords="offset points", **style)


def _logarithmic(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*x)
    axes.set_ylim(*y)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(FuncFormatter(_only_2_and_5))
    axes.tick_params(which="minor", labelsize=7)
    axes.grid(color=_LINE, linewidth=0.5)


def _draw_peaks(axes: Axes, shown: Sequence[tuple[NetworkReport, Peak]]) -> None:
    axes.set_title("Peak resident memory, MiB")
    labelled: set[tuple[str, str]] = set()
    for place, (one, peak) in enumerate(shown):
        kind, verdict = peak.provenance.kind, one.record.verdict
        peak_mib = peak.size_bytes / MIB
        label = f"{verdict}, {kind}" if (verdict, kind) not in labelled else None
        labelled.add((verdict, kind))
        axes.plot([0, peak_mib], [place, place], color=_LINE, linewidth=0.8, zorder=1)
        axes.plot(
            [peak_mib], [place], _MARKERS[verdict], color=COLOURS.get(kind, _MUTED),
            markersize=5, label=label, zorder=3,
        )  # fmt: skip
    for usable in {one.device.usable_bytes / MIB for one, _ in shown}:
        axes.axvline(usable, color=_INK, linestyle="--", linewidth=1, zorder=2)
        _note(axes, f"usable: {usable:,.1f}", (usable, len(shown) - 0.4), (4, 0), va="center")
    axes.set_yticks(range(len(shown)), [visible(one.name)[:40] for one, _ in shown])
    axes.tick_params(length=0)
    axes.set_xlim(left=0)
    axes.set_ylim(-0.7, len(shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.legend(loc="upper right")


def _draw_pairs(axes: Axes, claims: Sequence[Claim]) -> None:
    """Plot printed figures on x, pibench's on y; hollow if pibench's depend on the printed one."""
    kinds: set[str] = set()
    for claim in claims:
        if not isinstance(claim.pibench, float) or not isinstance(claim.paper, float):
            continue
        kind = claim.provenance.kind
        colour = COLOURS.get(kind, _MUTED)
        if claim.low is not None and claim.high is not None:
            axes.plot([claim.paper] * 2, [claim.low, claim.high], color=colour, linewidth=0.9)
        axes.plot(
            [claim.paper], [claim.pibench], "o", color=colour, markersize=4,
            fillstyle="full" if claim.error_pct is not None else "none",
            label=None if kind in kinds else kind,
        )  # fmt: skip
        kinds.add(kind)
    axes.set_xscale("log")
    axes.set_yscale("log")
    limits = [*axes.get_xlim(), *axes.get_ylim()]
    low, high = min(limits), max(limits)
    axes.plot([low, high], [low, high], color=_MUTED, linewidth=0.8, linestyle=":", zorder=0)
    _logarithmic(axes, (low, high), (low, high))
    axes.set_xlabel("printed")
    axes.set_ylabel("pibench")
    axes.legend(loc="upper left")


def _only_2_and_5(value: float, _: int) -> str:
    return f"{value:,g}" if f"{value:e}"[0] in "25" else ""
