"""Assemble the page: templates, figures, and a content policy that blocks all other scripts.

Records are not trusted. Every text is passed through `visible` (which escapes control
characters) and Jinja's escaping; `figures.text` escapes the text of plots; JSON in the page
has no `<`. The content policy lists the page's two scripts by their hashes and allows no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pibench import devices
from pibench._version import __version__
from pibench.networks.network import slug_of
from pibench.report import facts, ledger_table, numbers
from pibench.report.html import figures
from pibench.report.html.sections import Section, section
from pibench.report.plain import visible
from pibench.report.terminal import how_it_ran

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.crosscheck.claims import Claim
    from pibench.crosscheck.paper import Column
    from pibench.report.content import NetworkReport, Report

KINDS: Final = {
    "measured": "on the board itself, or natively on the machine that the record names",
    "emulated": "real Caffe for arm64, run by QEMU; memory and verdict only, never a time",
    "twin": "the same Caffe packages for amd64, run natively: the same allocations, other times",
    "planned": "from a static model of Caffe's allocations; nothing was run",
    "predicted": "counted work and rates fitted on a board's times; nothing was run",
    "computed": "from the network's shapes or a file; nothing was run",
    "paper": "as printed in the paper",
}
"""The meaning of each provenance, from closest to the board to most distant."""


def render(report: Report, *, sources: Sequence[str] = ()) -> str:
    """Return the whole page. `sources` are the names of the record files, listed at its end."""
    style, script, plotly = (
        _asset(name) for name in ("style.css", "page.js", "plotly-basic.min.js")
    )
    sections = [
        section(one, anchor=f"n{index}-{slug_of(one.name).replace('.', '-')}")
        for index, one in enumerate(report.networks, start=1)
    ]
    rows = ledger_table.rows(report)
    columns: tuple[Column, ...] = ("verdict", "ram_mb", "model_size_mb", "latency_ms")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            title=report.headline,
            policy=_policy(script, plotly),
            style=style,
            script=script,
            plotly=plotly,
            data=_as_json(_overview(report)),
            rows=rows,
            notes=ledger_table.notes(report),
            shared={column: ledger_table.shared_kind(rows, column) for column in columns},
            sections=sections,
            anchors={
                record.record_id: one.anchor for one in sections for record in one.network.records
            },
            boards=_boards(report),
            paper_device=devices.load(report.paper.device),
            charts=_overview(report),
            kinds=_kinds(report, sections),
            ways=how_it_ran(report.records),
            newest=max(record.created for record in report.records),
            sources=sources,
            version=__version__,
        )
    )


def _asset(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    """Return the content policy. plotly.js sets inline styles; its images are data URLs."""
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pibench.report.html", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {
        "mib": numbers.mib,
        "signed_mib": numbers.signed_mib,
        "number": numbers.number,
        "ms": numbers.milliseconds,
        "percent": numbers.percent,
        "signed": numbers.signed,
        "json": _as_json,
    }
    environment.globals |= {
        "command": facts.command,
        "evidence": facts.evidence,
        "limits": facts.limits,
        "environment_of": facts.environment,
        "NOTHING": numbers.NOTHING,
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
        f"peaks-{device_id}": figures.peaks(networks, devices.load(device_id))
        for device_id, networks in _boards(report).items()
    }
    for column, name, quantity in (
        ("ram_mb", "ram", "RAM"),
        ("latency_ms", "latency", "Latency"),
    ):
        claims = [one for one in report.claims if one.column == column and _has_number(one)]
        if claims:
            doc = report.paper.columns[claims[0].column]
            found[name] = figures.printed_against_ours(
                claims, unit=doc.unit, quantity=quantity, tolerance=doc.tolerance or 0.0
            )
    return found


def _has_number(claim: Claim) -> bool:
    return isinstance(claim.ours, float)


def _boards(report: Report) -> dict[str, list[NetworkReport]]:
    """Return the networks with a peak, by the device of their verdict."""
    found: dict[str, list[NetworkReport]] = {}
    for one in report.networks:
        if one.peak is not None:
            found.setdefault(one.device.id, []).append(one)
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
