"""Networks as processes of this machine: the board itself, or the amd64 twin on an x86-64 host."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pibench import process
from pibench.engines.base import PROGRAM, PYTHON, Engine
from pibench.engines.caffe import CAFFE
from pibench.engines.registry import engine_of
from pibench.errors import HostError, InvalidInputError
from pibench.images.build import Builder
from pibench.images.rootfs import RootLoader
from pibench.process import run, running
from pibench.targets.base import Job, Observer, Outcome, Watcher
from pibench.targets.job import (
    PROBE,
    Libraries,
    Measure,
    Programs,
    is_described,
    libraries_for,
    root_programs,
    trials,
    write_job,
)
from pibench.targets.probe_session import SILENCE_DEADLINE_S, ProbeSession, listen, probe_command
from pibench.targets.sandbox import sandboxed, scratch
from pibench.targets.worker_pool import (
    partition,
    pieces_at_once,
    pooled,
    serialised,
    uncapped_bytes,
)

if TYPE_CHECKING:
    from pibench.images.recipe import Architecture
    from pibench.records.schema import Target as TargetName
    from pibench.target_kinds import Machine


class LocalTarget:
    """Runs a probe under this machine's own Python, with an engine that `programs` finds."""

    def __init__(
        self,
        name: TargetName,
        programs: Callable[[], Sequence[Programs]],
        *,
        processes_at_once: int | None = 1,
    ) -> None:
        self.name: TargetName = name
        self.machine: Machine | None = None
        self._programs = programs
        self._blas = Libraries()
        self._wanted = processes_at_once
        self._at_once = 1

    def prepare(self, work: Sequence[Job]) -> None:
        """Do nothing: there is nothing to build. Subclasses build their root."""

    def environment(self) -> dict[str, str | None]:
        """Return no emulator, and no image unless a subclass has one."""
        return {"qemu_version": None, "image_lock_digest": None}

    def run(self, work: Sequence[Job], observe: Observer, watch: Watcher) -> None:
        """Run all work on as many probes at once as this machine has room for."""
        self._at_once = pieces_at_once(
            work,
            wanted=self._wanted,
            cores=process.usable_cores(),
            each_bytes=max((uncapped_bytes(piece.cost_bytes) for piece in work), default=1),
        )
        run_part = partial(self._run_part, observe=serialised(observe), watch=watch)
        pooled(partition(work, self._at_once), self._at_once, run_part)

    def measure(self, wanted: Measure) -> dict[str, Any]:
        """Return the probe's measurements of the bare programs; see `calibrate` in probe/job.py.

        Raises HostError where it could not run.
        """
        session = ProbeSession()
        with scratch(self.name) as folder:
            job = self._write(folder, [], measure=wanted)
            done = run(probe_command(job), deadline_s=SILENCE_DEADLINE_S, check=False)
        session.feed(done.stdout.encode())
        if session.calibration is None:
            raise HostError(f"the probe could not run: {session.frames.last_words()}")
        return session.calibration

    def _run_part(
        self, work: Sequence[Job], stopping: threading.Event, *, observe: Observer, watch: Watcher
    ) -> None:
        waiting = deque(work)
        while waiting and not stopping.is_set():
            with scratch(self.name) as folder:
                job = self._write(folder, list(waiting))
                session = ProbeSession(waiting, observe, watch)
                with running(probe_command(job), stdout=subprocess.PIPE) as probe:
                    died = listen(probe, session, stopping)
            if died is None and not session.results and not stopping.is_set():
                # A result that fails its checks does not count: see FrameReader.
                died = f"the probe ended without a result: {session.frames.last_words()}"
            if died is not None and waiting:
                observe(Outcome(job=waiting.popleft(), machine=session.machine, died=died))

    def _write(self, folder: Path, work: Sequence[Job], measure: Measure | None = None) -> Path:
        first, *otherwise = self._programs()
        return write_job(
            folder / "job",
            work,
            first,
            self._blas,
            otherwise=otherwise,
            describe=is_described(work),
            measure=measure,
        )


class TwinTarget(LocalTarget):
    """The amd64 root at full speed, through its own dynamic loader: the reference."""

    def __init__(self, builder: Builder, *, processes_at_once: int | None = None) -> None:
        super().__init__("twin", self._twin_programs, processes_at_once=processes_at_once)
        self.builder = builder
        self._root: Path | None = None

    def prepare(self, work: Sequence[Job]) -> None:
        """Build the amd64 root and, for memory-only compute, the BLAS."""
        self._root = self.builder.twin().content / "root"
        self._blas = libraries_for(self.builder, "amd64", work)

    def blas_core(self) -> str:
        """Return the core type that the twin's OpenBLAS detects for this machine's CPU.

        Raises HostError where the probe cannot find out.
        """
        self._root = self.builder.twin().content / "root"
        with scratch(self.name) as folder:
            (programs,) = self._twin_programs()
            job = self._write(folder, [])
            command = [*programs.python, str(job.parent / PROBE), "--describe"]
            done = run(sandboxed(command), env=programs.env, deadline_s=60)
        return str(json.loads(done.stdout)["blas_core"])

    def measure(self, wanted: Measure) -> dict[str, Any]:
        """Build the root, then measure as on any machine."""
        self._root = self.builder.twin().content / "root"
        self._blas = Libraries(
            memory_only=self.builder.blas("amd64"),
            name=wanted.kinds[0].blas,
            other=self.builder.other_blas("amd64", wanted.kinds[0].blas),
            fork_layers=self.builder.layers("amd64")
            if any(kind.fork_layers for kind in wanted.kinds)
            else None,
            modules=self.builder.engine("amd64", wanted.kinds[0].engine),
        )
        return super().measure(wanted)

    def environment(self) -> dict[str, str | None]:
        """Return the lock that the root was built from."""
        return {"qemu_version": None, "image_lock_digest": self.builder.lock.digest("amd64")}

    def _twin_programs(self) -> Sequence[Programs]:
        assert self._root is not None, "prepare() comes first"  # noqa: S101
        loader = RootLoader(self._root, "amd64")
        programs = Programs(
            program=loader.command(PROGRAM),
            python=loader.python(),
            huge_pages_off=True,
            env=loader.python_env(),
            # A network that is far too large must not take this machine down.
            address_space_bytes=process.available_memory_bytes() // self._at_once,
        )
        return [programs]


class NativeTarget(LocalTarget):
    """This machine's own engine (on a Raspberry Pi, say), or on arm64 without it pibench's root."""

    def __init__(self, builder: Builder) -> None:
        super().__init__("native", self._native_programs)
        self.builder = builder
        self._engine: Engine = CAFFE
        self._root: Path | None = None

    def prepare(self, work: Sequence[Job]) -> None:
        """Find the engine or build pibench's root.

        Raises HostError for memory-only compute, or if the engine is not available.
        """
        if any(piece.compute == "memory-only" for piece in work):
            raise HostError(
                "the native target computes for real: memory-only compute stands in "
                "for what takes long emulated",
                hint="leave --compute out, or say --compute real",
            )
        refuse_other_blas(work)
        (name,) = {piece.engine for piece in work} or {CAFFE.id}
        engine = self._engine = engine_of(name)
        architecture: Architecture = "arm64" if platform.machine() == "aarch64" else "amd64"
        lacking = _lacking(engine, trials(engine, work, architecture))
        if lacking is None:
            self._blas = libraries_for(self.builder, architecture, work)
            return
        if platform.machine() != "aarch64" or not engine.is_in_images:
            ways = [engine.install_hint, "use another target: pibench doctor lists them"]
            raise HostError(
                f"this machine has no {engine.label} of its own that works ({lacking})",
                hint=", or ".join(filter(None, ways)),
            )
        self.builder.report(
            f"no {engine.label} of this machine's own works ({lacking}): pibench's root is used"
        )
        self._root = self.builder.sysroot().content / "root"
        self._blas = libraries_for(self.builder, "arm64", work)

    def _native_programs(self) -> Sequence[Programs]:
        if self._root is not None:
            return [root_programs(str(self._root), self.builder.lock.digest("arm64"))]
        program = shutil.which(self._engine.program_name or "") or PROGRAM
        return [Programs(program=[program], python=[_system_python()], origin="system")]


def _lacking(engine: Engine, tried: Sequence[Sequence[str]]) -> str | None:
    """Return what the system's own engine lacks for some trials; None if nothing."""
    program = shutil.which(engine.program_name or "")
    if program is None and engine.program_name:
        return f"there is no program {engine.program_name}"
    stand_for = {PROGRAM: program or "", PYTHON: _system_python()}
    for parts in tried:
        command = [stand_for.get(part, part) for part in parts]
        done = run(command, deadline_s=120, check=False)
        if done.returncode != 0:
            return done.last_lines(1) or f"{' '.join(command)}: {done.ending}"
    return None


def refuse_other_blas(work: Sequence[Job]) -> None:
    """Raise InvalidInputError where the work needs a BLAS that fits pibench's roots alone."""
    for piece in work:
        if piece.blas != "openblas":
            raise InvalidInputError(
                f"--blas {piece.blas} is for emulated targets and the twin; a machine's own Caffe "
                "has the BLAS that it is linked with",
                hint="leave --blas out, or change libblas.so.3 with update-alternatives",
            )


def _system_python() -> str:
    """Return the system's Python: pycaffe is installed for it, whichever Python runs pibench."""
    return shutil.which("python3", path="/usr/bin:/bin") or sys.executable
