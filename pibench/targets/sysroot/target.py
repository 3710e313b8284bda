"""Networks in processes of qemu-user over the unpacked root, one probe each."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pibench import host
from pibench.devices import Device
from pibench.errors import HostError
from pibench.images.build import Builder
from pibench.images.loader import RootLoader
from pibench.process import run, running
from pibench.targets import calibration, emulation
from pibench.targets.base import Kind, MemoryLimits, Observer, Outcome, Watcher, Work
from pibench.targets.calibration import Calibration
from pibench.targets.group_limits import in_force
from pibench.targets.job import (
    PRELOAD,
    PROBE,
    Libraries,
    Measure,
    Programs,
    libraries_for,
    write_job,
)
from pibench.targets.probe_session import ATTEMPTS, ProbeSession, listen
from pibench.targets.sandbox import sandboxed
from pibench.targets.scratch import scratch
from pibench.targets.sharing import pieces_at_once, pooled, serialised
from pibench.targets.sysroot import cgroup, watcher

if TYPE_CHECKING:
    from pibench.records.schema import Machine
    from pibench.records.schema import Target as TargetName

EMULATORS: Final = ("qemu-aarch64", "qemu-aarch64-static")
_PAGE_BYTES: Final = 4096
_VERSION: Final = re.compile(r"^qemu-aarch64\S* version [^\n]*")


class SysrootTarget:
    """Runs each piece of work under its own probe, limited by a cgroup or a watcher."""

    name: TargetName = "sysroot"
    machine: Machine | None = None

    def __init__(
        self,
        device: Device,
        builder: Builder,
        *,
        processes_at_once: int | None = None,
        use_cgroup: bool = True,
    ) -> None:
        self.device = device
        self.builder = builder
        self._at_once = processes_at_once
        self._grouping = cgroup.available() if use_cgroup else None
        self._emulator: str | None = None
        self._qemu_version: str | None = None
        self._root: Path | None = None
        self._blas = Libraries()
        self._calibrations: dict[Kind, Calibration] = {}

    # ------------------------------------------------------------ before anything runs

    def prepare(self, work: Sequence[Work]) -> None:
        """Find the emulator, build the root, and measure the emulator's memory where unknown.

        Raises HostError for what is missing.
        """
        cgroup.remove_orphans()
        if emulation.needed():
            self._emulator = find_emulator()
            said = run([self._emulator, "--version"], deadline_s=30).stdout
            named = _VERSION.match(said)
            self._qemu_version = named[0] if named else said.partition("\n")[0]
        image = self.builder.sysroot()
        self._root = image.content / "root"
        self._blas = libraries_for(self.builder, "arm64", work)
        for kind in dict.fromkeys(piece.kind for piece in work):
            parts = {
                "image": image.key,
                "qemu": [self._qemu_version, Path(self._emulator or "").name],
                "blas": self.builder.key("blas-arm64") if self._blas.memory_only else None,
                "kind": [kind.protocol, kind.compute, min(kind.threads, self._cores), kind.blas],
                "device": self.device.usable_bytes,
            }
            self._calibrations[kind] = calibration.stored(
                self.name, parts, partial(self._calibrate, kind)
            )

    def environment(self) -> dict[str, str | None]:
        """Return QEMU's version and the lock that the root was built from."""
        return {
            "qemu_version": self._qemu_version,
            "image_lock_digest": self.builder.lock.digest("arm64"),
        }

    @property
    def _cores(self) -> int:
        return host.usable_cores()

    def _calibrate(self, kind: Kind) -> Calibration:
        self.builder.report(f"measuring, once, what Caffe and the emulator hold ({kind.protocol})")
        measure = Measure(
            kinds=[kind],
            repeats=calibration.REPEATS,
            fill_bytes=self.device.usable_bytes if self._emulator else None,
        )
        session = ProbeSession()
        with scratch(self.name) as folder:
            job = self._write(folder, [], describe=True, measure=measure)
            with running(_command(job), stdout=subprocess.PIPE) as probe:
                listen(probe, session, threading.Event())
        return calibration.conclude(session, measure, self.builder)

    # ------------------------------------------------------------ the work

    def run(self, work: Sequence[Work], observe: Observer, watch: Watcher) -> None:
        """Run each piece; several in parallel where only memory is measured."""
        at_once = pieces_at_once(
            work,
            wanted=self._at_once,
            cores=self._cores,
            each_bytes=self.device.usable_bytes,
        )
        run_piece = partial(self._run_piece, observe=serialised(observe), watch=watch)
        pooled(work, at_once, run_piece)

    def _run_piece(
        self, piece: Work, stopping: threading.Event, *, observe: Observer, watch: Watcher
    ) -> None:
        known = self._calibrations[piece.kind]
        for attempt in range(1, ATTEMPTS + 1):
            session = ProbeSession(deque([piece]), watch=watch)
            with scratch(self.name) as folder:
                job = self._write(folder, [piece], describe=False)
                held = self._hold(job, session, known, stopping)
            if stopping.is_set():
                return
            if session.result is not None or attempt == ATTEMPTS:
                observe(_outcome(piece, session, known, held))
                return

    def _hold(
        self, job: Path, session: ProbeSession, known: Calibration, stopping: threading.Event
    ) -> _Held:
        """Run one probe, limited in whichever way this machine allows."""
        usable_bytes = self.device.usable_bytes
        if self._grouping is not None:
            asked = usable_bytes + known.emulator_bytes + known.probe_bytes
            asked = asked // _PAGE_BYTES * _PAGE_BYTES
            with (
                self._grouping.started(_command(job), asked) as argv,
                running(argv, stdout=subprocess.PIPE) as probe,
            ):
                died = listen(probe, session, stopping)
            return _Held(died=died, asked_bytes=asked, saw_bytes=None, grouped=True)
        with (
            running(_command(job), stdout=subprocess.PIPE) as probe,
            watcher.watched(
                probe.pid,
                limit_bytes=usable_bytes,
                emulator_bytes=known.emulator_bytes,
            ) as watch,
        ):
            died = listen(probe, session, stopping)
        return _Held(died=died, asked_bytes=usable_bytes, saw_bytes=watch.saw_bytes, grouped=False)

    def _write(
        self, folder: Path, work: Sequence[Work], *, describe: bool, measure: Measure | None = None
    ) -> Path:
        job = folder / "job"
        return write_job(
            job, work, self._programs(), self._blas, describe=describe, measure=measure
        )

    def _programs(self) -> Programs:
        assert self._root is not None, "prepare() comes first"  # noqa: S101
        loader = RootLoader(self._root, "arm64")
        env = {**loader.python_env(), "OPENBLAS_THREAD_TIMEOUT": "4"}
        if self._emulator is None:
            return Programs(
                caffe=loader.command("usr/bin/caffe"),
                python=loader.python(),
                preload=PRELOAD,
                huge_pages_off=True,
                env=env,
            )
        prefix = [self._emulator, "-L", str(self._root)]
        return Programs(
            caffe=[*prefix, str(self._root / "usr/bin/caffe")],
            python=[*prefix, str(self._root / "usr/bin/python3.9")],
            preload=PRELOAD,
            huge_pages_off=True,
            env_option="-E",
            env={
                **env,
                **emulation.environment(self.device.qemu_cpu),
                # Absolute links in the root lead out of it.
                "LD_LIBRARY_PATH": loader.library_path,
            },
        )


@dataclass(frozen=True, kw_only=True)
class _Held:
    """How a probe was limited, and how it died if it did. Sizes in bytes."""

    died: str | None
    asked_bytes: int
    saw_bytes: int | None
    grouped: bool


def find_emulator() -> str:
    for name in EMULATORS:
        path = shutil.which(name)
        if path is not None:
            return path
    raise HostError(
        "target sysroot needs QEMU's user-mode emulator, and there is no qemu-aarch64",
        hint="sudo apt-get install qemu-user",
    )


def _command(job: Path) -> list[str]:
    return sandboxed([sys.executable, "-I", str(job.parent / PROBE), str(job)])


def _outcome(piece: Work, session: ProbeSession, known: Calibration, held: _Held) -> Outcome:
    machine, result = session.machine or {}, session.result
    found = in_force(machine)
    return Outcome(
        work=piece,
        machine={**machine, **known.caffe} if machine else None,
        result=known.completed(result) if result is not None else None,
        died=None if result is not None else held.died or "the probe ended without a result",
        kept=session.kept,
        memory_limits=MemoryLimits(
            enforced_by="cgroup" if held.grouped else "watcher",
            memory_asked_bytes=held.asked_bytes,
            memory_bytes=found.memory_bytes if held.grouped else None,
            swap_bytes=found.swap_bytes if held.grouped else None,
            cores=machine.get("cores_usable"),
            emulator_bytes=known.emulator_bytes if held.grouped else 0,
            emulator_error_bytes=known.emulator_error_bytes,
            probe_bytes=known.probe_bytes if held.grouped else 0,
            calibrated=known.measured,
            watcher_saw_bytes=held.saw_bytes,
        ),
    )
