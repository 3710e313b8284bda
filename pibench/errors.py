"""Define the errors that a user can cause or fix; all have one base class.

An error has the line that is shown, the exit code of the process and, where there is one, a hint
with the next step. The exit codes are the same everywhere:
0 success, 1 disagreement or gate failed, 2 usage or invalid input,
3 environment, 4 inconclusive.
"""

from __future__ import annotations

import contextlib
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pydantic import ValidationError


class ExitCode(IntEnum):
    """Exit codes of the process."""

    OK = 0
    DISAGREEMENT = 1
    INVALID_INPUT = 2
    ENVIRONMENT = 3
    INCONCLUSIVE = 4
    # The shell's convention for a program that Ctrl-C ended: 128 + SIGINT.
    INTERRUPTED = 130

    @classmethod
    def of_all(cls, parts: Iterable[ExitCode]) -> ExitCode:
        """Return the code of several answers: a disagreement before what is inconclusive."""
        codes = {cls.OK, *parts}
        return cls.DISAGREEMENT if cls.DISAGREEMENT in codes else max(codes)


class PibenchError(Exception):
    """A failure with one line for the user, an exit code and a hint."""

    exit_code: ExitCode = ExitCode.ENVIRONMENT

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def line(self) -> str:
        """Return the message and the hint as the single line that is printed."""
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __str__(self) -> str:
        # A traceback, and therefore pytest, shows nothing else.
        return self.line()


class InvalidInputError(PibenchError):
    """A file or a value given by the user cannot be used as it is."""

    exit_code = ExitCode.INVALID_INPUT

    @classmethod
    def at(
        cls, path: Path | str, place: str | None, problem: str, *, hint: str | None = None
    ) -> InvalidInputError:
        """Make an error that names the file, the place in it (a line, a layer) and the fix."""
        where = f"{path}: {place}" if place else str(path)
        return cls(f"{where}: {problem}", hint=hint)


class NoSourceError(InvalidInputError):
    """A phase of a network has no layer that writes a blob, and another phase may have one."""


class UnknownNetworkError(InvalidInputError):
    """Neither a network of the zoo nor a file has this name."""


class HostError(PibenchError):
    """This machine lacks something, or something on it failed."""

    exit_code = ExitCode.ENVIRONMENT


class MissingExtraError(HostError):
    """A part of pibench is used whose packages are not installed."""


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Name the extra that has the packages which the block imports.

    Raises:
        MissingExtraError: A package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the Python package {(error.name or str(error)).partition('.')[0]} is not installed",
            hint=f"pip install 'pibench[{name}]'",
        ) from None


class InconclusiveError(PibenchError):
    """The run does not decide the question."""

    exit_code = ExitCode.INCONCLUSIVE


class InterruptedByUserError(PibenchError):
    """The user ended the process by Ctrl-C or TERM."""

    exit_code = ExitCode.INTERRUPTED


def first_of(error: ValidationError, most_characters: int = 300) -> str:
    """Return the first error of a data model on one line, with the number of the others."""
    details = error.errors(include_url=False, include_context=False)
    field = ".".join(str(part) for part in details[0]["loc"])
    message = " ".join(details[0]["msg"].removeprefix("Value error, ").split())
    first = (f"{field}: {message}" if field else message)[:most_characters]
    return first if len(details) == 1 else f"{first} (and {len(details) - 1} more)"
