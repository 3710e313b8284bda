"""Show results in a notebook: small tables as HTML, and memory over layers as a picture.

The picture is an SVG in the page's own text colour, on the page's own background, so that it is
legible in light and dark themes. It is written here, not by matplotlib: it has one path per phase
where matplotlib writes one per step, and it needs no extra.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from pibench.report.comparisons import conclusions, differences, layers_table, pair_table
from pibench.report.page_figures import PHASES
from pibench.report.runs import table
from pibench.report.tables import Cell, Table, to_html
from pibench.report.text import MIB, mib, milliseconds, signed_mib, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pibench.api import Fit, Sweep
    from pibench.bisection.search import Bisection
    from pibench.checks import Check
    from pibench.crosscheck.reconcile import Reconciliation
    from pibench.devices import Device
    from pibench.latency.model import Prediction
    from pibench.plan.planner import Plan
    from pibench.plan.process import Step
    from pibench.records.schema import Record

_WIDTH: Final = 720
_HEIGHT: Final = 220
_LEFT: Final = 44
"""Room for the figures of the axis."""
_TOP: Final = 10
_BELOW: Final = 22
"""Room for the legend."""
_MOST_POINTS: Final = 640
"""Steps are joined, each group by its maximum, so that a picture has no more."""
_ROWS: Final = 20
"""The most rows of a table; a notebook keeps what it shows."""
_LAYERS: Final = 8


def html_of(result: object) -> str | None:
    """Return a result as HTML; None if it has no such form, and its text is shown."""
    # By name, since the classes of some results lie in layers above the report.
    for known in type(result).__mro__:
        if known.__module__.startswith("pibench.") and known.__name__ in _FORMS:
            return str(Markup("<div>{}</div>").format(_FORMS[known.__name__](result)))
    return None


def memory_over_layers(steps: Sequence[Step], device: Device | None, alt: str) -> Markup:
    """Draw the maximum of each step, coloured by phase, and the device's usable memory, if any.

    `alt` is the picture in words.
    """
    usable_mib = None if device is None else device.usable_bytes / MIB
    highest = max(step.peak_bytes for step in steps) / MIB
    top = 1.08 * max(highest, usable_mib or 0)
    width, height = _WIDTH - _LEFT, _HEIGHT - _TOP - _BELOW

    def y(size_mib: float) -> str:
        return f"{_TOP + height * (1 - size_mib / top):.1f}"

    def x(index: int) -> str:
        return f"{_LEFT + width * index / len(steps):.1f}"

    paths, legend, begin = [Markup()], [Markup()], 0
    for phase, group in groupby(steps, key=lambda step: step.phase):
        columns = _columns(begin, [step.peak_bytes / MIB for step in group], len(steps))
        end = columns[-1][1]
        line = "".join(f"V{y(size)}H{x(after)}" for _, after, size in columns)
        paths.append(
            Markup('<path d="M{},{}{}V{}Z" fill="{}"><title>{}</title></path>').format(
                x(begin), y(0), line, y(0), _colour(phase), phase
            )
        )
        begin = end
    for place, phase in enumerate(dict.fromkeys(step.phase for step in steps)):
        left = _LEFT + 92 * place
        legend.append(
            Markup(
                '<rect x="{}" y="{}" width="10" height="10" fill="{}"/>'
                '<text x="{}" y="{}">{}</text>'
            ).format(left, _HEIGHT - 13, _colour(phase), left + 14, _HEIGHT - 4, phase)
        )
    ticks = [Markup('<text x="{}" y="{}" text-anchor="end">0</text>').format(_LEFT - 4, y(0))]
    lines = [(highest, f"{highest:,.0f}", "1 3")]
    if usable_mib is not None:
        lines.append((usable_mib, f"{usable_mib:,.0f}", "5 3"))
    for size, label, dashes in lines:
        ticks.append(
            Markup(
                '<path d="M{},{}H{}" fill="none" stroke="currentColor" stroke-dasharray="{}"/>'
                '<text x="{}" y="{}" text-anchor="end" dominant-baseline="middle">{}</text>'
            ).format(_LEFT, y(size), _WIDTH, dashes, _LEFT - 4, y(size), label)
        )
    if usable_mib is not None:
        ticks.append(
            Markup('<text x="{}" y="{}">usable MiB</text>').format(
                _LEFT + 4, f"{float(y(usable_mib)) + 12:.1f}"
            )
        )
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}" '
        'style="width:100%;max-width:{}px;font:11px sans-serif" fill="currentColor">'
        "<title>{}</title>{}{}{}</svg>"
    ).format(_WIDTH, _HEIGHT, alt, _WIDTH, alt, *map(Markup().join, (paths, ticks, legend)))


def _colour(phase: str) -> str:
    return PHASES.get(phase, PHASES["inputs"])


def _columns(begin: int, peaks: Sequence[float], steps: int) -> list[tuple[int, int, float]]:
    """Return first step, step after the last, and maximum of each column of a phase."""
    each = max(1, -(-steps // _MOST_POINTS))
    return [
        (begin + at, begin + min(at + each, len(peaks)), max(peaks[at : at + each]))
        for at in range(0, len(peaks), each)
    ]


def _facts(rows: Mapping[str, str | Cell | None]) -> Markup:
    """Return a table of a name and a value per row, without the rows that are None."""
    known = [{"": name, " ": value} for name, value in rows.items() if value is not None]
    return to_html(Table.of(known))


def _list(rows: Iterable[Mapping[str, str | Cell]], numeric: Sequence[str] = ()) -> Markup:
    """Return a table of the first rows."""
    return to_html(Table.of([*rows][:_ROWS], numeric=numeric))


def _lines(lines: Iterable[str]) -> Markup:
    return Markup().join(Markup("<div>{}</div>").format(visible(line)) for line in lines)


def _picture(planned: Plan, device: Device | None) -> Markup:
    step = planned.peak_step
    alt = (
        f"Planned memory over the layers of {visible(planned.network.name)}: it reaches "
        f"{mib(planned.peak_rss_bytes)} MiB in {step.phase} of {visible(step.layer)}"
    )
    if device is not None:
        alt += f"; {mib(device.usable_bytes)} MiB are usable on {device.id}"
    return memory_over_layers(planned.steps, device, alt)


def _of_plan(planned: Plan) -> Markup:
    step, device = planned.peak_step, planned.device
    usable = "" if device is None else f" of {mib(device.usable_bytes)} usable on {device.id}"
    batch = planned.network.batch_under(planned.protocol)
    facts = _facts(
        {
            planned.network.name: f"planned, {planned.protocol}, batch {batch}",
            "peak": f"{mib(planned.peak_rss_bytes)} ±{mib(planned.band_bytes)} MiB{usable}",
            "at": f"{step.phase} {step.layer}".rstrip(),
        }
    )
    return facts + _picture(planned, device)


def _of_prediction(one: Prediction) -> Markup:
    slowest = sorted(one.layers, key=lambda layer: -layer.latency_ms)[:_LAYERS]
    facts = _facts(
        {
            one.network: f"predicted, {one.device}, {one.protocol}",
            "forward": f"{milliseconds(one.latency_ms)} ms",
            "interval": f"{milliseconds(one.low_ms)} to {milliseconds(one.high_ms)} ms",
            "stack": one.stack,
            "threads": None if one.threads is None else str(one.threads),
            "fits": None if one.fits else "no: the time is for a board with the memory",
        }
    )
    return facts + _list(
        (
            {
                "Slowest layers": layer.work.name,
                "Type": layer.work.type,
                "ms": milliseconds(layer.latency_ms),
            }
            for layer in slowest
        ),
        numeric=("ms",),
    )


def _of_check(found: Check) -> Markup:
    one = found.prediction
    time = f"unavailable: {found.not_predicted}"
    if one is not None:
        interval = f"{milliseconds(one.low_ms)} to {milliseconds(one.high_ms)}"
        time = f"{milliseconds(one.latency_ms)} ms ({interval}), predicted for {one.stack}"
    usable = mib(found.device.usable_bytes)
    facts = _facts(
        {
            found.planned.network.name: Cell(text=found.judged.verdict, chip="verdict"),
            "device": found.device.name,
            "peak": f"{mib(found.planned.peak_rss_bytes)} of {usable} MiB, planned",
            "headroom": f"{signed_mib(found.judged.headroom_bytes)} MiB",
            "time": time,
            "time limit": None if found.judged_time is None else str(found.judged_time),
        }
    )
    remedies = (
        {
            "Fits with": remedy.change,
            "Peak MiB": mib(remedy.planned.peak_rss_bytes),
            "Usable MiB": mib(remedy.device.usable_bytes),
            "Note": remedy.note,
        }
        for remedy in found.remedies
    )
    table = _list(remedies, numeric=("Peak MiB", "Usable MiB")) if found.remedies else Markup()
    return facts + table + _picture(found.planned, found.device)


def _of_fit(fit: Fit) -> Markup:
    usable = mib(fit.device.usable_bytes)
    facts = _facts(
        {
            fit.network: Cell(text=fit.verdict, chip="verdict"),
            "device": fit.device.name,
            "peak": f"{mib(fit.peak_rss_bytes)} of {usable} MiB, {fit.how}",
            "evidence": fit.evidence or None,
            "time limit": None if fit.judged_time is None else str(fit.judged_time),
        }
    )
    return facts + (Markup() if fit.planned is None else _picture(fit.planned, fit.device))


def _of_record(record: Record) -> Markup:
    kinds = {name: provenance.kind for name, provenance in record.provenance.items()}
    engine = " ".join(filter(None, (record.engine, record.engine_version)))
    # An emulated time is not near the board's.
    latency_ms = None if kinds["latency_ms"] == "emulated" else record.latency_ms
    time = None
    if latency_ms is not None:
        time = Cell(text=f"{milliseconds(latency_ms)} ms", kind=kinds["latency_ms"])
    return _facts(
        {
            record.network: Cell(text=record.verdict, chip="verdict"),
            "run": f"{record.target}, {record.protocol}, {record.compute}, batch {record.batch}",
            "device": record.device,
            "engine": engine,
            "peak": Cell(text=f"{mib(record.peak_rss_bytes)} MiB", kind=kinds["peak_rss_bytes"]),
            "headroom": Cell(
                text=f"{signed_mib(record.headroom_bytes)} MiB", kind=kinds["headroom_bytes"]
            ),
            "time": time,
            "evidence": record.evidence.summary,
        }
    )


def _of_sweep(sweep: Sweep) -> Markup:
    records = sweep.records
    shown = to_html(table(records[:_ROWS])) if records else Markup()
    more = len(records) - _ROWS
    failed = [f"failed: {label}: {message}" for label, (_, message) in sweep.summary.failed.items()]
    lines = [f"and {more} more: Sweep.records"] if more > 0 else []
    return _lines([repr(sweep)[1:-1]]) + shown + _lines([*lines, *failed[:_ROWS]])


def _of_bisection(found: Bisection) -> Markup:
    head = f"{found.network}: {found.first} against {found.second}"
    return _lines([head]) + to_html(layers_table(found)) + _lines(conclusions(found))


def _of_reconciliation(found: Reconciliation) -> Markup:
    parts = [
        _lines([f"{pair.first} against {pair.second}"])
        + (to_html(pair_table(pair)) if pair.networks else Markup())
        + _lines(differences(pair))
        for pair in found.pairs
    ]
    return Markup().join(parts)


_FORMS: Final[dict[str, Callable[[Any], Markup]]] = {
    "Plan": _of_plan,
    "Prediction": _of_prediction,
    "Check": _of_check,
    "Fit": _of_fit,
    "Record": _of_record,
    "Sweep": _of_sweep,
    "Bisection": _of_bisection,
    "Reconciliation": _of_reconciliation,
}
