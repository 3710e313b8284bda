"""End a process that grows beyond the device's memory, where no cgroup limits it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psutil

INTERVAL_S: Final = 0.02
"""Caffe touches up to 2 GB/s emulated: between two checks it can grow by 40 MB."""


@dataclass
class Watch:
    """The watcher's result: the RSS in bytes at which it ended a process, None if it ended none."""

    saw_bytes: int | None = None


@contextlib.contextmanager
def watched(pid: int, *, limit_bytes: int, emulator_bytes: int) -> Iterator[Watch]:
    """End any process below `pid` whose memory, without the emulator's, exceeds the limit.

    This applies within the block.
    """
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
    """Return all direct and indirect child processes of this one."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
