"""Memory groups of the kernel (cgroups) around processes: made in folders, or by systemd.

A group limits its processes to a device's memory, and counts the kernel's kills there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final, Protocol

import psutil

from pibench.errors import HostError
from pibench.probe import cgroup
from pibench.probe.forks import ForkError, own_pages
from pibench.process import run

_GROUP_NAME: Final = re.compile(r"^pibench-(\d+)-(\d+)-\d+$")
_numbers = count()
_TRIAL_BYTES: Final = 64 << 20
_DEADLINE_S: Final = 10.0
_REMOVAL_S: Final = 3.0


class Grouping(Protocol):
    """A way to start a command in its own memory cgroup."""

    def started(
        self, argv: Sequence[str], memory_bytes: int
    ) -> contextlib.AbstractContextManager[list[str]]:
        """Yield the command line that runs `argv` in the block, under the limit, without swap."""


@dataclass(frozen=True)
class OwnFolder:
    """Folders below this process's own group, made directly (cgroups(7))."""

    parent: Path
    version: int

    @contextlib.contextmanager
    def started(self, argv: Sequence[str], memory_bytes: int) -> Iterator[list[str]]:
        """Yield a command in which a shell joins the group and then becomes `argv`."""
        with self.made(memory_bytes) as folder:
            yield ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(folder / "cgroup.procs"), *argv]

    @contextlib.contextmanager
    def made(self, memory_bytes: int | None) -> Iterator[Path]:
        """Yield the folder of a new group under the limit, without swap; None is no limit.

        Raises HostError where it cannot be made.
        """
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        folder = self.parent / f"pibench-{namespace}-{os.getpid()}-{next(_numbers)}"
        try:
            folder.mkdir()
        except OSError as error:
            raise HostError(
                f"the cgroup {folder} cannot be made any more: {error.strerror}"
            ) from error
        try:
            if memory_bytes is not None:
                self.limit(folder, memory_bytes)
            yield folder
        finally:
            _remove(folder)

    def limit(self, folder: Path, memory_bytes: int) -> None:
        """Limit the memory of the group `folder`, and give it no swap."""
        if self.version == 2:
            values = {"memory.swap.max": 0, "memory.max": memory_bytes}
        else:
            # Memory first: the limit of memory and swap together must not be less.
            values = {"memory.limit_in_bytes": memory_bytes}
            if (folder / "memory.memsw.limit_in_bytes").exists():
                values["memory.memsw.limit_in_bytes"] = memory_bytes
            else:
                values["memory.swappiness"] = 0
        for name, value in values.items():
            (folder / name).write_text(f"{value}\n")


class PlacedGroup(contextlib.ExitStack):
    """The group of the run that is in progress under a probe; there may be none."""

    def __init__(self, grouping: OwnFolder) -> None:
        super().__init__()
        self._grouping = grouping
        self._folder: Path | None = None

    def answer(self, event: dict[str, Any], memory_bytes: int | None) -> str:
        """Do what a probe asks for a process, and return the answer.

        Raises HostError where the process cannot be moved.
        """
        if event["event"] == "place":
            self._place(int(event["pid"]), memory_bytes)
            return "done"
        if event["event"] == "own":
            with contextlib.suppress(OSError, ForkError):
                own_pages(int(event["pid"]))
                return "done"
        return ""

    def _place(self, pid: int, memory_bytes: int | None) -> None:
        if self._folder is None:
            self._folder = self.enter_context(self._grouping.made(memory_bytes))
        try:
            (self._folder / "cgroup.procs").write_text(f"{pid}\n")
        except ProcessLookupError:
            # The probe finds the process in no group, and sees its end.
            pass
        except OSError as error:
            raise HostError(
                f"no process can be moved into the cgroup {self._folder}: {error.strerror}"
            ) from error

    def end(self) -> None:
        """Remove the group, whose process has ended."""
        self.close()
        self._folder = None


class UserScope:
    """Scopes of the user's own systemd."""

    @contextlib.contextmanager
    def started(self, argv: Sequence[str], memory_bytes: int) -> Iterator[list[str]]:
        """Yield a command for systemd, which makes the group and later removes it."""
        yield [
            *("systemd-run", "--user", "--scope", "--quiet", "--collect"),
            *("-p", f"MemoryMax={memory_bytes}", "-p", "MemorySwapMax=0", "--"),
            *argv,
        ]


@cache
def available_grouping() -> Grouping | None:
    """Return the first way that works here, by trying each; None if none does."""
    own = own_folder()
    ways: list[Grouping] = [own] if own else []
    if shutil.which("systemd-run") is not None:
        ways.append(UserScope())
    for way in ways:
        try:
            with way.started(["true"], _TRIAL_BYTES) as argv:
                if run(argv, deadline_s=_DEADLINE_S, check=False).returncode == 0:
                    return way
        except (OSError, HostError):
            continue
    return None


def own_folder(root: str = "") -> OwnFolder | None:
    """Return where this process could make groups: its own memory group's folder, below `root`."""
    found = cgroup.hierarchy("memory", root)
    if not found.folders:
        return None
    folder = Path(found.folders[0])
    with contextlib.suppress(OSError):
        control = folder / "cgroup.subtree_control"
        if found.version == 1 or "memory" in control.read_text().split():
            return OwnFolder(folder, found.version)
    return None


def remove_orphans() -> None:
    """Remove the groups of processes that are gone, except those that still contain a process.

    Groups of another PID namespace stay too: their owners cannot be checked from here.
    """
    own = own_folder()
    namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    for folder in own.parent.glob("pibench-*") if own else []:
        named = _GROUP_NAME.match(folder.name)
        if named and named[1] == namespace and not psutil.pid_exists(int(named[2])):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _remove(folder: Path) -> None:
    """Remove the group, and end what is left in it.

    A network's process may have started another, which would run on beside the next network. The
    kernel releases the group shortly after its last process.
    """
    deadline = time.monotonic() + _REMOVAL_S
    while True:
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        if time.monotonic() >= deadline:
            return
        with contextlib.suppress(OSError):
            # 0 would be a process of another PID namespace, and to kill() this process's group.
            for pid in map(int, (folder / "cgroup.procs").read_text().split()):
                with contextlib.suppress(ProcessLookupError):
                    if pid > 0:
                        os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
