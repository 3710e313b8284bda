"""Show progress on standard error: a bar on a terminal, else plain lines; nothing if quiet."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from pibench.report.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.records.schema import Record
    from pibench.sweep.scheduler import SweepSummary
    from pibench.targets.base import Progress as Report


class Progress:
    """Report on standard error what is being done; standard output is for results."""

    def __init__(
        self,
        total: int,
        *,
        quiet: bool,
        names: Sequence[str] = (),
        columns: tuple[ProgressColumn, ...] = (),
    ) -> None:
        """Store the options; `names` are those of the networks, in the given order."""
        self._names = names
        self._total = total
        self._done = 0
        self._quiet = quiet
        self._running: list[str] = []
        # A CI log cannot show a bar, even if it claims to be a terminal.
        self._has_bar = sys.stderr.isatty() and not os.environ.get("CI") and not quiet
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            *columns,
            console=Console(stderr=True),
            transient=True,
            disable=not self._has_bar,
        )
        self._task = self._bar.add_task("preparing", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, done: int, total: int) -> None:
        """Report that `done` of `total` networks have their record."""
        self._done, self._total = done, total
        self._bar.update(self._task, completed=done, total=total)

    def log(self, line: str) -> None:
        """Report a single step, such as building an image."""
        self._line(line)
        self._bar.update(self._task, description=escape(one_line(line)))

    def on_progress(self, report: Report) -> None:
        """Report a message from a target during a run."""
        if report.job is None:
            self._bar.update(self._task, description=escape(one_line(report.said)))
            return
        name = self._names[int(report.job.id)] if self._names else report.job.name
        if report.said == "started":
            self._running.append(name)
            self._describe()
        else:
            self._line(f"{name}: {report.said}")

    def on_record(self, record: Record, name: str | None = None) -> None:
        """Report that another network has its record; `name` may replace the network's name."""
        self._done += 1
        name = name or record.network
        if name in self._running:
            self._running.remove(name)
        self._bar.update(self._task, completed=self._done)
        self._describe()
        self._line(
            f"[{self._done}/{self._total}] {name}: {record.verdict}, {record.evidence.summary}"
        )

    def _describe(self) -> None:
        if self._running:
            self._bar.update(self._task, description=escape(one_line(", ".join(self._running))))

    def _line(self, text: str) -> None:
        if self._quiet:
            return
        if self._has_bar:
            self._bar.console.print(escape(one_line(text)), highlight=False)
        else:
            print(one_line(text), file=sys.stderr, flush=True)


class CellProgress:
    """Show the same for the cells of a study, with the remaining time."""

    def __init__(self, *, quiet: bool) -> None:
        self._lines = Progress(0, quiet=quiet, columns=(TimeRemainingColumn(),))

    def __enter__(self) -> Self:
        self._lines.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._lines.__exit__(*exception)

    def log(self, line: str) -> None:
        """Report a message on one line."""
        self._lines.log(line)

    def on_change(self, summary: SweepSummary, label: str, record: Record | None) -> None:
        """Show the changed summary, and the record of cell `label` if it caused the change."""
        total = summary.cells - summary.left_out
        self._lines.show(total - summary.left - (record is not None), total)
        if record is not None:
            self._lines.on_record(record, label)
