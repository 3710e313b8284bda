#!/usr/bin/env python3
"""Print other people's tables beside pibench's plans and predictions, for docs/trust.md.

Nothing is run.
"""

from __future__ import annotations

from pibench.crosscheck.claims import check_claims, summary
from pibench.crosscheck.paper import Column, load_paper, table_ids


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
    print("\n".join(lines()))
