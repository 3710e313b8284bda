"""Read files from users, write result files, and explain what the system refuses.

Input is opened without blocking, read once and up to a limit; JSON is parsed strictly. Output is
written atomically: a reader sees the old file or the new one.
"""

from __future__ import annotations

import codecs
import errno
import functools
import math
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from pydantic_core import from_json

from pibench import settings
from pibench.errors import HostError, InvalidInputError, PibenchError

MOST_BYTES: Final = 256 << 20
"""Largest file that is read whole; a record with all signatures is 11 to 355 KiB (docs/outputs.md).
"""
LARGEST: Final = 2**63 - 1
"""Largest integer that tables, pictures and other programs can represent."""
_CHUNK_BYTES: Final = 1 << 20
_PIPE: Final = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+")
NO_PLACE = frozenset(
    {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
)
"""Errors for a name that no file can have, regardless of permissions and free space."""
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NUMBER: Final = re.compile(r"\[Errno (\d+)\]")
_HINTS: Final = {
    errno.EROFS: "it is mounted read-only",
    errno.EACCES: "check the permissions there",
    errno.EPERM: "check its owner",
}


def read_input(path: Path, *, hint: str | None = None, most_bytes: int = MOST_BYTES) -> bytes:
    """Return the bytes of a file, or of a pipe that the shell has connected: `<(...)`, /dev/stdin.

    A byte order mark, with which some editors begin text in UTF-8, is not part of them.

    Raises:
        InvalidInputError: It cannot be read, is neither of these, or exceeds `most_bytes`.
    """
    with open_input(path, hint=hint) as stream:
        content = read_stream(stream, path, hint=hint, most_bytes=most_bytes)
    return content.removeprefix(codecs.BOM_UTF8)


def is_standard_input(path: Path | str) -> bool:
    """Return whether a command's argument is the usual sign for standard input."""
    return str(path) == "-"


def is_stream(path: Path) -> bool:
    """Return whether the path is standard input, or a pipe that the shell has connected."""
    if is_standard_input(path):
        return True
    try:
        return bool(_PIPE.fullmatch(str(path))) and stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


def read_once(path: Path) -> bytes:
    """Return what a stream has; it is read the first time only, since it then has no more.

    Raises:
        InvalidInputError: It cannot be read, is a terminal, or exceeds MOST_BYTES.
    """
    # Another pipe can have the same number later, in a program that uses pibench as a library.
    return contents_of_stream(path, None if is_standard_input(path) else path.stat().st_ino)


@functools.cache
def contents_of_stream(path: Path, _: int | None) -> bytes:
    """Return what `read_once` does, for as long as this process lives; `_` is the pipe's number."""
    if not is_standard_input(path):
        return read_input(path)
    name = Path("standard input")
    if sys.stdin is None or sys.stdin.isatty():
        problem = "is closed" if sys.stdin is None else "is a terminal"
        raise InvalidInputError.at(name, None, problem, hint="pipe a file into it")
    try:
        return read_stream(sys.stdin.buffer, name)
    except OSError as error:
        raise unreadable(name, error) from error


@contextmanager
def open_input(path: Path, *, hint: str | None = None) -> Iterator[IO[bytes]]:
    """Open such a file at its beginning, for files that are too long to be read whole.

    Raises:
        InvalidInputError: As for `read_input`; also for a failure while the block reads.
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


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write `content` (text as UTF-8) to a temporary file, rename it to `path` and return `path`.

    Raises the same errors as `writing_whole`.
    """
    with writing_whole(path) as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)
    return path


@contextmanager
def writing_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a stream for a file's content; the file gets its name when the block ends without error.

    Missing folders are created. Anything but a regular file is written to directly, and so is the
    target of a link: /dev/stdout is a link, and as root a rename would replace it by a file.

    Raises:
        InvalidInputError: No file can have this name.
        HostError: The file cannot be written.
        BrokenPipeError: The reader of standard output has gone.
    """
    hint = "give a folder that can be written, on a disk with room"
    try:
        if is_standard_output(path):
            # Append to what was printed so far: a file opened again would be written from its
            # start.
            sys.stdout.flush()
            with os.fdopen(os.dup(1), "wb") as stream:
                yield stream
        elif path.is_symlink() or (path.exists() and not path.is_file()):
            hint = "name a regular file"
            with path.open("wb") as stream:
                yield stream
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _replacing(path) as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        problem = f"not written: {error.strerror or error}"
        if error.errno in NO_PLACE:
            raise InvalidInputError.at(path, None, problem, hint="name a file") from error
        raise HostError(f"{path}: {problem}", hint=hint) from error


def is_standard_output(path: Path) -> bool:
    """Return whether the path leads to standard output: /dev/stdout, /dev/fd/1."""
    try:
        if path.is_symlink() or not path.is_file():
            return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        # No file exists under this name, or none can.
        return False
    return False


def keep_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise InvalidInputError where an output file is also one of the input files."""
    read = set(map(os.path.realpath, inputs))
    for path in outputs:
        if os.path.realpath(path) in read:
            raise InvalidInputError.at(
                path,
                None,
                "is an input of this command and would be overwritten",
                hint="name another file",
            )


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    # The name is stored before the file exists, so that an interruption at any moment finds it.
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def host_error(error: OSError, folder: Path | None = None) -> HostError:
    """Turn an OSError into a one-line error with a hint.

    Args:
        error: The system's error.
        folder: The place to name if the error names no file.
    """
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        # An error of copying a folder lists all files: only the first is reported.
        source, copy, reason = error.args[0][0]
        number = _NUMBER.match(reason)
        code = int(number[1]) if number else 0
        error = OSError(code, os.strerror(code) if code else reason, source, None, copy)
    place: str | Path | None = _place(error) or folder
    why = error.strerror or str(error)
    hint = "make room there" if error.errno in FULL else _HINTS.get(error.errno or 0)
    hint = hint or "check the free space and the permissions there"
    if other := _variable(place):
        hint += f", or name another folder: {other}=DIR"
    return HostError(f"{place}: {why}" if place else why, hint=hint)


def _place(error: OSError) -> str | None:
    """Return the file that the error is about: for a copy onto a full disk it is the second."""
    names = (error.filename2, error.filename) if error.errno in FULL else (error.filename,)
    return next((str(name) for name in names if isinstance(name, str | Path)), None)


def _variable(place: str | Path | None) -> str | None:
    """Return the variable that moves the place: the cache's, or that of temporary files."""
    try:
        if place is None:
            # Raises where no folder at all is usable as a temporary one.
            tempfile.gettempdir()
            return None
        if Path(place).is_relative_to(settings.cache_dir()):
            return "PIBENCH_CACHE_DIR"
        return "TMPDIR" if Path(place).is_relative_to(tempfile.gettempdir()) else None
    except (OSError, PibenchError):
        return "TMPDIR"
