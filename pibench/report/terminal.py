"""Print the ledger and the runs on the terminal.

Both fit into 80 columns, piped or not. Rich omits colours if the output is not a terminal or
NO_COLOR is set, so colour is never the only sign. Sizes are in MiB (2^20 bytes) or MB (10^6 bytes)
as the headings state.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from pibench.crosscheck.paper import load_paper
from pibench.records.identity import labels_of
from pibench.report import ledger, runs
from pibench.report.facts import not_finite, timing, unavailable_state
from pibench.report.plain import visible
from pibench.report.runs import how_it_ran
from pibench.report.tables import ASCII_MARKS, MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pibench.crosscheck.claims import Claim
    from pibench.crosscheck.paper import Paper
    from pibench.records.schema import Record

_LEGEND: Final = (
    "\n= agrees, ! differs, ? undecided or missing. Head is the headroom: usable memory less"
    " the peak RSS, for a killed process the peak of the amd64 twin. RAM is headed MB in the"
    " paper and agrees in MiB (2^20 bytes); model size is in MB (10^6 bytes)."
)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the caller; Rich would exit with 1, which here means a disagreement."""
        raise BrokenPipeError


def console(file: IO[str] | None = None, *, width: int | None = None) -> Console:
    """Return a console for the tables; on standard output if no file is given.

    `width` is in columns; None uses the terminal's, or 80 if there is none.
    """
    # Highlighting would colour every digit, emoji would replace ":names:".
    return _Console(file=file, width=width, highlight=False, emoji=False, markup=False)


def print_reproduction(
    claims: Sequence[Claim],
    records: Iterable[Record],
    paper: Paper | None = None,
    *,
    to: Console | None = None,
) -> None:
    """Print the paper's table beside pibench's figures, the totals, their provenance, and notes."""
    to, paper = to or console(), paper or load_paper()
    made = [*records]
    found = ledger.rows(claims, made, paper)
    to.print(ledger.table(found, paper))
    latencies = ledger.latency_table(found, paper)
    if latencies:
        to.print(latencies)
    used = {claim.record_id for claim in claims}
    ways = how_it_ran(record for record in made if record.record_id in used)
    for line in [*ledger.totals(claims, paper), "", *ways]:
        to.print(printable(line.replace(MARKS[False], ASCII_MARKS[False])))
    notes = ledger.notes(claims, paper)
    if notes:
        to.print("\nNotes")
    for note in notes:
        to.print(printable(f"* {note.about}: {note.text}"))
    to.print(_LEGEND)


def print_records(records: Sequence[Record], *, to: Console | None = None) -> None:
    """Print a table of records, and below it the evidence of each verdict."""
    to = to or console()
    to.print(runs.table(records))
    names = labels_of(records)
    for record in records:
        summary = f"{names[record.record_id]}: {record.verdict}, {record.evidence.summary}"
        to.print(printable(summary))
        for line in [*timing(record), *not_finite(record)]:
            to.print(printable(f"  {line}"))
    for line in [*how_it_ran(records), *unavailable_state(records)]:
        to.print(printable(line))
    if any(runs.is_lower_bound(record) for record in records):
        to.print("> lower bound: the process did not complete")


def printable(text: str) -> Text:
    """Return plain text without markup, with terminal control characters escaped."""
    return Text(visible(text))
