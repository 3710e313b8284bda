#!/usr/bin/env python3
"""Other people's tables beside pibench's plans and predictions, as a table in docs/trust.md.

    tables_document.py DOCUMENT

Nothing is run. The table is written between the two marks that the document has for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pibench.crosscheck.claims import check_claims, summary
from pibench.crosscheck.paper import Column, load_paper, table_ids

BEGIN, END = "<!-- tables: written by make tables-document -->", "<!-- /tables -->"


def main() -> None:
    """Write the table into the document."""
    document = Path(sys.argv[1])
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{document} has no place for the table: {BEGIN} ... {END}")
    text = "\n".join([begin, *lines(), end])
    document.write_text(f"{before}{text}{after}", encoding="utf-8")


def lines() -> list[str]:
    """Return the table: a line for each column that is compared with a plan or a prediction."""
    found = [
        "| `--table` | what it prints | compared with | allowed | agree | mean error, worst |",
        "|---|---|---|---|---|---|",
    ]
    for table in table_ids():
        paper = load_paper(table)
        if paper.needs_runs:
            continue
        totals = summary(check_claims([], paper))
        for name, total in totals.items():
            column = paper.columns[name]
            error = "-"
            if total.mean_absolute_error_pct is not None:
                error = f"{total.mean_absolute_error_pct:.1f} %, {total.worst_error_pct:+.1f} %"
                error += f" ({total.worst_network})" if total.worst_error_pct else ""
            cells = f"{total.agreed} of {total.total}"
            how = column.compared_with + (
                f", {paper.reserve_mib:.0f} MiB reserved" if paper.reserve_mib else ""
            )
            row = (f"`{table}`", column.title, how, allowed(column), cells, error)
            found.append(f"| {' | '.join(row)} |")
    return found


def allowed(column: Column) -> str:
    """Return the tolerance in words."""
    if column.field == "verdict":
        return f"{100 * column.tolerance:.0f} % of the cells"
    return f"{100 * column.tolerance:.0f} %" if column.tolerance else "nothing"


if __name__ == "__main__":
    main()
