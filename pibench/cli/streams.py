"""Repair standard input, output and error, whatever their state at the start."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator


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
    from pibench.report.text import one_line

    print(f"pibench: {one_line(line)}", file=sys.stderr)


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
        from pibench.errors import HostError

        raise HostError(
            f"standard output: {error.strerror or error}",
            hint="the output is incomplete: redirect it to a disk with room",
        ) from error


def silence_stdout() -> None:
    """Redirect output to /dev/null, since Python would report the failed write again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
