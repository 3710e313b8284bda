"""Temporary folders of runs, which name their owner, so that a dead one's can be swept."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

_NAME = re.compile(r"^pibench-[a-z]+-(\d+)-\w+$")


@contextlib.contextmanager
def scratch(target: str) -> Iterator[Path]:
    """A folder for one run of a target, gone afterwards; kill -9 leaves it to the next run."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"pibench-{target}-{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove what runs left that were killed; another user's folders stay, as do live ones."""
    for folder in Path(tempfile.gettempdir()).glob("pibench-*"):
        named = _NAME.match(folder.name)
        if named and not psutil.pid_exists(int(named[1])):
            with contextlib.suppress(OSError):
                if folder.lstat().st_uid == os.getuid():
                    shutil.rmtree(folder, ignore_errors=True)
