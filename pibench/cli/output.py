"""Print for the user: results on standard output, all else on standard error."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Final, Self

from pibench.errors import HostError, InvalidInputError
from pibench.report.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.progress import ProgressColumn

    from pibench.records.schema import Record
    from pibench.sweeps.scheduler import SweepSummary
    from pibench.targets.base import Progress as Report


_BAR: Final = 24
_BAR_COLUMNS: Final = _BAR + 24
"""What a bar takes with its counts (0/26), the elapsed time and the remaining one."""


def repair_std_streams() -> None:
    """Replace closed streams by /dev/null, and make every character printable.

    Otherwise a file opened later would get the closed stream's number, and
    receive the output meant for the stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, "w")))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """Print one line for the user on standard error: standard output is for results."""
    print(for_terminal(f"pibench: {one_line(line)}", sys.stderr), file=sys.stderr)


def print_line(line: str) -> None:
    """Print one line of a result."""
    with ignore_broken_pipe():
        print(for_terminal(one_line(line), sys.stdout))


def for_terminal(line: str, stream: IO[str]) -> str:
    """Return a line, broken between words where `stream` is a terminal that is narrower.

    It stays one line in files and pipes, for other programs.
    """
    if not stream.isatty():
        return line
    try:
        width = int(os.environ.get("COLUMNS") or os.get_terminal_size(stream.fileno()).columns)
    except (ValueError, OSError):
        return line
    if not 0 < width < len(line):
        return line
    import textwrap

    return textwrap.fill(
        line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


@contextlib.contextmanager
def ignore_broken_pipe() -> Iterator[None]:
    """Ignore a closed pipe while printing (`| head`): the remaining output is dropped.

    Raises:
        HostError: if the output goes to a full disk.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
    except OSError as error:
        if error.filename is not None:
            raise
        silence_stdout()
        raise HostError(
            f"standard output: {error.strerror or error}",
            hint="the output is incomplete: redirect it to a disk with room",
        ) from error


def silence_stdout() -> None:
    """Redirect output to /dev/null, since Python would report the failed write again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(value: Any) -> None:
    """Print a result as JSON."""
    import json

    with ignore_broken_pipe():
        print(json.dumps(value, indent=2))


def print_timings() -> None:
    """Print how long each phase took on standard error, each below the phase that it is part of."""
    from pibench import timings
    from pibench.report.tables import Column, Table, console, numeric

    columns = (Column(heading="Phase"), *numeric("Start s", "Took s", "Times"))
    rows = [
        (
            "  " * (len(one.path) - 1) + one.path[-1],
            f"{one.started_s:.1f}",
            f"{one.elapsed_s:.1f}",
            str(one.times),
        )
        for one in timings.phases()
    ]
    console(sys.stderr).print(Table(columns=columns, rows=rows))


def check_svg(path: Path) -> None:
    """Reject a `--plot` file whose name does not end in .svg."""
    if path.suffix.lower() != ".svg":
        problem = f"--plot {path}: pictures are written as SVG"
        raise InvalidInputError(problem, hint="end the name in .svg")


def write_svg(path: Path, picture: str) -> None:
    """Write a picture for `--plot`. Raises InvalidInputError for another ending than .svg."""
    from pibench.file_io import write_whole

    check_svg(path)
    write_whole(path, picture)


class Progress:
    """Show progress on standard error: a bar on a terminal, else lines; nothing if quiet."""

    def __init__(
        self,
        total: int,
        *,
        quiet: bool,
        names: Sequence[str] = (),
        columns: tuple[ProgressColumn, ...] = (),
    ) -> None:
        """Store the options; `names` are those of the networks, in the given order."""
        from rich import progress
        from rich.console import Console

        self._names = names
        self._total = total
        self._done = 0
        self._quiet = quiet
        self._running: list[str] = []
        # A CI log cannot show a bar, even if it claims to be a terminal.
        self._has_bar = sys.stderr.isatty() and not os.environ.get("CI") and not quiet
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=_BAR),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
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
        self._describe(line)

    def on_progress(self, report: Report) -> None:
        """Report a message from a target during a run."""
        if report.job is None:
            self._describe(report.message)
            return
        name = self._names[int(report.job.id)] if self._names else report.job.name
        if report.message == "started":
            self._running.append(name)
            self._describe(", ".join(self._running))
        else:
            self._line(f"{name}: {report.message}")

    def on_record(self, record: Record, name: str | None = None) -> None:
        """Report that another network has its record; `name` may replace the network's name."""
        self._done += 1
        name = name or record.network
        if name in self._running:
            self._running.remove(name)
        self._bar.update(self._task, completed=self._done)
        if self._running:
            self._describe(", ".join(self._running))
        self._line(
            f"[{self._done}/{self._total}] {name}: {record.verdict}, {record.evidence.summary}"
        )

    def _describe(self, text: str) -> None:
        from rich.cells import set_cell_size
        from rich.markup import escape

        # Else a long text takes the place of the figures: bar, counts, times and blanks.
        room = max(self._bar.console.width - _BAR_COLUMNS, 10)
        text = one_line(text)
        if len(text) > room:
            text = f"{set_cell_size(text, room - 3)}..."
        self._bar.update(self._task, description=escape(text))

    def _line(self, text: str) -> None:
        if self._has_bar:
            self._bar.console.print(one_line(text), markup=False, highlight=False)
        elif not self._quiet:
            print(for_terminal(one_line(text), sys.stderr), file=sys.stderr, flush=True)


class CellProgress(Progress):
    """Show the same for the cells of a study, with the remaining time."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.progress import TimeRemainingColumn

        super().__init__(0, quiet=quiet, columns=(TimeRemainingColumn(),))
        self.summary: SweepSummary | None = None

    def on_change(self, summary: SweepSummary, label: str, record: Record | None) -> None:
        """Show the changed summary, and the record of cell `label` if it caused the change."""
        self.summary = summary
        total = summary.cells - summary.left_out
        self.show(total - summary.left - (record is not None), total)
        if record is not None:
            self.on_record(record, label)
