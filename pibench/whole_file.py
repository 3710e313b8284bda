"""Writes a result's file whole or not at all: a reader sees the old one or the new one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pibench.errors import EnvironmentFault, InvalidInputError


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write `content` (text as UTF-8) beside the file and rename over it; the path.

    Folders are made. What is no regular file is written to as it is, and so is what a link
    leads to: /dev/stdout is a link, and as root a rename would put a file in its place.
    Raises EnvironmentFault if that cannot be.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_bytes(data)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, data)
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: not written: {error.strerror or error}",
            hint="give a folder that can be written, on a disk with room",
        ) from error
    return path


def keep_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise InvalidInputError where an output is one of the files that were read for it."""
    read = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in read:
            raise InvalidInputError.at(
                path, None, "is what is read here, and would be lost", hint="name another file"
            )


def _replace(path: Path, data: bytes) -> None:
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name[:100]}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # Temporary files are private to their owner; a result is as readable as any new file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
