"""Render the report as Markdown: for the summary of a CI job, or a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from pibench.records.identity import labels_of
from pibench.report import ledger_table
from pibench.report.facts import not_finite, target
from pibench.report.numbers import NOTHING, mib, milliseconds, signed_mib
from pibench.report.plain import visible
from pibench.report.terminal import evidence_in_a_word, how_it_ran, totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pibench.crosscheck.paper import Column
    from pibench.records.schema import Record
    from pibench.report.content import Report
    from pibench.report.ledger_table import Cell, Row

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]#|~$@]|:(?=/|\w+:)|(?<=www)\.)")
"""Characters that start markup, an automatic link or a mention."""
_LEDGER: Final = (
    "#", "Network", "Paper", "Ours", "RAM MiB", "Err %", "Latency ms", "Err %", "Size MB", "Err %",
    "Headroom MiB", "Evidence",
)  # fmt: skip
_RUNS: Final = (
    "Network", "Device", "Target", "Protocol", "Verdict", "Peak MiB", "RAM MiB", "Headroom MiB",
    "Time ms", "Evidence",
)  # fmt: skip


def markdown(report: Report) -> str:
    """Return the headline, the ledger with its notes, and the runs outside the ledger."""
    lines = [f"# {text(report.headline)}", ""]
    rows = ledger_table.rows(report)
    if rows:
        lines += [
            (
                f'The table of "{text(report.paper.title)}" ({report.paper.device}, '
                f"{report.paper.protocol}, batch {report.paper.batch}), printed / ours."
            ),
            "",
            *table(_LEDGER, [_ledger_row(row) for row in rows], right=(0, 4, 5, 6, 7, 8, 9, 10)),
            "",
            *(f"- {text(line.strip())}" for line in totals(report.claims)),
            "",
        ]
    in_ledger = {row.record.record_id for row in rows if row.record}
    others = [record for record in report.records if record.record_id not in in_ledger]
    names = labels_of(report.records, beside=("device", "source", "protocol"))
    if others:
        lines += ["## Other runs" if rows else "## Runs", ""]
        runs = [_run(record, names[record.record_id]) for record in others]
        lines += table(_RUNS, runs, right=(5, 6, 7, 8))
        lines.append("")
    lines += _notes(report)
    lines += [
        f"- {text(names[record.record_id])}: {text(sentence)}"
        for record in report.records
        for sentence in not_finite(record)
    ]
    lines += [*(f"- {text(way)}" for way in how_it_ran(report.records)), ""]
    if report.superseded:
        lines += [f"{report.superseded} earlier records of the same runs were superseded.", ""]
    return "\n".join(lines)


def text(value: str) -> str:
    """Escape untrusted text, so that Markdown and HTML show it unchanged."""
    return _SPECIAL.sub(r"\\\1", escape(visible(value)))


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int]
) -> list[str]:
    """Return the lines of a table; `right` are the numeric columns. Cells are Markdown."""
    rules = ["---:" if index in right else "---" for index in range(len(heads))]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows)]


def _ledger_row(row: Row) -> list[str]:
    verdict = row.cells["verdict"]
    marks = "".join(f"<sup>{number}</sup>" for number in _numbers(row))
    ours = f"{verdict.mark} {verdict.ours}"
    cells = [
        str(row.paper_row or NOTHING),
        f"{text(row.name)}{marks}",
        verdict.paper,
        ours if verdict.claim.agrees else f"**{ours}**",
    ]
    columns: tuple[Column, ...] = ("ram_mb", "latency_ms", "model_size_mb")
    for column in columns:
        cells += _pair(row.cells.get(column))
    return [*cells, _headroom(row.record), row.evidence]


def _numbers(row: Row) -> list[int]:
    return sorted({number for cell in row.cells.values() for number in cell.notes})


def _pair(cell: Cell | None) -> list[str]:
    if cell is None:
        return [NOTHING, NOTHING]
    kind = f" {cell.kind}" if cell.kind == "predicted" else ""
    pair, error = f"{cell.paper} / {cell.ours}{kind}", cell.error
    return [pair, f"**{error} ≠**" if cell.claim.agrees is False else error]


def _headroom(record: Record | None) -> str:
    if record is None or record.headroom_bytes is None:
        return NOTHING
    kind = record.provenance["headroom_bytes"].kind
    return f"{signed_mib(record.headroom_bytes)}{' twin' if kind == 'twin' else ''}"


def _run(record: Record, name: str) -> list[str]:
    bound = "\\>" if record.evidence.exit_status != 0 else ""
    kind = record.provenance["latency_ms"].kind
    time = NOTHING if record.latency_ms is None else f"{milliseconds(record.latency_ms)} {kind}"
    return [
        text(name),
        record.device,
        target(record),
        record.protocol,
        f"**{record.verdict}**",
        f"{bound}{mib(record.peak_rss_bytes)}",
        f"{bound}{mib(record.network_rss_bytes)}",
        _headroom(record),
        time,
        evidence_in_a_word(record),
    ]


def _notes(report: Report) -> list[str]:
    notes = ledger_table.notes(report)
    if not notes:
        return []
    listed = [f"{note.number}. **{text(note.about)}.** {text(note.text)}" for note in notes]
    return [
        "<details><summary>What the paper leaves unsaid</summary>", "", *listed, "",
        "</details>", "",
    ]  # fmt: skip
