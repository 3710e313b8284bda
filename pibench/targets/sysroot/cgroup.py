"""A memory cgroup made by pibench, where this user may make one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Final, Protocol

import psutil

from pibench.errors import HostError
from pibench.probe import cgroup as groups
from pibench.process import run

_NAME: Final = re.compile(r"^pibench-(\d+)-(\d+)-\d+$")
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
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        folder = self.parent / f"pibench-{namespace}-{os.getpid()}-{next(_numbers)}"
        try:
            folder.mkdir()
        except OSError as error:
            raise HostError(
                f"the cgroup {folder} cannot be made any more: {error.strerror}"
            ) from error
        try:
            self.limit(folder, memory_bytes)
            yield ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(folder / "cgroup.procs"), *argv]
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
def available() -> Grouping | None:
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
    """Return where this process could make groups: its own memory group's folder.

    Args:
        root: A folder that replaces `/` in the paths of the groups' files.
    """
    found = groups.hierarchy("memory", root)
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
        named = _NAME.match(folder.name)
        if named and named[1] == namespace and not psutil.pid_exists(int(named[2])):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _remove(folder: Path) -> None:
    """Remove the group; the kernel releases it shortly after its last process."""
    deadline = time.monotonic() + _REMOVAL_S
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() < deadline:
                time.sleep(0.02)
                continue
        return
