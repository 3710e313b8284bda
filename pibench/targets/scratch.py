"""Temporary folders of runs, which name their owner, so that a dead one's can be swept."""

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
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"pibench-{target}-{os.getpid()}-"))
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield folder
    except OSError as error:
        if error.filename is None and error.errno in storage.FULL:
            # A write does not say to what file, and this is where files are written.
            raise storage.fault(error, folder) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def sweep() -> None:
    """Remove what runs left that were killed; another user's folders stay, as do live ones."""
    for folder in Path(tempfile.gettempdir()).glob("pibench-*"):
        named = _NAME.match(folder.name)
        if named and not psutil.pid_exists(int(named[1])):
            with contextlib.suppress(OSError):
                if folder.lstat().st_uid == os.getuid() and not _is_held(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_held(folder: Path) -> bool:
    """Whether its owner lives where this process does not see it: in another container, say."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
