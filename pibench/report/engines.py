"""What fits with which engine, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.crosscheck.engines import CAFFE, names
from pibench.engines.registry import label_of
from pibench.report.runs import is_lower_bound
from pibench.report.tables import Cell, Column, Table
from pibench.report.text import NOTHING, mib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.crosscheck.engines import Result, Row


def table(found: Sequence[Row]) -> Table:
    """Return a row per network, and a column per engine: its verdict and its peak in MiB."""
    engines = names(found)
    return Table(
        tight=True,
        columns=[
            Column(heading="Network", fold=True),
            *(Column(heading=heading(name), numeric=True) for name in engines),
        ],
        rows=[[row.network, *(_cell(row.results.get(name)) for name in engines)] for row in found],
    )


def heading(engine: str) -> str:
    """Return an engine's name and version on two lines."""
    name, _, version = engine.partition(" ")
    return f"{label_of(name)}\n{version}" if version else f"{label_of(name)}\n"


def totals(found: Sequence[Row]) -> list[str]:
    """Return how many networks fit with each engine, and how far its outputs are from Caffe's."""
    lines = []
    for name in names(found):
        results = [row.results[name] for row in found if name in row.results]
        fit = sum(one.record.verdict == "fit" for one in results)
        line = f"{heading(name).replace(chr(10), ' ').strip()}: {fit} of {len(results)} fit"
        outputs = [one.outputs for one in results if one.outputs is not None]
        if outputs:
            same = sum(one.same_top5 is True for one in outputs)
            worst = max(one.largest_error for one in outputs)
            line += (
                f"; the same top 5 as Caffe in {same} of {len(outputs)}, largest difference "
                f"{worst:.1e} of the largest output"
            )
        elif name != CAFFE:
            line += "; no outputs to compare with Caffe's"
        lines.append(f"{line}.")
    return lines


def _cell(result: Result | None) -> Cell | str:
    if result is None:
        return NOTHING
    record = result.record
    bound = ">" if is_lower_bound(record) else ""
    peak = NOTHING if record.peak_rss_bytes is None else f"{bound}{mib(record.peak_rss_bytes)}"
    kind = record.provenance["peak_rss_bytes"].kind
    verdict = "" if record.verdict == "fit" else f" {record.verdict}"
    return Cell(text=f"{peak}{verdict}", short=f"{peak}{verdict}", kind=kind)
