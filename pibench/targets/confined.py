"""What targets do alike that limit each network's process on a machine with more memory.

The memory of the emulator and of the probe is measured once, and stored with its error.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any, Final

from pibench import cache, settings
from pibench.devices import Device
from pibench.errors import HostError
from pibench.images.build import Builder
from pibench.images.recipe import fingerprint
from pibench.probe.cgroup import limit_of
from pibench.probe.forks import SAME_PEAK_BYTES
from pibench.targets.base import BaselineKey, Job, MemoryLimits, Observer, Outcome, Watcher
from pibench.targets.job import (
    ByteCode,
    Libraries,
    Measure,
    Programs,
    byte_code_of_probe,
    can_fork,
    engine_key,
    is_forkable,
    libraries_for,
    probe_digest,
    write_job,
)
from pibench.targets.local import TwinTarget
from pibench.targets.probe_session import ATTEMPTS, ProbeSession
from pibench.targets.sandbox import scratch
from pibench.targets.worker_pool import (
    Turns,
    largest_first,
    pieces_at_once,
    pooled,
    serialised,
)

if TYPE_CHECKING:
    from pibench.target_kinds import Machine

PAGE_BYTES: Final = 4096
_FORMAT: Final = 1
"""Version of the stored overheads."""
_REPEATS: Final = 3
_WORTH_COMPILING: Final = 6
"""From so many probes on, compiling their code once takes less time than each probe doing so."""


@dataclass(frozen=True, kw_only=True)
class EmulatorOverhead:
    """Measurements of the programs without a network, on one target, for one kind of work.

    `baseline` is a result of the probe (see pibench/probe): the same program
    waiting for a network. `emulator_bytes` is QEMU's memory in a process
    whose guest fills the device. `emulator_error_bytes` is the difference between
    two measures of QEMU's memory in the bare program: QEMU's own mappings, and
    the emulated program's memory less the amd64 twin's; None without a twin.
    `probe_bytes` is the probe's own memory. `caffe` has the versions of Caffe and
    of the BLAS. `measured` is a date.
    """

    baseline: dict[str, Any]
    emulator_bytes: int
    emulator_error_bytes: int | None
    probe_bytes: int
    caffe: dict[str, Any]
    measured: str

    def completed(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return a result of the probe, completed with what it left out as already known.

        For a process that ended before the emulator's memory could be sampled, the
        value of the bare program is used.
        """
        emulator_bytes = result["emulator_rss_bytes"]
        if emulator_bytes is None:
            emulator_bytes = self.baseline["emulator_rss_bytes"]
        return {**result, "baseline": self.baseline, "emulator_rss_bytes": emulator_bytes}


@dataclass(frozen=True, kw_only=True)
class ProbeRun:
    """How one probe ended: why it died, if it did, and how its network was limited.

    `fault` is an error of this machine, which ends the run after the outcome is reported.
    """

    died: str | None
    limits: MemoryLimits | None
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


def cgroup_limits(
    requested_bytes: int, effective: EffectiveLimits, known: EmulatorOverhead
) -> MemoryLimits:
    """Return the limits of a process that a memory cgroup confined."""
    return MemoryLimits(
        enforced_by="cgroup",
        memory_asked_bytes=requested_bytes,
        **asdict(effective),
        emulator_bytes=known.emulator_bytes,
        emulator_error_bytes=known.emulator_error_bytes,
        probe_bytes=known.probe_bytes,
        calibrated=known.measured,
    )


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
        self._byte_code: ByteCode = {}
        self._turns = Turns(1)
        self._to_preload = 0
        """How many of the next probes read the programs' files: those that start a run."""

    def prepare(self, work: Sequence[Job]) -> None:
        """Find the emulator, build the image, and measure the emulator's memory where unknown.

        Raises HostError for what is missing.
        """
        identity = self._prepare_host()
        self._blas = libraries_for(self.builder, "arm64", work, forks=self._forks)
        python = self._probe_python()
        probes = min(len(work), self._host_cores) if self._places else len(work)
        if python is not None and probes >= _WORTH_COMPILING:
            self._byte_code = byte_code_of_probe(python)
        for kind in dict.fromkeys(piece.baseline_key for piece in work):
            parts = {
                **identity,
                "blas": self.builder.key("blas-arm64") if self._blas.memory_only else None,
                "engine": engine_key(kind.engine),
                "kind": [kind.protocol, kind.compute, min(kind.threads, self._cores), kind.blas],
                "setup": kind.setup,
                "fork_layers": self.builder.key("layers-arm64") if kind.fork_layers else None,
                "device": self.device.usable_bytes,
            }
            self._overheads[kind] = stored_overhead(
                self.name, parts, partial(self._measure_overhead, kind)
            )

    def environment(self) -> dict[str, str | None]:
        """Return QEMU's version and the lock that the image was built from."""
        return {
            "qemu_version": self._qemu_version,
            "image_lock_digest": self.builder.lock.digest("arm64"),
        }

    def run(self, work: Sequence[Job], observe: Observer, watch: Watcher) -> None:
        """Run each piece; several in parallel where only memory is measured.

        Twice as many threads then: one prepares or removes its piece, or has the peak of a killed
        network measured on the twin, while others run. One at a time is in order, and where
        arithmetic is timed, nothing else happens meanwhile.
        """
        at_once = pieces_at_once(
            work,
            wanted=self._at_once,
            cores=self._host_cores,
            each_bytes=self.device.usable_bytes,
        )
        run_part = partial(self._run_part, observe=serialised(observe), watch=watch)
        self._turns = Turns(at_once)
        self._to_preload = at_once
        pooled(self._parts(work), at_once if at_once == 1 else 2 * at_once, run_part)

    def _parts(self, work: Sequence[Job]) -> list[list[Job]]:
        """Return what one probe runs each, in the order of starting: a piece by itself."""
        return [[piece] for piece in largest_first(work)]

    def _run_part(
        self, part: Sequence[Job], stopping: threading.Event, *, observe: Observer, watch: Watcher
    ) -> None:
        """Run the pieces of one part."""
        for piece in part:
            if not stopping.is_set():
                self._run_piece(piece, stopping, observe=observe, watch=watch)

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
    def _probe_python(self) -> Sequence[str] | None:
        """Return how this machine starts the Python that runs the probe; None if it does not."""

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
            repeats=_REPEATS,
            fill_bytes=self.device.usable_bytes if self._is_emulated else None,
        )
        session = ProbeSession()
        with scratch(self.name) as folder:
            self._measure(self._write(folder, [], measure), session)
        return conclude(session, measure, self.builder)

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
                observe(outcome_of(piece, session, known, ended))
                raise ended.fault
            if stopping.is_set():
                return
            if session.result is not None or attempt == ATTEMPTS:
                observe(outcome_of(piece, session, known, ended))
                return

    def _write(self, folder: Path, work: Sequence[Job], measure: Measure | None = None) -> Path:
        known = [self._overheads[piece.baseline_key].baseline for piece in work]
        mapped: set[str] = set()
        if self._to_preload > 0:
            self._to_preload -= 1
            mapped.update(*(one.get("mapped") or () for one in known))
        return write_job(
            folder / "job",
            work,
            self._programs(),
            self._blas,
            describe=measure is not None,
            measure=measure,
            byte_code=self._byte_code,
            mapped=sorted(mapped),
            forks=self._forks and self._may_fork(work, measure),
            places=self._places,
        )

    @property
    def _places(self) -> bool:
        """Whether each process of a probe gets a control group of its own from this target."""
        return False

    @property
    def _forks(self) -> bool:
        """Whether one probe runs several networks, for which it loads Caffe once."""
        return self._places

    def _may_fork(self, work: Sequence[Job], measure: Measure | None) -> bool:
        """Return whether forked processes have the same memory, or whether that is to be seen."""
        if measure is not None:
            return all(map(is_forkable, measure.kinds))
        known = [self._overheads[piece.baseline_key].baseline for piece in work]
        return can_fork(work) and all(one.get("forks") for one in known)


def outcome_of(
    piece: Job, session: ProbeSession, known: EmulatorOverhead, ended: ProbeRun
) -> Outcome:
    """Return the outcome of a piece: the last result of its probe, or how that died."""
    result = session.result
    return Outcome(
        job=piece,
        machine={**session.machine, **known.caffe} if session.machine else None,
        result=known.completed(result) if result is not None else None,
        died=None if result is not None else ended.died or "the probe ended without a result",
        kept=session.kept,
        memory_limits=ended.limits,
    )


def stored_overhead(
    name: str, parts: Mapping[str, Any], measure: Callable[[], EmulatorOverhead]
) -> EmulatorOverhead:
    """Return the overhead for what `parts` name; measure it if the cache does not have it."""
    key = fingerprint({"format": _FORMAT, "probe": probe_digest(), **parts})
    path = settings.cache_dir() / "calibrations" / f"{name}-{key[:16]}.json"
    if (kept := cache.kept_values(path)) is not None:
        return EmulatorOverhead(**kept)
    overhead = measure()
    cache.keep_values(path, asdict(overhead), "is measured for each run")
    return overhead


def conclude(session: ProbeSession, wanted: Measure, builder: Builder) -> EmulatorOverhead:
    """Return the overhead from a probe's report here and the same programs on the twin.

    Raises HostError where the probe reported too little, or where the program did
    not get as far as waiting for a network.
    """
    if session.calibration is None:
        raise HostError(
            "the probe could not measure the bare program: "
            f"{session.frames.last_words() or 'no word'}",
            hint="check the image: pibench image verify",
        )
    machine = session.machine or {}
    caffe = {name: machine.get(name) for name in ("engine_version", "blas", "blas_core")}
    twin = None
    if wanted.fill_bytes is not None:
        # They are emulated. A machine that cannot run the twin measures no error.
        with contextlib.suppress(HostError):
            twin = TwinTarget(builder).measure(replace(wanted, fill_bytes=None))
    return evaluate(session.calibration, caffe, twin)


def evaluate(
    seen: dict[str, Any], caffe: dict[str, Any], twin: dict[str, Any] | None
) -> EmulatorOverhead:
    """Return the overhead from the probes' reports; `twin` is None if it was not measured."""
    baseline = _typical(seen)
    emulator = baseline["emulator_rss_bytes"] or 0
    filled = seen["filled"] or {}
    error = None
    if twin is not None and emulator:
        by_twin = baseline["peak_rss_bytes"] - _typical(twin)["peak_rss_bytes"]
        error = abs(by_twin - emulator)
    return EmulatorOverhead(
        baseline=baseline,
        emulator_bytes=max(emulator, filled.get("emulator_rss_bytes") or 0),
        emulator_error_bytes=error,
        probe_bytes=(seen["probe_rss_kib"] or 0) * 1024,
        caffe=caffe,
        measured=datetime.now(UTC).date().isoformat(),
    )


def _typical(seen: dict[str, Any]) -> dict[str, Any]:
    """Return the run with the median peak among several runs of the bare program."""
    (runs,) = seen["bare"]
    for run in runs:
        if run["exit_status"] != 0:
            reason = run["fatal_message"] or " | ".join(run["log_tail"][-3:]) or "no output"
            ending = f"signal {run['signal']}" if run["signal"] else f"status {run['exit_status']}"
            raise HostError(
                f"Caffe does not come as far as to read a network here ({ending}): {reason}",
                hint="check the image: pibench image verify",
            )
    middle = median_low(run["peak_rss_bytes"] for run in runs)
    chosen: dict[str, Any] = next(run for run in runs if run["peak_rss_bytes"] == middle)
    # Each run was compared with one that was forked. The kernel sums up a group's charges with an
    # error of 64 pages of each CPU.
    differ = [run.get("fork_differs_bytes") for run in runs]
    forks = None not in differ and median_low(differ) <= SAME_PEAK_BYTES
    return {**chosen, "forks": forks}
