"""Print plans on the terminal: one table for all, or the details of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from pibench.report.memory_plot import columns, phase_line
from pibench.report.plain import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from pibench.crosscheck.planned import Comparison
    from pibench.plan.process import Step

MIB: Final = 2**20
_PICTURE_ROWS: Final = 8


def plan_table(answers: Sequence[dict[str, Any]]) -> Table:
    """Format one line per network, in MiB."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Network", overflow="fold", min_width=14)
    table.add_column("Verdict", no_wrap=True)
    for heading in ("Peak\nMiB", "Band\n+-MiB", "Head\nMiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Peak reached at", overflow="fold")
    for name, answer in zip(names_of(answers), answers, strict=True):
        at = answer["peak_at"]
        table.add_row(
            visible(name),
            answer["verdict"],
            f"{answer['peak_rss_bytes'] / MIB:.0f}",
            f"{answer['band_bytes'] / MIB:.0f}",
            f"{answer['headroom_bytes'] / MIB:+.0f}",
            visible(f"{at['phase']} {at['layer']}"),
        )
    return table


def names_of(answers: Sequence[dict[str, Any]]) -> list[str]:
    """Return the shortest names that distinguish the planned networks."""
    from pibench.records.identity import Run, labels  # noqa: PLC0415  (start-up time)

    keys = ("network", "network_sha256", "network_source", "batch")
    runs = [Run(**{key: answer[key] for key in keys}) for answer in answers]
    # One call has one batch for all networks, but a file may define its own.
    return labels(runs, beside=("batch",) if len({run.batch for run in runs}) == 1 else ())


def print_details(name: str, answer: dict[str, Any], steps: Sequence[Step], to: Console) -> None:
    """Print the plot, the largest allocations, and the options that would change the peak."""
    width = max(20, to.width - 2)
    to.print(f"\n{visible(name)}: memory over layers, up to "
             f"{answer['peak_rss_bytes'] / MIB:.0f} MiB")  # fmt: skip
    for line in columns(steps, width=width, rows=_PICTURE_ROWS):
        to.print(line)
    to.print(phase_line(steps, width=width))
    to.print(f"{_legend(steps)}\n\nLargest holders at the peak\n")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Layer", overflow="fold")
    table.add_column("Kind", no_wrap=True)
    table.add_column("MiB", justify="right", no_wrap=True)
    for holder in answer["holders"]:
        size = f"{holder['bytes'] / MIB:.1f}"
        table.add_row(visible(holder["layer"]) or "-", holder["kind"], size)
    to.print(table)
    for change in answer.get("changes", ()):
        saved = change["saved_bytes"] / MIB
        effect = f"saves {saved:.0f}" if saved >= 0 else f"takes {-saved:.0f} more"
        to.print(f"{change['change']}: {change['peak_rss_bytes'] / MIB:.0f} MiB, {effect}")
    if "max_batch" in answer:
        batch = answer["max_batch"]
        found = "not known" if batch is None else str(batch or "none")
        to.print(f"largest batch that fits: {found}{_noted(answer['max_batch_note'])}")
    if "max_input" in answer:
        height, width = answer["max_input"]
        found = f"{height}x{width}" if height else "none"
        to.print(f"largest image that fits: {found}{_noted(answer['max_input_note'])}")


def _noted(note: str | None) -> str:
    return f" ({visible(note)})" if note else ""


def _legend(steps: Sequence[Step]) -> str:
    """Return the legend of `phase_line`, with the letters that occur."""
    return ", ".join(f"{phase[0]} {phase}" for phase in dict.fromkeys(step.phase for step in steps))


def comparison_table(rows: Sequence[Comparison], names: Sequence[str]) -> Table:
    """Compare planned with measured peaks in MiB, one line per network, with these names."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Network", overflow="fold", min_width=14)
    for heading in ("Planned\nMiB", "Measured\nMiB", "Error\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Note", overflow="fold")
    for name, row in zip(names, rows, strict=True):
        table.add_row(
            visible(name),
            f"{row.planned_bytes / MIB:.1f}",
            f"{row.measured_bytes / MIB:.1f}" if row.measured_bytes else "-",
            f"{100 * row.error:+.2f}" if row.error is not None else "-",
            row.note,
        )
    return table
