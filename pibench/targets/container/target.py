"""Networks in one container each, observed by the probe, the kernel and the Engine."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench.devices import Device
from pibench.errors import HostError
from pibench.images import container as container_image
from pibench.images.build import Builder
from pibench.images.store import Image
from pibench.targets import binfmt, calibration
from pibench.targets.base import Kind, MemoryLimits, Observer, Outcome, Watcher, Work
from pibench.targets.calibration import Calibration
from pibench.targets.container.cell import PYTHON, Ending, Order, run_container
from pibench.targets.container.engine import EngineFacts, connect, engine_faults
from pibench.targets.container.leftovers import sweep
from pibench.targets.container.limits import CapNotInForceError, Limits, attest, limits_for
from pibench.targets.group_limits import in_force
from pibench.targets.job import PRELOAD, Libraries, Measure, Programs, libraries_for, write_job
from pibench.targets.probe_session import ATTEMPTS, ProbeSession
from pibench.targets.scratch import scratch
from pibench.targets.sharing import pieces_at_once, pooled, serialised

if TYPE_CHECKING:
    from docker import DockerClient
    from pibench.records.schema import Machine
    from pibench.records.schema import Target as TargetName

CALIBRATION_ROOM_BYTES: Final = 512 << 20
"""Added to the device's memory for the one container that measures how much is needed."""

PROGRAMS: Final = Programs(
    caffe=["/usr/bin/caffe"],
    python=[PYTHON],
    preload=PRELOAD,
    huge_pages_off=True,
    # As in the virtual machine: idle BLAS threads must not occupy the cores.
    env={"OPENBLAS_THREAD_TIMEOUT": "4"},
)


class ContainerTarget:
    """Runs each piece of work in its own container."""

    name: TargetName = "container"
    machine: Machine | None = None

    def __init__(
        self, device: Device, builder: Builder, *, containers_at_once: int | None = None
    ) -> None:
        self.device = device
        self.builder = builder
        self._at_once = containers_at_once
        self._client: DockerClient | None = None
        self._facts: EngineFacts | None = None
        self._qemu_version: str | None = None
        self._image: str = ""
        self._blas = Libraries()
        self._calibrations: dict[Kind, Calibration] = {}

    # ------------------------------------------------------------ before anything runs

    def prepare(self, work: Sequence[Work]) -> None:
        """Find the Engine, give it the image, and measure the emulator's memory where unknown.

        Raises:
            HostError: something required is missing.
            CapNotInForceError: a limit is not in force.
        """
        self._client, self._facts = connect()
        sweep(self._client)
        if not self._facts.is_arm64:
            self._qemu_version = binfmt.require().qemu_version
        root = self.builder.sysroot()
        self._image = self._load(root)
        self._blas = libraries_for(self.builder, "arm64", work)
        for kind in dict.fromkeys(piece.kind for piece in work):
            self._calibrations[kind] = self._calibration(kind)

    def environment(self) -> dict[str, str | None]:
        """Return QEMU's version, the Engine and the image."""
        return {
            "qemu_version": self._qemu_version,
            "image_lock_digest": self.builder.lock.digest("arm64"),
            "engine": str(self._facts) if self._facts else None,
            "container_image_id": self._image or None,
        }

    def _load(self, root: Image) -> str:
        """Return the image's id in the Engine; load the image where the Engine lacks it."""
        import docker.errors  # noqa: PLC0415  (start-up time)

        client, tag = self._connected()[0], container_image.tag_of(root)
        with engine_faults("when asked for its image"):
            try:
                return str(client.images.get(tag).id)
            except docker.errors.ImageNotFound:
                pass
        self.builder.report("handing the image to the Engine")
        with scratch(self.name) as folder:
            archive = folder / "image.tar"
            container_image.write_archive(root, archive)
            with engine_faults("to load the image"), archive.open("rb") as file:
                client.images.load(file)
        with engine_faults("when asked for its image"):
            image = client.images.get(tag)
        architecture = image.attrs.get("Architecture")
        if architecture != container_image.ARCHITECTURE:
            raise HostError(
                f"the Engine took the arm64 image for {architecture}",
                hint="this is a fault of the Engine; use --target sysroot or --target vm",
            )
        return str(image.id)

    def _calibration(self, kind: Kind) -> Calibration:
        """Return the memory of bare programs for this image, emulator, BLAS and number of cores."""
        cores = self._limits(0).cores
        parts = {
            "image": self._image,
            "qemu": self._qemu_version,
            "blas": self.builder.key("blas-arm64") if self._blas.memory_only else None,
            "kind": [kind.protocol, kind.compute, min(kind.threads, cores), kind.blas],
            "device": self.device.usable_bytes,
            "cores": cores,
        }
        return calibration.stored(self.name, parts, partial(self._calibrate, kind))

    def _calibrate(self, kind: Kind) -> Calibration:
        self.builder.report(f"measuring, once, what Caffe and the emulator hold ({kind.protocol})")
        emulated = not self._connected()[1].is_arm64
        measure = Measure(
            kinds=[kind],
            repeats=calibration.REPEATS,
            fill_bytes=self.device.usable_bytes if emulated else None,
        )
        session = ProbeSession()
        limits = self._limits(CALIBRATION_ROOM_BYTES)
        with scratch(self.name) as folder:
            write_job(folder / "job", [], PROGRAMS, self._blas, describe=True, measure=measure)
            self._run(folder / "job", limits, session, threading.Event())
        return calibration.conclude(session, measure, self.builder)

    # ------------------------------------------------------------ the work

    def run(self, work: Sequence[Work], observe: Observer, watch: Watcher) -> None:
        """Run each piece in a container; several in parallel where only memory is measured."""
        at_once = pieces_at_once(
            work,
            wanted=self._at_once,
            cores=self._connected()[1].cores,
            each_bytes=self._limits(0).memory_bytes,
        )
        run_piece = partial(self._run_piece, observe=serialised(observe), watch=watch)
        pooled(work, at_once, run_piece)

    def _run_piece(
        self, piece: Work, stopping: threading.Event, *, observe: Observer, watch: Watcher
    ) -> None:
        """Run one piece; where the Engine fails, report its outcome before raising the error."""
        known = self._calibrations[piece.kind]
        limits = self._limits(known.emulator_bytes + known.probe_bytes)
        for attempt in range(1, ATTEMPTS + 1):
            session = ProbeSession(deque([piece]), watch=watch)
            try:
                with scratch(self.name) as folder:
                    write_job(folder / "job", [piece], PROGRAMS, self._blas, describe=False)
                    ending = self._run(folder / "job", limits, session, stopping)
            except CapNotInForceError:
                raise
            except HostError as fault:
                observe(self._outcome(piece, session, limits, Ending.unknown(fault.message)))
                raise
            if stopping.is_set():
                return
            if session.result is not None or attempt == ATTEMPTS:
                observe(self._outcome(piece, session, limits, ending))
                return

    def _run(
        self, job: Path, limits: Limits, session: ProbeSession, stopping: threading.Event
    ) -> Ending:
        client, facts = self._connected()
        order = Order(image=self._image, job=job, limits=limits, emulated=not facts.is_arm64)
        return run_container(
            client,
            order,
            attesting(session, limits, emulated=not facts.is_arm64),
            stopping,
            lambda: facts.tells_of_children and _ran_out_of_memory(session.result),
        )

    def _outcome(
        self, piece: Work, session: ProbeSession, limits: Limits, ending: Ending
    ) -> Outcome:
        known = self._calibrations[piece.kind]
        result = known.completed(session.result) if session.result is not None else None
        found = in_force(session.machine or {})
        about_all = self._connected()[1].tells_of_children and ending.oom_killed is not None
        return Outcome(
            work=piece,
            machine={**session.machine, **known.caffe} if session.machine else None,
            result=result,
            died=None if result is not None else _told(ending),
            kept=session.kept,
            memory_limits=MemoryLimits(
                enforced_by="cgroup",
                memory_asked_bytes=limits.memory_bytes,
                memory_bytes=found.memory_bytes,
                swap_bytes=found.swap_bytes,
                cores=found.cores,
                emulator_bytes=known.emulator_bytes,
                emulator_error_bytes=known.emulator_error_bytes,
                probe_bytes=known.probe_bytes,
                calibrated=known.measured,
                container_exit_code=ending.exit_code,
                # A false value that does not concern Caffe is not a contradiction.
                container_oom_killed=ending.oom_killed or (False if about_all else None),
            ),
        )

    def _limits(self, allowance_bytes: int) -> Limits:
        cores = self._connected()[1].cores
        return limits_for(self.device, allowance_bytes=allowance_bytes, host_cores=cores)

    def _connected(self) -> tuple[DockerClient, EngineFacts]:
        assert self._client is not None  # noqa: S101  (prepare() comes first)
        assert self._facts is not None  # noqa: S101
        return self._client, self._facts


def attesting(session: ProbeSession, limits: Limits, *, emulated: bool) -> Callable[[bytes], bool]:
    """Return a function that gives a container's output to the session, and whether it ended.

    It raises CapNotInForceError where the probe does not report the limits that were requested.
    """

    def hear(chunk: bytes) -> bool:
        # With the result once more: a result does not count if its hello was lost.
        if {"hello", "result"}.intersection(session.feed(chunk)):
            attest(session.machine or {}, limits, emulated=emulated)
        return session.ended

    return hear


def _ran_out_of_memory(result: dict[str, Any] | None) -> bool:
    return result is not None and bool(result["cgroup_oom_kills"])


def _told(ending: Ending) -> str:
    """Describe in words how a container ended."""
    said = ending.died or "the probe ended without a result"
    if ending.exit_code is not None:
        said += f", exit code {ending.exit_code}"
    return said + (", OOMKilled" if ending.oom_killed else "")
