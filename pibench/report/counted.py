"""Format counted instructions for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from pibench.report.plain import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.counting.counts import Counts

MILLION: Final = 1e6
NOTHING: Final = "-"
_HEADINGS: Final = ("Instr.", "MACs", "SIMD/FP", "Load", "Store", "Branch", "L1\nmiss", "L2\nmiss")


def counts_table(rows: Sequence[tuple[str, Counts]]) -> Table:
    """Format one line per network or layer, in millions; multiply-accumulates are per lane."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("", overflow="fold", min_width=14)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, counts in rows:
        figures = (
            counts.instructions, counts.macs, counts.simd_instructions, counts.load_instructions,
            counts.store_instructions, counts.branch_instructions, counts.l1_misses,
            counts.l2_misses,
        )  # fmt: skip
        table.add_row(visible(name), *map(_millions, figures))
    return table


def _millions(figure: int | None) -> str:
    return NOTHING if figure is None else f"{figure / MILLION:.2f}"
