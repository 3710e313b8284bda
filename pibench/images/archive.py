"""Write reproducible archives: the same files give the same bytes at any time."""

from __future__ import annotations

import contextlib
import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final


@contextlib.contextmanager
def compressed_tar(path: Path, *, level: int) -> Iterator[tarfile.TarFile]:
    """Yield a new .tar.gz, without a time or a name in gzip's header."""
    with path.open("wb") as file, compressed_tar_into(file, level=level) as tar:
        yield tar


@contextlib.contextmanager
def compressed_tar_into(stream: IO[bytes], *, level: int) -> Iterator[tarfile.TarFile]:
    """Yield a new .tar.gz that is written to a stream, which may be a pipe."""
    with (
        gzip.GzipFile("", "wb", level, stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        yield tar


DATE: Final = 315532800
"""The first of January 1980: GNU tar warns about 0, and about dates that are in the future
for a board without a battery."""


def member(name: str, *, size_bytes: int = 0, executable: bool = False) -> tarfile.TarInfo:
    """Return the header of a file: owned by root, with a fixed date and one of two modes.

    tarfile's gettarinfo is not used: it turns files that happen to be linked here into hard links.
    """
    info = tarfile.TarInfo(name)
    info.uname = info.gname = "root"
    info.size = size_bytes
    info.mtime = DATE
    info.mode = 0o755 if executable else 0o644
    return info


def link(name: str, target: str) -> tarfile.TarInfo:
    """Return the header of a symbolic link."""
    info = member(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return info


def directory(name: str) -> tarfile.TarInfo:
    """Return the header of a folder."""
    info = member(name, executable=True)
    info.type = tarfile.DIRTYPE
    return info


def add(tar: tarfile.TarFile, path: Path, name: str) -> tarfile.TarInfo:
    """Add a file under a name."""
    status = path.stat()
    info = member(name, size_bytes=status.st_size, executable=bool(status.st_mode & 0o100))
    content: IO[bytes]
    with path.open("rb") as content:
        tar.addfile(info, content)
    return info
