"""Target `sysroot`: networks in the user's own qemu-user processes, without root or a daemon.

Each process is limited by a memory cgroup where this user may make one. Elsewhere a watcher ends
it when it grows beyond the device's memory.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil

from pibench import process
from pibench.devices import Device
from pibench.engines.base import PROGRAM
from pibench.errors import HostError
from pibench.images.build import Builder
from pibench.images.rootfs import RootLoader
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
from pibench.targets.memory_groups import (
    OwnFolder,
    PlacedGroup,
    available_grouping,
    remove_orphans,
)
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
        self._to_preload = at_once
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
            # The files that a program maps are known by their paths.
            "root": str(self._root),
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
        with PlacedGroup(grouping) as group:

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
            with scratch(self.name) as folder, PlacedGroup(grouping) as group:
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
        group: PlacedGroup,
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
