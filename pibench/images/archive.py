"""Archives that are the same, byte for byte, whenever they are made of the same files."""

from __future__ import annotations

import contextlib
import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final


@contextlib.contextmanager
def compressed_tar(path: Path, *, level: int) -> Iterator[tarfile.TarFile]:
    """A new .tar.gz, with neither a time nor a name in gzip's header."""
    with path.open("wb") as file, compressed_tar_into(file, level=level) as tar:
        yield tar


@contextlib.contextmanager
def compressed_tar_into(stream: IO[bytes], *, level: int) -> Iterator[tarfile.TarFile]:
    """The same, written to a stream, which may be a pipe."""
    with (
        gzip.GzipFile("", "wb", level, stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        yield tar


DATE: Final = 315532800
"""The first of January 1980: GNU tar complains of 0, and of what a board without a battery
takes for the future."""


def member(name: str, *, size_bytes: int = 0, executable: bool = False) -> tarfile.TarInfo:
    """A file as a member: root's, always of the same date, and with a mode of two kinds.

    Not tarfile's own gettarinfo: it makes hard links of what happens to be linked here.
    """
    info = tarfile.TarInfo(name)
    info.uname = info.gname = "root"
    info.size = size_bytes
    info.mtime = DATE
    info.mode = 0o755 if executable else 0o644
    return info


def link(name: str, target: str) -> tarfile.TarInfo:
    """A symbolic link as a member."""
    info = member(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return info


def directory(name: str) -> tarfile.TarInfo:
    """A folder as a member."""
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
