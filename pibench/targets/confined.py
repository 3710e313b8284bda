"""What targets do alike that limit each network's process on a machine with more memory."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pibench.devices import Device
from pibench.errors import HostError
from pibench.images.build import Builder
from pibench.probe.cgroup import limit_of
from pibench.targets import emulator_overhead
from pibench.targets.base import BaselineKey, Job, MemoryLimits, Observer, Outcome, Watcher
from pibench.targets.emulator_overhead import EmulatorOverhead
from pibench.targets.job import Libraries, Measure, Programs, engine_key, libraries_for, write_job
from pibench.targets.probe_session import ATTEMPTS, ProbeSession
from pibench.targets.scratch import scratch
from pibench.targets.worker_pool import pieces_at_once, pooled, serialised

if TYPE_CHECKING:
    from pibench.records.schema import Machine

PAGE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class ProbeRun:
    """How one probe ended: why it died, if it did, and how its network was limited.

    `fault` is an error of this machine, which ends the run after the outcome is reported.
    """

    died: str | None
    limits: MemoryLimits
    fault: HostError | None = None


@dataclass(frozen=True, kw_only=True)
class EffectiveLimits:
    """The limits that the probe read inside: bytes and cores, None where it could read nothing."""

    memory_bytes: int | None
    swap_bytes: int | None
    cores: float | None


def effective_limits(machine: Mapping[str, Any]) -> EffectiveLimits:
    """Return the limits in a probe's `hello` event, for version 1 and 2 of control groups."""
    memory = machine.get("cgroup_memory") or {}
    limit = limit_of(memory.get("limit"))
    swap = limit_of(memory.get("swap_limit"))
    if memory.get("version") == 1 and swap is not None and limit is not None:
        # Version 1 limits memory and swap together.
        swap -= limit
    if swap is None and machine.get("swap_total_kib") == 0:
        swap = 0
    quota = machine.get("cgroup_cpu") or {}
    usable = machine.get("cores_usable")
    cores = quota["quota_us"] / quota["period_us"] if quota.get("quota_us") else None
    if cores is not None and usable is not None:
        cores = min(cores, float(usable))
    return EffectiveLimits(memory_bytes=limit, swap_bytes=swap, cores=cores)


class ConfinedTarget(ABC):
    """Runs each piece of work under a probe of its own, limited to the device's memory."""

    name: str
    machine: Machine | None = None

    def __init__(self, device: Device, builder: Builder, *, at_once: int | None) -> None:
        self.device = device
        self.builder = builder
        self._at_once = at_once
        self._qemu_version: str | None = None
        self._blas = Libraries()
        self._overheads: dict[BaselineKey, EmulatorOverhead] = {}

    def prepare(self, work: Sequence[Job]) -> None:
        """Find the emulator, build the image, and measure the emulator's memory where unknown.

        Raises HostError for what is missing.
        """
        identity = self._prepare_host()
        self._blas = libraries_for(self.builder, "arm64", work)
        for kind in dict.fromkeys(piece.baseline_key for piece in work):
            parts = {
                **identity,
                "blas": self.builder.key("blas-arm64") if self._blas.memory_only else None,
                "engine": engine_key(kind.engine),
                "kind": [kind.protocol, kind.compute, min(kind.threads, self._cores), kind.blas],
                "device": self.device.usable_bytes,
            }
            self._overheads[kind] = emulator_overhead.stored(
                self.name, parts, partial(self._measure_overhead, kind)
            )

    def environment(self) -> dict[str, str | None]:
        """Return QEMU's version and the lock that the image was built from."""
        return {
            "qemu_version": self._qemu_version,
            "image_lock_digest": self.builder.lock.digest("arm64"),
        }

    def run(self, work: Sequence[Job], observe: Observer, watch: Watcher) -> None:
        """Run each piece; several in parallel where only memory is measured."""
        at_once = pieces_at_once(
            work,
            wanted=self._at_once,
            cores=self._host_cores,
            each_bytes=self.device.usable_bytes,
        )
        run_piece = partial(self._run_piece, observe=serialised(observe), watch=watch)
        pooled(work, at_once, run_piece)

    @abstractmethod
    def _prepare_host(self) -> dict[str, Any]:
        """Prepare this machine; return what the emulator's memory depends on."""

    @property
    @abstractmethod
    def _host_cores(self) -> int:
        """The cores that this machine offers."""

    @property
    def _cores(self) -> int:
        """The cores that a network gets."""
        return self._host_cores

    @property
    @abstractmethod
    def _is_emulated(self) -> bool:
        """Whether an emulator runs the network."""

    @abstractmethod
    def _programs(self) -> Programs:
        """Return the command lines of the engine."""

    @abstractmethod
    def _measure(self, job: Path, session: ProbeSession) -> None:
        """Run a probe that measures the bare programs, with room to spare."""

    @abstractmethod
    def _probe(
        self, job: Path, session: ProbeSession, stopping: threading.Event, known: EmulatorOverhead
    ) -> ProbeRun:
        """Run one probe within the limits."""

    def _measure_overhead(self, kind: BaselineKey) -> EmulatorOverhead:
        self.builder.report(
            f"measuring once: the memory of {kind.engine} and the emulator ({kind.protocol})"
        )
        measure = Measure(
            kinds=[kind],
            repeats=emulator_overhead.REPEATS,
            fill_bytes=self.device.usable_bytes if self._is_emulated else None,
        )
        session = ProbeSession()
        with scratch(self.name) as folder:
            self._measure(self._write(folder, [], measure), session)
        return emulator_overhead.conclude(session, measure, self.builder)

    def _run_piece(
        self, piece: Job, stopping: threading.Event, *, observe: Observer, watch: Watcher
    ) -> None:
        """Run one piece; where the host fails, report its outcome before raising the error."""
        known = self._overheads[piece.baseline_key]
        for attempt in range(1, ATTEMPTS + 1):
            session = ProbeSession(deque([piece]), watch=watch)
            with scratch(self.name) as folder:
                ended = self._probe(self._write(folder, [piece]), session, stopping, known)
            if ended.fault is not None:
                observe(_outcome(piece, session, known, ended))
                raise ended.fault
            if stopping.is_set():
                return
            if session.result is not None or attempt == ATTEMPTS:
                observe(_outcome(piece, session, known, ended))
                return

    def _write(self, folder: Path, work: Sequence[Job], measure: Measure | None = None) -> Path:
        return write_job(
            folder / "job",
            work,
            self._programs(),
            self._blas,
            describe=measure is not None,
            measure=measure,
        )


def _outcome(
    piece: Job, session: ProbeSession, known: EmulatorOverhead, ended: ProbeRun
) -> Outcome:
    result = session.result
    return Outcome(
        job=piece,
        machine={**session.machine, **known.caffe} if session.machine else None,
        result=known.completed(result) if result is not None else None,
        died=None if result is not None else ended.died or "the probe ended without a result",
        kept=session.kept,
        memory_limits=ended.limits,
    )
