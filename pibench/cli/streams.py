"""Standard input, output and error as they should be, whatever they were when it started."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator


def repair_std_streams() -> None:
    """Put /dev/null where a stream was closed, and let no character be unprintable.

    A file opened later would take the closed stream's number, and get what is
    written to it.
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
    """Tell the user one line on standard error: standard output is for the answer."""
    from pibench.report.plain import one_line

    print(f"pibench: {one_line(line)}", file=sys.stderr)


@contextlib.contextmanager
def ignore_broken_pipe() -> Iterator[None]:
    """Around printing: what a reader that has gone does not take (`| head`) is dropped.

    Raises HostError where it goes to a disk that is full.
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
        from pibench.errors import HostError

        raise HostError(
            f"standard output: {error.strerror or error}",
            hint="what was printed is not all there: lead it to where there is room",
        ) from error


def silence_stdout() -> None:
    """Python would complain once more at its end of what could not be printed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
