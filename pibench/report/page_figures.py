"""Build the report's plots as plain data for plotly.js, with alternative text.

Colours are names of the page's style sheet (`$emulated` is its variable `--emulated`); the page
replaces them, so that plots follow its light and dark themes. Text is escaped for plotly, which
interprets markup in it. Long lists of layer names are stored once per network, and traces refer
to them by index.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise
from math import ceil, log10
from typing import TYPE_CHECKING, Any, Final

from pibench.report.runs import engine, stack
from pibench.report.text import MIB, mib, milliseconds, number, signed, signed_mib, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pibench.crosscheck.claims import Claim
    from pibench.crosscheck.paper import Column
    from pibench.devices import Device
    from pibench.plan.planner import Plan
    from pibench.plan.process import Step
    from pibench.records.schema import LayerTime
    from pibench.report.content import LayerTimes, NetworkReport, Peak

    Placed = tuple[str, NetworkReport, Peak]

Trace = dict[str, Any]
_LEGEND_ABOVE: Final = {
    "orientation": "h", "yref": "container", "y": 1, "yanchor": "top", "x": 0, "xanchor": "left",
}  # fmt: skip
_HIDDEN: Final = {"showticklabels": False, "showgrid": False, "zeroline": False}
"""An axis of steps or layers: their names are in the text of each point."""

ROW_PX: Final = 21
_SYMBOLS: Final = {
    "fit": "circle", "no-fit": "square", "borderline": "diamond", "inconclusive": "x",
}  # fmt: skip
_LABELLED: Final = 3
"""How many of the points with the largest errors are labelled."""
_LONGEST_TEXT: Final = 48

GROUPS: Final = {
    "convolution": ("Convolution", "Deconvolution"),
    "inner product": ("InnerProduct",),
    "normalisation": ("BatchNorm", "Scale", "Bias", "LRN", "MVN"),
    "activation": ("ReLU", "PReLU", "ELU", "Sigmoid", "TanH", "Power", "AbsVal", "BNLL", "Exp"),
    "pooling": ("Pooling", "SPP"),
    "joining": ("Concat", "Eltwise", "Slice", "Split", "Crop", "Reshape", "Flatten", "Tile"),
}
"""Layer types with their own colour; the rest is `other`."""
_GROUP_OF: Final = {kind: group for group, kinds in GROUPS.items() for kind in kinds}
OTHER: Final = "other"
GROUPED_ABOVE: Final = 60
"""The number of layers above which a bar of the times is a block of them."""
GROUPED_BY: Final = ("convolution", "inner product")
JOINS: Final = ("Concat", "Eltwise")
"""Where a block of layers starts, and where one ends."""

PHASES: Final = {
    "set-up": "#8da0cb", "weights": "#e5c494", "inputs": "#b3b3b3", "forward": "#66c2a5",
    "backward": "#fc8d62", "outputs": "#e78ac3", "exit": "#d9d9d9",
}  # fmt: skip
"""Colours that are distinct for colour-blind readers (ColorBrewer Set2)."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One plot. `alt` describes it in words, `names` has the names that traces refer to.

    `note` states what a bar is, where that is not a single layer.
    """

    data: list[Trace]
    layout: dict[str, Any]
    height_px: int
    alt: str
    names: Sequence[str] = ()
    note: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON-compatible data."""
        return {
            "data": self.data,
            "layout": {**self.layout, "height": self.height_px},
            "names": [text(name) for name in self.names],
        }


def text(name: str) -> str:
    """Escape untrusted text so that plotly shows it literally, and limit its length."""
    shown = visible(name)
    if len(shown) > _LONGEST_TEXT:
        shown = f"{shown[: _LONGEST_TEXT - 3]}..."
    # plotly looks for formulas between dollar signs before it decodes entities.
    return escape(shown, quote=False).replace("$", "&#36;")


def group_of(layer_type: str) -> str:
    """Return the kind of work of this layer type."""
    return _GROUP_OF.get(layer_type, OTHER)


def peaks(networks: Sequence[NetworkReport], device: Device) -> Figure:
    """Plot each network's peak and the device's limit; networks that fit are left of it."""
    with_peak = [(one, one.peak) for one in networks if one.peak is not None]
    with_peak.sort(key=lambda item: -item[1].size_bytes)
    shown = [one for one, _ in with_peak]
    # Networks of two runs may share a name, so each has its own position.
    places = [f"{index}" for index in range(len(shown))]
    placed = [(place, *item) for place, item in zip(places, with_peak, strict=True)]
    stems_x: list[float | None] = []
    stems_y: list[str | None] = []
    for place, _, peak in placed:
        stems_x += [0, _mib(peak.size_bytes), None]
        stems_y += [place, place, None]
    stems = {"color": "$line", "width": 1}
    data = [_scatter("lines", stems_x, stems_y, line=stems, hoverinfo="skip", showlegend=False)]
    groups: dict[tuple[str, str], list[Placed]] = {}
    for item in placed:
        groups.setdefault((item[1].record.verdict, item[2].provenance.kind), []).append(item)
    data += [_peak_points(*key, group) for key, group in sorted(groups.items())]
    data.append(_planned_ticks(placed))
    usable = device.usable_bytes / MIB
    fits = sum(one.record.verdict == "fit" for one in shown)
    return Figure(
        data=data,
        layout={
            "xaxis": {
                "title": {"text": "peak resident memory, MiB"}, "rangemode": "tozero",
                "tickformat": ",",
            },
            "yaxis": {
                "tickvals": places, "ticktext": [text(one.name) for one in shown],
                "type": "category", "categoryarray": places, "categoryorder": "array",
                "showgrid": False, "automargin": True, "range": [-0.7, len(shown) - 0.3],
            },
            "shapes": [_limit("x", usable, 1.5)],
            "annotations": [
                _note(label, usable, 1, "$ink", 12, yref="paper", xanchor=anchor)
                for label, anchor in (
                    (f"fits in {usable:,.1f} MiB ", "right"), (" does not fit", "left"),
                )
            ],
            "margin": {"t": 62, "b": 48},
            "legend": _LEGEND_ABOVE,
        },
        height_px=130 + ROW_PX * len(shown),
        alt=(
            f"Peak memory of {len(shown)} networks against the {usable:,.1f} MiB that a "
            f"{device.name} leaves to programs: {fits} fit and lie left of the line. "
            "The table below has the figures."
        ),
    )  # fmt: skip


def _peak_points(verdict: str, kind: str, group: Sequence[Placed]) -> Trace:
    hovers = [
        [
            text(one.name),
            one.record.verdict,
            f"{'at least ' if peak.is_lower_bound else ''}{mib(peak.size_bytes)} MiB, {kind}",
            signed_mib(one.record.headroom_bytes),
            text(f"{engine(one.record)}, {stack(one.record)}"),
        ]
        for _, one, peak in group
    ]
    return _scatter(
        "markers", [_mib(peak.size_bytes) for _, _, peak in group], [at for at, _, _ in group],
        name=f"{verdict}, {kind}", customdata=hovers,
        marker={"color": f"${kind}", "size": 10, "symbol": _SYMBOLS[verdict]},
        hovertemplate="<b>%{customdata[0]}</b>: %{customdata[1]}<br>peak %{customdata[2]}<br>"
        "headroom %{customdata[3]} MiB<br>%{customdata[4]}<extra></extra>",
    )  # fmt: skip


def _planned_ticks(placed: Sequence[Placed]) -> Trace:
    planned = [(place, one.name, one.planned) for place, one, _ in placed if one.planned]
    peaks_mib = [_mib(plan.peak_rss_bytes) for _, _, plan in planned]
    return _scatter(
        "markers", peaks_mib, [place for place, _, _ in planned], name="planned",
        marker={"symbol": "line-ns-open", "size": 15, "color": "$planned", "line": {"width": 2}},
        customdata=[[text(name)] for _, name, _ in planned],
        hovertemplate="<b>%{customdata[0]}</b><br>planned %{x:,.0f} MiB<extra></extra>",
    )  # fmt: skip


def printed_against_pibench(claims: Sequence[Claim], column: Column) -> Figure:
    """Plot one point per cell with two figures, on logarithmic axes, with pibench's interval.

    Cells that are not a test (see `PredictedTime`) are hollow.
    """
    tolerance, unit = column.tolerance, column.unit
    values = [
        value
        for claim in claims
        for value in (claim.paper, claim.pibench, claim.low, claim.high)
        if isinstance(value, float) and value > 0
    ]
    low, high = min(values, default=1.0) / 1.15, max(values, default=10.0) * 1.15
    band = (1 + tolerance, 1 - tolerance)
    data: list[Trace] = [
        _scatter(
            "lines", [low, high, high, low],
            [low * band[0], high * band[0], high * band[1], low * band[1]],
            name=f"within {100 * tolerance:.0f} %", hoverinfo="skip",
            fill="toself", fillcolor="$band", line={"width": 0},
        ),
        _scatter(
            "lines", [low, high], [low, high], name="as printed", hoverinfo="skip",
            line={"color": "$muted", "width": 1, "dash": "dot"},
        ),
    ]  # fmt: skip
    labelled = _farthest(claims)
    for kind in dict.fromkeys(claim.provenance.kind for claim in claims):
        of_kind = [claim for claim in claims if claim.provenance.kind == kind]
        data.append(_pair_points(of_kind, kind, labelled))
    decades = [step * 10.0**decade for decade in range(-3, 10) for step in (1, 2, 5)]
    ticks = [mark for mark in decades if low <= mark <= high]
    axis = {
        "type": "log", "tickvals": ticks, "ticktext": [f"{tick:,g}" for tick in ticks],
        "range": [log10(low), log10(high)],
    }  # fmt: skip
    compared = sum(claim.error_pct is not None for claim in claims)
    return Figure(
        data=data,
        layout={
            "xaxis": {**axis, "title": {"text": f"printed, {unit}"}},
            "yaxis": {**axis, "title": {"text": f"pibench, {unit}"}, "automargin": True},
            "margin": {"t": 36, "b": 48},
            "legend": _LEGEND_ABOVE,
        },
        height_px=440,
        alt=(
            f"{column.title}: pibench's figures against the printed ones for {len(claims)} "
            f"networks, of which {compared} are compared. The ledger has the figures."
        ),
    )


def _pair_points(claims: Sequence[Claim], kind: str, labelled: Sequence[str]) -> Trace:
    symbols = ["circle" if one.error_pct is not None else "circle-open" for one in claims]
    trace = _scatter(
        "markers+text", [claim.paper for claim in claims], [claim.pibench for claim in claims],
        name=kind, customdata=[_pair_hover(claim) for claim in claims], cliponaxis=False,
        text=[text(one.paper_network) if one.key in labelled else "" for one in claims],
        textposition=["top left" if (one.error_pct or 0) > 0 else "bottom right" for one in claims],
        textfont={"size": 11, "color": "$muted"},
        marker={"color": f"${kind}", "size": 9, "symbol": symbols},
        hovertemplate="<b>%{customdata[0]}</b><br>printed %{customdata[1]}, "
        f"{kind} %{{customdata[2]}}<br>%{{customdata[3]}}<extra></extra>",
    )  # fmt: skip
    if any(claim.high is not None for claim in claims):
        trace["error_y"] = {
            "type": "data", "symmetric": False, "thickness": 1.2, "width": 3,
            "array": [_beyond(claim.high, claim.pibench) for claim in claims],
            "arrayminus": [_beyond(claim.pibench, claim.low) for claim in claims],
            "color": f"${kind}",
        }  # fmt: skip
    return trace


def _pair_hover(claim: Claim) -> list[str]:
    pibench = claim.pibench if isinstance(claim.pibench, float) else 0.0
    text_of_error = "not a test: it depends on the printed figure"
    if claim.error_pct is not None:
        text_of_error = f"error {signed(claim.error_pct)} %"
    if claim.low is not None and claim.high is not None:
        text_of_error += f", 90 % interval {number(claim.low)} to {number(claim.high)}"
    return [
        text(claim.paper_network),
        f"{claim.paper:,g} {claim.unit}",
        f"{number(pibench, 0 if pibench >= 10 else 1)} {claim.unit}",
        text_of_error,
    ]


def _farthest(claims: Iterable[Claim]) -> list[str]:
    """Return the keys of the largest errors, without labels that would overlap."""
    found: list[Claim] = []
    for claim in sorted(claims, key=lambda claim: -abs(claim.error_pct or 0.0)):
        if len(found) < _LABELLED and not any(_close(claim, other) for other in found):
            found.append(claim)
    return [claim.key for claim in found]


def _close(claim: Claim, other: Claim) -> bool:
    """Return whether two printed figures are within a quarter of each other: a label's height."""
    pair = [float(one.paper) for one in (claim, other)]
    return max(pair) < 1.25 * min(pair)


def memory_over_layers(planned: Plan, device: Device) -> Figure:
    """Plot the planned resident memory at each step of the program."""
    names = list(dict.fromkeys(step.layer for step in planned.steps))
    index_of = {name: index for index, name in enumerate(names)}
    usable = device.usable_bytes / MIB
    data: list[Trace] = []
    annotations: list[dict[str, Any]] = []
    start = 0
    for phase, group in groupby(planned.steps, key=lambda step: step.phase):
        steps = list(group)
        data.append(_phase(phase, steps, start, index_of))
        if len(steps) * 16 >= len(planned.steps):
            middle = start + len(steps) / 2
            annotations.append(_note(phase, middle, 1, "$muted", 11, yref="paper"))
        start += len(steps)
    top = max(usable, planned.peak_rss_bytes / MIB)
    label, beside = f"usable: {usable:,.1f} MiB", {"xref": "paper", "xanchor": "left"}
    annotations.append(_note(label, 0, usable, "$ink", 11, bgcolor="$surface", **beside))
    return Figure(
        data=data,
        layout={
            "xaxis": {
                "title": {"text": "steps of the program, layer by layer"}, **_HIDDEN,
                "range": [0, len(planned.steps)],
            },
            "yaxis": {
                "title": {"text": "resident, MiB"}, "range": [0, 1.08 * top], "automargin": True,
            },
            "shapes": [_limit("y", usable, 1.2)],
            "annotations": annotations,
            "showlegend": False,
            "margin": {"t": 24, "b": 32},
        },
        height_px=360,
        alt=(
            f"Planned memory over layers: it reaches {mib(planned.peak_rss_bytes)} MiB in "
            f"{planned.peak_step.phase} of {visible(planned.peak_step.layer)}; "
            f"{usable:,.1f} MiB are usable."
        ),
        names=names,
    )  # fmt: skip


def _phase(phase: str, steps: Sequence[Step], start: int, index_of: dict[str, int]) -> Trace:
    """Return one trace; each step has width 1, and the line is closed at its end."""
    levels = [round(step.peak_bytes / MIB, 1) for step in steps]
    return {
        "type": "scatter", "mode": "lines", "name": phase,
        "x0": start, "dx": 1, "y": [*levels, levels[-1]],
        "layers": [*(index_of[step.layer] for step in steps), index_of[steps[-1].layer]],
        "line": {"shape": "hv", "width": 1, "color": f"$phase-{phase}"},
        "fill": "tozeroy", "fillcolor": f"$phase-{phase}-fill",
        "hovertemplate": f"{phase}, <b>%{{customdata}}</b><br>%{{y:,.1f}} MiB<extra></extra>",
    }  # fmt: skip


def time_per_layer(times: LayerTimes) -> Figure:
    """Plot each layer's fraction of the time, in execution order, coloured by kind of work.

    Of more layers than `GROUPED_ABOVE`, a bar is a block of them; the figure's note describes it.
    """
    layers = times.layers
    blocks, note = blocks_of([layer.type for layer in layers])
    found: dict[str, dict[int, list[LayerTime]]] = {group: {} for group in (*GROUPS, OTHER)}
    for place, block in enumerate(blocks):
        for index in block:
            own = found[group_of(layers[index].type)].setdefault(place, [])
            own.append(layers[index])
    data: list[Trace] = []
    for group, bars in found.items():
        if not any(layer.forward_ms for own in bars.values() for layer in own):
            continue
        shares = [100 * sum(map(times.share, own)) for own in bars.values()]
        sums_ms = [sum(layer.forward_ms for layer in own) for own in bars.values()]
        data.append(
            {
                "type": "bar", "name": group, "x": [*bars],
                "y": [round(share, 4) for share in shares],
                "layers": [*bars],
                "text": [milliseconds(one) for one in sums_ms],
                "textposition": "none",
                "marker": {"color": f"$group-{group.replace(' ', '-')}", "line": {"width": 0}},
                "hovertemplate": f"<b>%{{customdata}}</b>, {group}<br>%{{y:.2f}} %, %{{text}} ms "
                f"{times.provenance.kind}<extra></extra>",
            }
        )  # fmt: skip
    bar = "blocks of layers" if note else "layers"
    return Figure(
        data=data,
        layout={
            "barmode": "stack", "bargap": 0.15,
            "xaxis": {
                "title": {"text": f"{bar} in the order in which they run"}, **_HIDDEN,
                "range": [-0.7, len(blocks) - 0.3],
            },
            "yaxis": {"title": {"text": "share of time, %"}, "automargin": True},
            "legend": {**_LEGEND_ABOVE, "traceorder": "normal"},
            "margin": {"t": 40, "b": 32},
        },
        height_px=280,
        alt=(
            f"Time share of {len(layers)} layers{f' in {len(blocks)} blocks' if note else ''}, "
            f"{times.provenance.kind}. The table beside it has the largest."
        ),
        names=[_name_of(layers[block[0]].name, len(block)) for block in blocks],
        note=note,
    )  # fmt: skip


def blocks_of(types: Sequence[str]) -> tuple[list[range], str]:
    """Return the bars of a plot of layers: the indices of each, and what a bar is.

    Up to `GROUPED_ABOVE` layers have a bar each, and the text is empty. Of more layers, a block is
    what lies between two joins of branches, or a layer with weights and those that follow it: the
    finer of the two that has few enough blocks. If neither has, neighbours are put together.
    """
    count = len(types)
    if count <= GROUPED_ABOVE:
        return [range(index, index + 1) for index in range(count)], ""
    cuts = {
        "from one convolution or inner product to the next": [
            index for index in range(1, count) if group_of(types[index]) in GROUPED_BY
        ],
        "from one join of branches to the next": [
            index for index in range(1, count) if types[index - 1] in JOINS
        ],
    }
    few = {what: len(of) for what, of in cuts.items() if 0 < len(of) < GROUPED_ABOVE}
    many = {what: len(of) for what, of in cuts.items() if len(of) >= GROUPED_ABOVE}
    what, starts = "of consecutive layers", [*range(1, count)]
    if few or many:
        what = max(few, key=few.__getitem__) if few else min(many, key=many.__getitem__)
        starts = cuts[what]
    together = ceil((len(starts) + 1) / GROUPED_ABOVE)
    ends = [0, *starts[together - 1 :: together], count]
    blocks = [range(start, end) for start, end in pairwise(ends)]
    several = f", {together} of these together" if together > 1 and (few or many) else ""
    return blocks, f"A bar is a block {what}{several}: {count} layers in {len(blocks)} bars"


def _name_of(first: str, count: int) -> str:
    return first if count == 1 else f"{count} layers from {first}"


def _scatter(mode: str, x: Sequence[Any], y: Sequence[Any], **more: Any) -> Trace:
    return {"type": "scatter", "mode": mode, "x": x, "y": y, **more}


def _limit(axis: str, at: float, width: float) -> dict[str, Any]:
    """Draw the device's usable memory as a dashed line at `at` on this axis, across the plot."""
    other = {"x": "y", "y": "x"}[axis]
    ends = {f"{axis}0": at, f"{axis}1": at, f"{other}ref": "paper", f"{other}0": 0, f"{other}1": 1}
    return {"type": "line", **ends, "line": {"color": "$ink", "width": width, "dash": "dash"}}


def _note(text: str, x: float, y: float, colour: str, size: int, **more: Any) -> dict[str, Any]:
    """Write text above a point."""
    font = {"color": colour, "size": size}
    return {
        "x": x,
        "y": y,
        "text": text,
        "font": font,
        "yanchor": "bottom",
        "showarrow": False,
        **more,
    }


def _mib(size_bytes: int) -> float:
    return round(size_bytes / MIB, 1)


def _beyond(larger: object, smaller: object) -> float:
    if isinstance(larger, float) and isinstance(smaller, float):
        return max(0.0, larger - smaller)
    return 0.0
