"""Target `sysroot`: networks in the user's own qemu-user processes, without root or a daemon.

Each process is limited by a memory cgroup where this user may make one. Elsewhere a watcher ends
it when it grows beyond the device's memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any, Final, Protocol

import psutil

from pibench import process
from pibench.devices import Device
from pibench.engines.base import PROGRAM
from pibench.errors import HostError
from pibench.images.build import Builder
from pibench.images.rootfs import RootLoader
from pibench.probe import cgroup
from pibench.probe.forks import ForkError, own_pages
from pibench.process import run, running
from pibench.target_kinds import kind_of
from pibench.targets import emulation
from pibench.targets.base import Job, MemoryLimits, Observer, Outcome, Watcher
from pibench.targets.confined import (
    PAGE_BYTES,
    ConfinedTarget,
    EmulatorOverhead,
    ProbeRun,
    cgroup_limits,
    effective_limits,
    outcome_of,
)
from pibench.targets.job import Programs
from pibench.targets.probe_session import (
    ATTEMPTS,
    ProbeSession,
    answering,
    listen,
    probe_command,
)
from pibench.targets.sandbox import scratch
from pibench.targets.worker_pool import largest_first, pieces_at_once, pooled, reporting

_VERSION: Final = re.compile(r"^qemu-aarch64\S* version [^\n]*")
_GROUP_NAME: Final = re.compile(r"^pibench-(\d+)-(\d+)-\d+$")
_numbers = count()
_TRIAL_BYTES: Final = 64 << 20
_DEADLINE_S: Final = 10.0
_REMOVAL_S: Final = 3.0
INTERVAL_S: Final = 0.02
"""Caffe touches up to 2 GB/s emulated: between two checks it can grow by 40 MB."""


class SysrootTarget(ConfinedTarget):
    """Runs each piece of work under its own probe, limited by a cgroup or a watcher."""

    name = "sysroot"

    def __init__(
        self,
        device: Device,
        builder: Builder,
        *,
        processes_at_once: int | None = None,
        use_cgroup: bool = True,
    ) -> None:
        super().__init__(device, builder, at_once=processes_at_once)
        self._grouping = available_grouping() if use_cgroup else None
        self._emulator: str | None = None
        self._root: Path | None = None

    def run(self, work: Sequence[Job], observe: Observer, watch: Watcher) -> None:
        """Run each piece; where groups can be made here, several under one probe.

        Each network's process still has a group of its own, and each worker takes the next network
        as soon as it is free.
        """
        if not isinstance(self._grouping, OwnFolder):
            super().run(work, observe, watch)
            return
        at_once = pieces_at_once(
            work,
            wanted=self._at_once,
            cores=self._host_cores,
            each_bytes=self.device.usable_bytes,
        )
        waiting = deque(largest_first(work))
        with reporting(observe, workers=at_once) as report:
            run_worker = partial(
                self._run_worker, self._grouping, work, observe=report, watch=watch
            )
            pooled([waiting] * min(at_once, len(work)), at_once, run_worker)

    @property
    def _host_cores(self) -> int:
        return process.usable_cores()

    @property
    def _is_emulated(self) -> bool:
        return self._emulator is not None

    def _prepare_host(self) -> dict[str, Any]:
        remove_orphans()
        if emulation.needed():
            self._emulator = find_emulator()
            output = run([self._emulator, "--version"], deadline_s=30).stdout
            named = _VERSION.match(output)
            self._qemu_version = named[0] if named else output.partition("\n")[0]
        image = self.builder.sysroot()
        self._root = image.content / "root"
        return {
            "image": image.key,
            "qemu": [self._qemu_version, Path(self._emulator or "").name],
            "places": self._places,
        }

    def _probe_python(self) -> Sequence[str]:
        return [sys.executable]

    @property
    def _places(self) -> bool:
        return isinstance(self._grouping, OwnFolder)

    def _measure(self, job: Path, session: ProbeSession) -> None:
        grouping = self._grouping
        if not isinstance(grouping, OwnFolder):
            with running(probe_command(job), stdout=subprocess.PIPE) as probe:
                listen(probe, session, threading.Event())
            return
        with RunGroup(grouping) as group:

            def answer(event: dict[str, Any]) -> str:
                if event["event"] == "place":
                    group.end()
                return group.answer(event, None)

            _listen_and_answer(job, session, threading.Event(), answer)

    def _run_worker(
        self,
        grouping: OwnFolder,
        work: Sequence[Job],
        waiting: deque[Job],
        stopping: threading.Event,
        *,
        observe: Observer,
        watch: Watcher,
    ) -> None:
        """Run networks under one probe until none waits, and under another where it dies."""
        deaths: Counter[str] = Counter()
        while waiting and not stopping.is_set():
            with scratch(self.name) as folder, RunGroup(grouping) as group:
                session = ProbeSession(watch=watch)
                session.observe = partial(self._report, session, observe)
                answer = partial(self._answer, session, group, waiting, stopping)
                died = _listen_and_answer(self._write(folder, work), session, stopping, answer)
            if stopping.is_set():
                return
            piece = _taken_from(session.pending)
            if piece is None and died is not None:
                piece = _taken_from(waiting)
            if piece is not None:
                # A probe may die once, or send one result that fails its checks.
                deaths[piece.id] += 1
                if deaths[piece.id] < ATTEMPTS:
                    waiting.appendleft(piece)
                else:
                    # What it reported last may be another network's.
                    session.result, session.kept = None, ()
                    observe(self._placed_outcome(piece, session, died))

    def _answer(
        self,
        session: ProbeSession,
        group: RunGroup,
        waiting: deque[Job],
        stopping: threading.Event,
        event: dict[str, Any],
    ) -> str:
        """Give a probe its next network's id, or a group to the process of the one it has."""
        if event["event"] != "next":
            return group.answer(event, self._limit_bytes(session.pending[0]))
        group.end()
        session.result = None
        if session.pending or stopping.is_set():
            # It ends. A network that has no result is left: see _run_worker.
            return ""
        piece = _taken_from(waiting)
        if piece is None:
            return ""
        session.pending.append(piece)
        return piece.id

    def _report(self, session: ProbeSession, observe: Observer, outcome: Outcome) -> None:
        observe(self._placed_outcome(outcome.job, session, None))

    def _limit_bytes(self, piece: Job) -> int:
        """Return the limit of a group that contains a network's process alone."""
        limit = self.device.usable_bytes + self._overheads[piece.baseline_key].emulator_bytes
        return limit - limit % PAGE_BYTES

    def _placed_outcome(self, piece: Job, session: ProbeSession, died: str | None) -> Outcome:
        """Return the outcome of a network whose process had a group of its own."""
        known = self._overheads[piece.baseline_key]
        machine = session.machine or {}
        in_force = {**machine, "cgroup_memory": (session.result or {}).get("cgroup_memory")}
        effective = replace(effective_limits(in_force), cores=machine.get("cores_usable"))
        limits = cgroup_limits(self._limit_bytes(piece), effective, known)
        ended = ProbeRun(died=died, limits=replace(limits, probe_bytes=0))
        return outcome_of(piece, session, known, ended)

    def _probe(
        self, job: Path, session: ProbeSession, stopping: threading.Event, known: EmulatorOverhead
    ) -> ProbeRun:
        """Run one probe in its turn, limited in whichever way this machine allows."""
        with self._turns.one(stopping) as has_turn:
            if not has_turn:
                return ProbeRun(died="stopped", limits=None)
            return self._limited(job, session, stopping, known)

    def _limited(
        self, job: Path, session: ProbeSession, stopping: threading.Event, known: EmulatorOverhead
    ) -> ProbeRun:
        usable_bytes = self.device.usable_bytes
        if self._grouping is None:
            with (
                running(probe_command(job), stdout=subprocess.PIPE) as probe,
                watched(
                    probe.pid, limit_bytes=usable_bytes, emulator_bytes=known.emulator_bytes
                ) as watch,
            ):
                died = listen(probe, session, stopping)
            limits = MemoryLimits(
                enforced_by="watcher",
                memory_asked_bytes=usable_bytes,
                memory_bytes=None,
                swap_bytes=None,
                cores=(session.machine or {}).get("cores_usable"),
                emulator_bytes=0,
                emulator_error_bytes=known.emulator_error_bytes,
                probe_bytes=0,
                calibrated=known.measured,
                watcher_saw_bytes=watch.saw_bytes,
            )
            return ProbeRun(died=died, limits=limits)
        requested = usable_bytes + known.emulator_bytes + known.probe_bytes
        requested -= requested % PAGE_BYTES
        with (
            self._grouping.started(probe_command(job), requested) as argv,
            running(argv, stdout=subprocess.PIPE) as probe,
        ):
            died = listen(probe, session, stopping)
        machine = session.machine or {}
        effective = replace(effective_limits(machine), cores=machine.get("cores_usable"))
        return ProbeRun(died=died, limits=cgroup_limits(requested, effective, known))

    def _programs(self) -> Programs:
        assert self._root is not None, "prepare() comes first"  # noqa: S101
        loader = RootLoader(self._root, "arm64")
        programs = Programs(
            program=loader.command(PROGRAM),
            python=loader.python(),
            huge_pages_off=True,
            env={**loader.python_env(), "OPENBLAS_THREAD_TIMEOUT": "4"},
        )
        if self._emulator is None:
            return programs
        prefix = [self._emulator, "-L", str(self._root)]
        return replace(
            programs,
            program=[*prefix, str(self._root / PROGRAM)],
            python=[*prefix, str(self._root / "usr/bin/python3.9")],
            env_option="-E",
            env={
                **programs.env,
                **emulation.environment(self.device.qemu_cpu),
                # Absolute links in the root lead out of it.
                "LD_LIBRARY_PATH": loader.library_path,
            },
        )


def find_emulator() -> str:
    """Return the path of QEMU's user-mode emulator. Raises HostError."""
    for name in kind_of("sysroot").emulators:
        path = shutil.which(name)
        if path is not None:
            return path
    raise HostError(
        "target sysroot needs QEMU's user-mode emulator, and there is no qemu-aarch64",
        hint="sudo apt-get install qemu-user",
    )


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


class RunGroup(contextlib.ExitStack):
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


def _taken_from(waiting: deque[Job]) -> Job | None:
    """Return the first piece of work, which no other thread gets then; None if there is none."""
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _listen_and_answer(
    job: Path,
    session: ProbeSession,
    stopping: threading.Event,
    answer: Callable[[dict[str, Any]], str],
) -> str | None:
    """Run a probe that asks for networks and groups; return how it died, or None."""
    with running(probe_command(job), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as probe:
        session.reply = answering(probe, answer)
        return listen(probe, session, stopping)


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


@dataclass
class Watch:
    """The watcher's result: the RSS in bytes at which it ended a process, None if it ended none."""

    saw_bytes: int | None = None


@contextlib.contextmanager
def watched(pid: int, *, limit_bytes: int, emulator_bytes: int) -> Iterator[Watch]:
    """In the block, end each process below `pid` that exceeds the limit without the emulator."""
    watch = Watch()
    done = threading.Event()

    def check_repeatedly() -> None:
        while not done.wait(INTERVAL_S):
            for child in _below(pid):
                with contextlib.suppress(psutil.Error):
                    own_bytes = child.memory_info().rss - emulator_bytes
                    if own_bytes > limit_bytes:
                        watch.saw_bytes = max(watch.saw_bytes or 0, own_bytes)
                        child.kill()

    thread = threading.Thread(target=check_repeatedly, daemon=True)
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
