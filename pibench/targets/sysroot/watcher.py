"""Ending a process that grows beyond the device's memory, where no cgroup does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psutil

INTERVAL_S: Final = 0.02
"""Caffe touches up to 2 GB/s emulated: between two looks it can grow by 40 MB."""


@dataclass
class Watch:
    """What the watcher did: the RSS in bytes at which it ended a process, None if it ended none."""

    saw_bytes: int | None = None


@contextlib.contextmanager
def watched(pid: int, *, limit_bytes: int, emulator_bytes: int) -> Iterator[Watch]:
    """Within the block no process below `pid` keeps more than the limit, the emulator apart."""
    watch = Watch()
    done = threading.Event()

    def look() -> None:
        while not done.wait(INTERVAL_S):
            for process in _below(pid):
                with contextlib.suppress(psutil.Error):
                    own_bytes = process.memory_info().rss - emulator_bytes
                    if own_bytes > limit_bytes:
                        watch.saw_bytes = max(watch.saw_bytes or 0, own_bytes)
                        process.kill()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()


def _below(pid: int) -> list[psutil.Process]:
    """All processes that this one started, directly or not."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
