"""Temporary folders of runs, locked by their owner, so that a dead one's can be removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from pibench import storage

_NAME = re.compile(r"^pibench-[a-z]+-(\d+)-\w+$")


@contextlib.contextmanager
def scratch(target: str) -> Iterator[Path]:
    """A folder for one run of a target, gone afterwards; kill -9 leaves it to the next run."""
    remove_orphans()
    # It has its name once it is locked: before that nobody takes it for an orphan.
    made = Path(tempfile.mkdtemp(prefix=f".{target}-{os.getpid()}-"))
    folder = made.with_name(f"pibench-{made.name[1:]}")
    with _opened(made) as descriptor:
        with contextlib.suppress(OSError):
            # Some network file systems have no locks.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            made.rename(folder)
            yield folder
        except OSError as error:
            if error.filename is None and error.errno in storage.FULL:
                # A write does not say to what file, and this is where files are written.
                raise storage.fault(error, folder) from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_orphans() -> None:
    """Remove what runs left that were killed; another user's folders stay, as do live ones.

    A lock tells who lives, and not a process's number: in another container that shares the
    folder for temporary files the numbers are other ones.
    """
    for folder in Path(tempfile.gettempdir()).glob("pibench-*"):
        with contextlib.suppress(OSError):
            named = _NAME.match(folder.name)
            # Earlier versions lock nothing: their number has to do.
            if not named or psutil.pid_exists(int(named[1])):
                continue
            if folder.lstat().st_uid != os.getuid():
                continue
            with _opened(folder) as descriptor:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
