"""Assemble the page: templates, figures, and a content policy that blocks all other scripts.

Records are not trusted. Every text is passed through `visible` (which escapes control
characters) and Jinja's escaping; `page_figures.text` escapes the text of plots; JSON in the page
has no `<`. The content policy lists the page's two scripts by their hashes and allows no request;
plotly.js is compressed, and `page.js` adds it to the page.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pibench import devices
from pibench._version import __version__
from pibench.networks.network import slug_of
from pibench.report import ledger, runs, tables, text
from pibench.report import page_figures as figures
from pibench.report.text import NOTHING, mib, milliseconds, percent, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pibench.plan.process import Step
    from pibench.records.schema import LayerTime
    from pibench.report.content import LayerTimes, NetworkReport, Report

KINDS: Final = {
    "measured": "on the board itself, or natively on the machine that the record names",
    "emulated": "real Caffe for arm64, run by QEMU; memory and verdict only, never a time",
    "twin": "the same Caffe packages for amd64, run natively: the same allocations, other times",
    "planned": "from a static model of Caffe's allocations; nothing was run",
    "predicted": "counted work, by rates fitted on the paper's times or for a software stack; "
    "nothing was run",
    "computed": "from the network's shapes or a file; nothing was run",
    "paper": "as printed in the paper",
}
"""The meaning of each provenance, from closest to the board to most distant."""


_NOT_ON_A_PHONE: Final = ("verdict", "weights_file_bytes")
_FEW: Final = 2
"""The number of the ledger's columns of figures that a phone has room for."""
LARGEST: Final = 10
"""The number of largest allocations and layers listed."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """The section of one network; `phases` has the step with the maximum of each phase.

    The figures are named `memory` and `time0`, `time1` and so on, after the anchor and a hyphen.
    """

    anchor: str
    network: NetworkReport
    figures: Mapping[str, figures.Figure]
    phases: Sequence[Step]
    layer_rows: Markup
    layer_count: int
    phase_names: Sequence[str]

    @staticmethod
    def largest(times: LayerTimes) -> list[LayerTime]:
        """Return the layers that take the most time."""
        return sorted(times.layers, key=lambda layer: -layer.forward_ms)[:LARGEST]

    @staticmethod
    def by_group(times: LayerTimes) -> list[tuple[str, float]]:
        """Return the kinds of work and their fractions of the time, the largest first."""
        total: dict[str, float] = defaultdict(float)
        for layer in times.layers:
            total[figures.group_of(layer.type)] += times.share(layer)
        return sorted(total.items(), key=lambda item: -item[1])


def render(report: Report, *, sources: Sequence[str] = ()) -> str:
    """Return the whole page. `sources` are the names of the record files, listed at its end."""
    files = resources.files(__package__) / "html"
    style, script = (
        (files / name).read_text(encoding="utf-8") for name in ("style.css", "page.js")
    )
    plotly, packed = _plotly()
    sections = [
        section(one, anchor=f"n{index}-{slug_of(one.name).replace('.', '-')}")
        for index, one in enumerate(report.networks, start=1)
    ]
    anchors = {record.record_id: one.anchor for one in sections for record in one.network.records}
    columns, charts = report.paper.columns, _overview(report)
    all_runs, alike = tables.without_constant(
        runs.table(
            [record for one in sections for record in one.network.records],
            names=report.labels,
            links=anchors,
        ),
        ("Device", "Target", "Protocol", "Compute", "Batch"),
    )
    verdict_column = report.paper.column_of("verdict") or ""
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            title=report.headline,
            policy=_policy(script, plotly),
            style=style,
            script=script,
            plotly=packed,
            data=_as_json(charts),
            rows=report.ledger,
            notes=ledger.notes(report.claims, report.paper),
            shared={name: ledger.shared_kind(report.ledger, name) for name in columns},
            verdicts=report.summary.get(verdict_column),
            verdict_kind=ledger.shared_kind(report.ledger, verdict_column),
            headroom_kind=ledger.shared_headroom_kind(report.ledger),
            figure_columns={n: one for n, one in columns.items() if one.field != "verdict"},
            few=[n for n, one in columns.items() if one.field not in _NOT_ON_A_PHONE][:_FEW],
            runs=tables.to_html(all_runs),
            alike=alike,
            sections=sections,
            anchors=anchors,
            boards=_boards(report),
            paper_device=devices.load(report.paper.device),
            charts=charts,
            kinds=_kinds(report, sections),
            ways=runs.how_it_ran(report.records),
            newest=max(record.created for record in report.records),
            sources=sources,
            version=__version__,
        )
    )


@cache
def _plotly() -> tuple[str, str]:
    """Return plotly.js, and what the page has of it: compressed, a third of its size."""
    text = (resources.files(__package__) / "html" / "plotly-basic.min.js").read_text("utf-8")
    packed = gzip.compress(text.encode(), mtime=0)
    return text, base64.b64encode(packed).decode()


def _policy(*scripts: str) -> str:
    """Return the content policy. plotly.js sets inline styles; its images are data URLs."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pibench.report", "html/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {
        "mib": text.mib,
        "signed_mib": text.signed_mib,
        "number": text.number,
        "ms": text.milliseconds,
        "percent": text.percent,
        "signed": text.signed,
        "sentence": text.sentence,
        "json": _as_json,
    }
    environment.globals |= {
        "command": runs.command,
        "engine_of": runs.engine,
        "stack_of": runs.stack,
        "evidence": runs.evidence,
        "limits": runs.limits,
        "short_title": ledger.short_title,
        "environment_of": runs.environment,
        "NOTHING": text.NOTHING,
    }
    return environment


def _shown(value: Any) -> Any:
    """Escape control characters in text; only the templates may contain markup."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _as_json(found: dict[str, figures.Figure]) -> Markup:
    """Return JSON for a data block: nothing in it can end the block or start a comment."""
    text = json.dumps(
        {name: figure.plain() for name, figure in found.items()},
        separators=(",", ":"),
        allow_nan=False,
    )
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704  (it has no character left that HTML would read)


def _overview(report: Report) -> dict[str, figures.Figure]:
    """Return the plots over all networks, by the names of their places in the page."""
    found = {
        f"peaks-{board}": figures.peaks(networks, networks[0].device)
        for board, networks in _boards(report).items()
    }
    for name, claims in report.plotted.items():
        found[name] = figures.printed_against_pibench(claims, report.paper.columns[name])
    return found


def _boards(report: Report) -> dict[str, list[NetworkReport]]:
    """Return the networks with a peak, by the device of their verdict and what is left of it."""
    found: dict[str, list[NetworkReport]] = {}
    for one in report.networks:
        if one.peak is not None:
            reserve = one.device.reserve_bytes
            board = f"{one.device.id}-{reserve}" if reserve else one.device.id
            found.setdefault(board, []).append(one)
    return found


def _kinds(report: Report, sections: Sequence[Section]) -> dict[str, str]:
    """Return the kinds of provenance on the page, and their meaning."""
    shown = {one.kind for record in report.records for one in record.provenance.values()}
    shown |= {claim.provenance.kind for claim in report.claims}
    shown |= {times.provenance.kind for one in sections for times in one.network.times}
    if any(one.network.planned for one in sections):
        shown.add("planned")
    if report.claims:
        shown.add("paper")
    return {kind: meaning for kind, meaning in KINDS.items() if kind in shown}


def section(network: NetworkReport, *, anchor: str) -> Section:
    """Return the section of a network; `anchor` is its id in the page."""
    steps = network.planned.steps if network.planned else ()
    drawn = {}
    if network.planned:
        drawn[f"{anchor}-memory"] = figures.memory_over_layers(network.planned, network.device)
    for index, times in enumerate(network.times):
        drawn[f"{anchor}-time{index}"] = figures.time_per_layer(times)
    highest: dict[str, Step] = {}
    for step in steps:
        if step.peak_bytes > (highest[step.phase].peak_bytes if step.phase in highest else -1):
            highest[step.phase] = step
    phases = list(dict.fromkeys(step.phase for step in steps if step.layer))
    rows = _layer_rows(steps, network.times, phases)
    return Section(
        anchor=anchor,
        network=network,
        figures=drawn,
        phases=list(highest.values()),
        layer_rows=Markup("\n".join(rows)),  # noqa: S704  (escaped, each by itself)
        layer_count=len(rows),
        phase_names=phases,
    )


def _layer_rows(
    steps: Sequence[Step], times: Sequence[LayerTimes], phases: Sequence[str]
) -> list[str]:
    """Return a table row per layer, as HTML: its maximum resident memory by phase, and its time.

    The order is the plan's, or that of the first times without a plan. Rows are not rendered by
    a template: there can be ten thousand, and HTML closes rows and cells implicitly.
    """
    timed = {layer.name: layer for layer in times[0].layers} if times else {}
    peaks: dict[str, dict[str, int]] = {}
    for step in steps:
        if step.layer:
            of_layer = peaks.setdefault(step.layer, {})
            of_layer[step.phase] = max(of_layer.get(step.phase, 0), step.peak_bytes)
    rows = []
    for name in dict.fromkeys([*peaks, *timed]):
        layer = timed.get(name)
        cells = [escape(visible(layer.type)) if layer else NOTHING]
        of_layer = peaks.get(name, {})
        cells += [mib(of_layer.get(phase), 1) for phase in phases]
        if times:
            cells.append(milliseconds(layer.forward_ms if layer else None))
            cells.append(percent(times[0].share(layer) if layer else None))
        row = "<td>".join(cells)
        rows.append(f'<tr><th scope="row"><bdi>{escape(visible(name))}</bdi><td>{row}')
    return rows
