"""Render the report as Markdown: for the summary of a CI job, or a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.records.identity import labels_of
from pibench.report import ledger, runs
from pibench.report.facts import not_finite
from pibench.report.tables import escape_markdown as text
from pibench.report.tables import to_markdown

if TYPE_CHECKING:
    from pibench.report.content import Report


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
    in_ledger = {row.record.record_id for row in rows if row.record}
    others = [record for record in report.records if record.record_id not in in_ledger]
    names = labels_of(report.records, beside=("device", "source", "protocol"))
    if others:
        lines += ["## Other runs" if rows else "## Runs", ""]
        lines += [*to_markdown(runs.table(others, names=names)), ""]
    notes = ledger.notes(report.claims, paper)
    if notes:
        listed = [f"{note.number}. **{text(note.about)}.** {text(note.text)}" for note in notes]
        lines += ["<details><summary>Notes on the paper's table</summary>", "", *listed, ""]
        lines += ["</details>", ""]
    lines += [
        f"- {text(names[record.record_id])}: {text(sentence)}"
        for record in report.records
        for sentence in not_finite(record)
    ]
    lines += [*(f"- {text(way)}" for way in runs.how_it_ran(report.records)), ""]
    if report.superseded:
        lines += [f"{report.superseded} earlier records of the same runs were superseded.", ""]
    return "\n".join(lines)
