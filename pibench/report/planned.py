"""Print plans on the terminal: one table for all, or the details of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pibench.report.numbers import MIB, NOTHING, mib, signed, signed_mib
from pibench.report.plain import visible
from pibench.report.tables import Column, Table, numeric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from pibench.crosscheck.planned import Comparison
    from pibench.plan.process import Step

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
_PICTURE_ROWS: Final = 8


def plan_table(answers: Sequence[dict[str, Any]]) -> Table:
    """Return one row per network, in MiB."""
    return Table(
        columns=(
            Column(heading="Network", fold=True),
            Column(heading="Verdict"),
            *numeric("Peak\nMiB", "Band\n+-MiB", "Head\nMiB"),
            Column(heading="Peak reached at", fold=True),
        ),
        rows=[
            (
                name,
                answer["verdict"],
                mib(answer["peak_rss_bytes"]),
                mib(answer["band_bytes"]),
                signed_mib(answer["headroom_bytes"]),
                f"{answer['peak_at']['phase']} {answer['peak_at']['layer']}",
            )
            for name, answer in zip(names_of(answers), answers, strict=True)
        ],
    )


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
    to.print(f"{_legend(steps)}\n\nLargest allocations at the peak\n")
    table = Table(
        columns=(Column(heading="Layer", fold=True), Column(heading="Kind"), *numeric("MiB")),
        rows=[
            (one["layer"] or NOTHING, one["kind"], mib(one["bytes"], 1))
            for one in answer["allocations"]
        ],
    )
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
    """Compare planned with measured peaks in MiB, one row per network, with these names."""
    return Table(
        columns=(
            Column(heading="Network", fold=True),
            *numeric("Planned\nMiB", "Measured\nMiB", "Error\n%"),
            Column(heading="Note", fold=True),
        ),
        rows=[
            (
                name,
                mib(row.planned_bytes, 1),
                mib(row.measured_bytes or None, 1),
                signed(None if row.error is None else 100 * row.error, 2),
                row.note,
            )
            for name, row in zip(names, rows, strict=True)
        ],
    )


def columns(steps: Sequence[Step], *, width: int, rows: int) -> list[str]:
    """Draw memory over steps with block characters.

    Args:
        steps: the planned steps, in order.
        width: the number of intervals (characters per line); at most one per step.
        rows: the number of lines.

    Returns:
        The lines; a column shows the highest RSS in its interval.
    """
    width = max(1, min(width, len(steps)))
    peaks = [0] * width
    for index, step in enumerate(steps):
        at = index * width // len(steps)
        peaks[at] = max(peaks[at], step.peak_bytes)
    tallest = max(peaks)
    eighths = [round(8 * rows * peak / tallest) for peak in peaks]
    return [
        "".join(_EIGHTHS[min(8, max(0, tall - 8 * row))] for tall in eighths)
        for row in reversed(range(rows))
    ]


def phase_line(steps: Sequence[Step], *, width: int) -> str:
    """Return the first letter of each interval's phase, for the line below `columns`."""
    width = max(1, min(width, len(steps)))
    return "".join(steps[index * len(steps) // width].phase[0] for index in range(width))
