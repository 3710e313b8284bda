"""Render a report in the format of a file name: HTML, Markdown, CSV, JUnit, Bencher, an image."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final, Literal, get_args

from pibench.errors import InvalidInputError
from pibench.records.identity import labels_of
from pibench.report import badge, ledger, runs
from pibench.report.tables import escape_markdown as text
from pibench.report.tables import to_markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pibench.report.content import Report

Form = Literal["html", "markdown", "csv", "junit", "bencher", "png", "svg", "badge"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
_BY_ENDING: Final[dict[str, Form]] = {
    ".html": "html", ".htm": "html", ".md": "markdown", ".csv": "csv", ".xml": "junit",
    ".bmf": "bencher", ".png": "png", ".svg": "svg",
}  # fmt: skip


def form_of(path: Path) -> Form:
    """Return the format for a file name. Raises InvalidInputError."""
    if badge.is_badge(path):
        return "badge"
    form = _BY_ENDING.get(path.suffix.lower())
    if form is None:
        raise InvalidInputError.at(
            path, None, "no format of a report has this ending",
            hint=f"end it in {', '.join(_BY_ENDING)}, or give it: --format {'|'.join(FORMS)}",
        )  # fmt: skip
    return form


def named(name: str) -> Form:
    """Return the format with this name. Raises InvalidInputError."""
    if name in FORMS:
        return name
    raise InvalidInputError(
        f"--format {name!r} is not a format of a report", hint=f"give one of {', '.join(FORMS)}"
    )


def rendered(report: Report, form: Form, *, sources: Sequence[str] = ()) -> str | bytes:
    """Return the report in that format: text, or the bytes of an image.

    `sources` are the names of the record files.

    Raises:
        InvalidInputError: for an image of records without a peak.
    """
    # Import late: each format has its own libraries, and usually only one is used.
    if form == "html":
        from pibench.report.page import render  # noqa: PLC0415

        return render(report, sources=sources)
    if form == "csv":
        from pibench.report.frames import csv_of, rows_of  # noqa: PLC0415

        return csv_of(rows_of(report.records))
    if form == "junit":
        from pibench.report.cases import junit  # noqa: PLC0415

        return junit(report)
    if form in ("png", "svg"):
        # Without a home directory it warns about its own folders, which does not affect the image.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        from pibench.report.plots import overview  # noqa: PLC0415

        return overview(report, form)
    return _TEXTS[form](report)


def bencher(report: Report) -> str:
    """Return peaks and times in Bencher Metric Format (bencher.dev), for tracking over commits.

    A measure is named after where its figure comes from, so that an emulated time is never
    compared with a board's. Runs that did not complete have none.
    """
    names = labels_of(report.records)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for record in report.records:
        if record.evidence.exit_status != 0:
            continue
        measures = found.setdefault(names[record.record_id], {})
        for field, measure in (("peak_rss_bytes", "peak-rss-bytes"), ("latency_ms", "latency-ms")):
            value = getattr(record, field)
            if value is not None:
                kind = record.provenance[field].kind
                figures = measures[f"{measure}-{kind}"] = {"value": value}
                interval = record.latency_interval if field == "latency_ms" else None
                if interval is not None:
                    figures |= {"lower_value": interval.low_ms, "upper_value": interval.high_ms}
    return json.dumps(found, indent=2, allow_nan=False) + "\n"


def markdown(report: Report) -> str:
    """Return the headline, the ledger with its notes, and the runs outside the ledger."""
    lines = [f"# {text(report.headline)}", ""]
    rows, paper = report.ledger, report.paper
    if rows:
        lines += [
            (
                f'The table of "{text(paper.title)}" ({paper.device}, {paper.protocol}, '
                f"batch {paper.batch}), printed / pibench."
            ),
            "",
            *to_markdown(ledger.table(rows, paper)),
            "",
            *(f"- {text(line.strip())}" for line in ledger.totals(report.claims, paper)),
            "",
        ]
    names = labels_of(report.records, beside=("device", "source", "protocol"))
    if report.others:
        lines += ["## Other runs" if rows else "## Runs", ""]
        lines += [*to_markdown(runs.table(report.others, names=names)), ""]
    notes = ledger.notes(report.claims, paper)
    if notes:
        listed = [f"{note.number}. **{text(note.about)}.** {text(note.text)}" for note in notes]
        lines += ["<details><summary>Notes on the paper's table</summary>", "", *listed, ""]
        lines += ["</details>", ""]
    lines += [
        f"- {text(names[record.record_id])}: {text(sentence)}"
        for record in report.records
        for sentence in runs.not_finite(record)
    ]
    lines += [*(f"- {text(way)}" for way in runs.how_it_ran(report.records)), ""]
    if report.superseded:
        lines += [f"{report.superseded} earlier records of the same runs were superseded.", ""]
    return "\n".join(lines)


_TEXTS: Final[Mapping[Form, Callable[[Report], str]]] = {
    "markdown": markdown,
    "bencher": bencher,
    "badge": lambda report: badge.of_records(report.records).svg(),
}
