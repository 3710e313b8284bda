"""Read files from users: open without blocking, read once and up to a limit, parse strict JSON."""

from __future__ import annotations

import math
import os
import re
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES: Final = 256 << 20
"""Largest file that is read whole; a record with all signatures is 11 to 355 KiB (docs/outputs.md).
"""
LARGEST: Final = 2**63 - 1
"""Largest integer that tables, pictures and other programs can represent."""
_CHUNK_BYTES: Final = 1 << 20
_PIPE: Final = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+")


def read(path: Path, *, hint: str | None = None, most_bytes: int = MOST_BYTES) -> bytes:
    """Return the bytes of a file, or of a pipe that the shell has connected: `<(...)`, /dev/stdin.

    Raises:
        InvalidInputError: It cannot be read, is neither of these, or exceeds `most_bytes`.
    """
    with opened(path, hint=hint) as stream:
        return read_stream(stream, path, hint=hint, most_bytes=most_bytes)


@contextmanager
def opened(path: Path, *, hint: str | None = None) -> Iterator[IO[bytes]]:
    """Open such a file at its beginning, for files that are too long to be read whole.

    Raises:
        InvalidInputError: As for `read`; also for a failure while the block reads.
    """
    try:
        with os.fdopen(_open(path, hint), "rb") as stream:
            yield stream
    except OSError as error:
        raise InvalidInputError.at(
            path, None, f"cannot be read: {error.strerror or error}", hint=hint
        ) from error


def read_stream(
    stream: IO[bytes], path: Path, *, hint: str | None = None, most_bytes: int = MOST_BYTES
) -> bytes:
    """Return the rest of a stream.

    Raises:
        InvalidInputError: The rest exceeds `most_bytes`.
    """
    content = bytearray()
    while chunk := stream.read(_CHUNK_BYTES):
        content += chunk
        if len(content) > most_bytes:
            raise InvalidInputError.at(
                path, None, f"exceeds the limit of {most_bytes >> 20} MiB", hint=hint
            )
    return bytes(content)


def json_of(text: bytes | str, path: Path | str, place: str | None, *, hint: str) -> Any:
    """Parse standard JSON whose integers are within 64 bits and whose other numbers are finite.

    Raises:
        InvalidInputError: Anything else; the error names the file and the place.
    """
    try:
        value = from_json(text)
    except ValueError as error:
        raise InvalidInputError.at(path, place, f"not valid JSON ({error})", hint=hint) from error
    beyond = _beyond(value)
    if beyond is not None:
        where = ".".join(map(str, beyond)) or None
        raise InvalidInputError.at(
            path,
            ": ".join(part for part in (place, where) if part) or None,
            "not a number, infinite, or beyond 64 bits",
            hint=hint,
        )
    return value


def size_bytes(path: Path, kind: str) -> int:
    """Return the size of the regular file at `path`.

    A pipe would block, and a device may have no end.

    Args:
        path: The file.
        kind: What the file should be, such as "prototxt"; for errors.

    Raises:
        InvalidInputError: The file is missing, not accessible, or not a regular file.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInputError.at(path, None, "no such file", hint="check the path") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError:
        # The name has a NUL in it.
        raise InvalidInputError.at(
            path, None, "is not a file name", hint="check the path"
        ) from None
    if not stat.S_ISREG(found.st_mode):
        what = "a directory" if stat.S_ISDIR(found.st_mode) else "is not a regular file"
        raise InvalidInputError.at(path, None, f"{what}, not a {kind}", hint="name the file")
    return found.st_size


def unreadable(path: Path, error: OSError) -> InvalidInputError:
    """Return the error for a file that exists and cannot be read."""
    return InvalidInputError.at(
        path, None, f"cannot be read ({error.strerror})", hint="check the path and its permissions"
    )


def _open(path: Path, hint: str | None) -> int:
    # Opening a pipe without a writer would block forever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    problem = _no_input(path, os.fstat(descriptor).st_mode)
    if problem:
        os.close(descriptor)
        raise InvalidInputError.at(path, None, problem, hint=hint)
    os.set_blocking(descriptor, True)
    return descriptor


def _no_input(path: Path, mode: int) -> str:
    """Explain why an opened file is not read; empty if it is."""
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISDIR(mode):
        return "is a directory"
    if stat.S_ISFIFO(mode):
        # A pipe that the shell has connected has a writer; other pipes may not.
        return "" if _PIPE.fullmatch(str(path)) else "is a named pipe that no process writes to"
    return "is not a regular file"


def _beyond(value: Any) -> tuple[str | int, ...] | None:
    """Return the keys that lead to a number out of range; None if there is none."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)  # type: ignore[assignment]
    elif isinstance(value, float):
        return None if math.isfinite(value) else ()
    elif isinstance(value, int):
        return None if -LARGEST <= value <= LARGEST else ()
    else:
        return None
    for key, inner in pairs:
        found = _beyond(inner)
        if found is not None:
            return (key, *found)
    return None
