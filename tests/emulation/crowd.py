"""Other people's machines: groups with less memory than the board, foreign kills, lost emulators.

Everything here is real: control groups of the kernel, processes that it kills, signals.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pibench.targets.memory_groups import OwnFolder, available_grouping

MIB = 2**20
HOG_LIMIT_BYTES = 20 * MIB
HOG = [sys.executable, "-I", "-S", "-c", "b'x' * (200 << 20)"]
VICTIMS = ("qemu-aarch64", "caffe", "ld-2.31.so")
_numbers = itertools.count()


def own_folder() -> OwnFolder:
    """Where groups can be made by hand; skips where they cannot."""
    own = available_grouping()
    if not isinstance(own, OwnFolder):
        pytest.skip("this user may make no control group by hand")
    return own


@dataclass(frozen=True)
class Outer:
    """A group around pibench, such as a pod of a CI service, whose limit can be moved."""

    folder: Path
    version: int

    def limit(self, memory_bytes: int) -> bool:
        """Set the limit; false where version 1 refuses it for what is in use."""
        name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        try:
            (self.folder / name).write_text(str(memory_bytes))
        except OSError:
            return False
        return True

    def within(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs a command in the group."""
        return [
            *("sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.folder / "cgroup.procs")),
            *argv,
        ]

    def processes(self, names: Sequence[str] = VICTIMS) -> list[psutil.Process]:
        """The programs of these names that run in it, groups below it included."""
        found = []
        for members in self.folder.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                for number in members.read_text().split():
                    with contextlib.suppress(psutil.Error):
                        process = psutil.Process(int(number))
                        if process.name() in names:
                            found.append(process)
        return found


@contextlib.contextmanager
def outer(memory_bytes: int) -> Iterator[Outer]:
    """A group with that limit, gone afterwards with all that is in it."""
    own = own_folder()
    folder = own.parent / f"outer-{os.getpid()}-{next(_numbers)}"
    folder.mkdir()
    group = Outer(folder, own.version)
    try:
        assert group.limit(memory_bytes)
        yield group
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """End what is in a group and remove it with the groups below it, innermost first."""
    end = time.monotonic() + 20
    groups = [path.parent for path in folder.rglob("cgroup.procs")]
    for group in sorted(groups, key=lambda path: len(path.parts), reverse=True):
        while group.exists() and time.monotonic() < end:
            with contextlib.suppress(OSError):
                for number in (group / "cgroup.procs").read_text().split():
                    os.kill(int(number), signal.SIGKILL)
            with contextlib.suppress(OSError):
                group.rmdir()
            time.sleep(0.02)


def kill_a_hog() -> None:
    """Have the kernel kill a program for want of memory, in a group of its own."""
    with own_folder().started(HOG, HOG_LIMIT_BYTES) as argv:
        done = subprocess.run(argv, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done


@contextlib.contextmanager
def repeated(action: Callable[[], object], pause_s: Callable[[], float]) -> Iterator[None]:
    """Within the block do something again and again, in a thread of its own."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(pause_s()):
            action()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def foreign_kills(pause_s: float = 0.2) -> Iterator[None]:
    """Within the block the kernel kills programs that are nobody's business."""
    with repeated(kill_a_hog, lambda: pause_s):
        yield


@contextlib.contextmanager
def disturbed(group: Outer, chance: random.Random) -> Iterator[None]:
    """Within the block a group shrinks and grows, and what runs in it is stopped and killed."""

    def resize() -> None:
        group.limit(chance.randint(300, 2000) * MIB)

    def signal_one() -> None:
        for process in group.processes():
            number = chance.choice(
                [signal.SIGSTOP, signal.SIGSTOP, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]
            )
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
                if number == signal.SIGSTOP:
                    time.sleep(chance.uniform(0.05, 0.5))
                    process.send_signal(signal.SIGCONT)
            return

    with (
        foreign_kills(0.5),
        repeated(resize, lambda: chance.uniform(0.05, 1.0)),
        repeated(signal_one, lambda: chance.uniform(0.5, 6.0)),
    ):
        yield
