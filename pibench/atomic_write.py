"""Write result files atomically: a reader sees the old file or the new one."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pibench.errors import HostError, InvalidInputError

NO_PLACE = frozenset(
    {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
)
"""Errors for a name that no file can have, regardless of permissions and free space."""


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
