"""Target `container`: Docker Engine (or Podman) containers with the device's memory and cores.

Each network has a container of its own, observed by the probe, the kernel and the Engine; of many
networks, those that take little share one.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench.devices import Device
from pibench.engines.base import PROGRAM
from pibench.errors import HostError
from pibench.images.archive import (
    CONTAINER_ARCHITECTURE,
    container_tag,
    write_container_archive,
)
from pibench.images.build import Builder, on_x86_64
from pibench.images.rootfs import RootLoader
from pibench.images.store import Image
from pibench.targets import binfmt
from pibench.targets.base import BaselineKey, Job, Observer, Outcome, Watcher
from pibench.targets.confined import (
    ConfinedTarget,
    EmulatorOverhead,
    ProbeRun,
    cgroup_limits,
    effective_limits,
    outcome_of,
)
from pibench.targets.container.cell import (
    PYTHON,
    CapNotInForceError,
    Ending,
    Limits,
    Order,
    attest,
    limits_for,
    run_container,
)
from pibench.targets.container.engine import EngineFacts, connect, engine_faults, remove_orphans
from pibench.targets.job import CPU_REPORT, Programs, is_forkable
from pibench.targets.probe_session import ProbeSession
from pibench.targets.sandbox import scratch
from pibench.targets.worker_pool import PROGRAM_BYTES, partition

if TYPE_CHECKING:
    from docker import DockerClient

_SURELY: Final = 0.7
"""The share of the device's memory up to which a network is taken to fit, before it ran.

It is a guess from blobs and parameters. Of the paper's networks between 0.7 and 0.8 most do not
fit, and run twice.
"""
OVERHEAD_ROOM_BYTES: Final = 512 << 20
"""Added to the device's memory for the one container that measures how much is needed."""

PROGRAMS: Final = Programs(
    program=[f"/{PROGRAM}"],
    python=[PYTHON],
    huge_pages_off=True,
    # As in the virtual machine: idle BLAS threads must not occupy the cores.
    env={"OPENBLAS_THREAD_TIMEOUT": "4"},
)


class ContainerTarget(ConfinedTarget):
    """Runs each piece of work in its own container."""

    name = "container"

    def __init__(
        self, device: Device, builder: Builder, *, containers_at_once: int | None = None
    ) -> None:
        super().__init__(device, builder, at_once=containers_at_once)
        self._client: DockerClient | None = None
        self._facts: EngineFacts | None = None
        self._image: str = ""
        self._probe_root: Image | None = None

    def environment(self) -> dict[str, str | None]:
        """Return QEMU's version, the Engine and the image."""
        return {
            **super().environment(),
            "engine": str(self._facts) if self._facts else None,
            "container_image_id": self._image or None,
        }

    @property
    def _host_cores(self) -> int:
        return self._connected()[1].cores

    @property
    def _forks(self) -> bool:
        return True

    def _parts(self, work: Sequence[Job]) -> list[list[Job]]:
        """Return each piece by itself, but those together that fit and can be forked.

        What a piece takes is a guess here: one that does not end well among others runs again,
        by itself.
        """
        room = _SURELY * self.device.usable_bytes - PROGRAM_BYTES
        kinds: defaultdict[BaselineKey, list[Job]] = defaultdict(list)
        for piece in work:
            if piece.cost_bytes <= room and is_forkable(piece):
                kinds[piece.baseline_key].append(piece)
        together = [
            part
            for kind, pieces in kinds.items()
            if len(pieces) > self._turns.at_once and self._overheads[kind].baseline.get("forks")
            for part in partition(pieces, self._turns.at_once)
        ]
        those = {piece.id for part in together for piece in part}
        alone = [piece for piece in work if piece.id not in those]
        # What takes longest first: single networks fill the gaps at the end.
        return [*together, *super()._parts(alone)]

    def _run_part(
        self, part: Sequence[Job], stopping: threading.Event, *, observe: Observer, watch: Watcher
    ) -> None:
        """Run pieces in one container, and by itself each that does not end well there."""
        alone = list(part)
        if len(part) > 1:
            known = self._overheads[part[0].baseline_key]
            limits = self._limits(known.emulator_bytes + known.probe_bytes)
            session = ProbeSession(deque(part), watch=watch)

            def take(outcome: Outcome) -> None:
                attest(session.machine or {}, limits, emulated=self._is_emulated)
                if _ended_well(outcome.result or {}):
                    alone.remove(outcome.job)
                    in_force = effective_limits(session.machine or {})
                    held = cgroup_limits(limits.memory_bytes, in_force, known)
                    observe(
                        outcome_of(outcome.job, session, known, ProbeRun(died=None, limits=held))
                    )

            session.observe = take
            try:
                with scratch(self.name) as folder:
                    self._run(self._write(folder, part).parent, limits, session, stopping)
            except CapNotInForceError:
                raise
            except HostError:
                # The next piece runs into the same fault, and reports it.
                pass
        super()._run_part(alone, stopping, observe=observe, watch=watch)

    @property
    def _cores(self) -> int:
        return self._limits(0).cores

    @property
    def _is_emulated(self) -> bool:
        return not self._connected()[1].is_arm64

    def _prepare_host(self) -> dict[str, Any]:
        """Find the Engine and give it the image."""
        self._client, self._facts = connect()
        remove_orphans(self._client)
        if self._is_emulated:
            self._qemu_version = binfmt.require().qemu_version
        self._image = self._load(self.builder.sysroot())
        self._probe_root = self._find_probe_root()
        return {
            "image": self._image,
            "qemu": self._qemu_version,
            "cores": self._cores,
            "probe_root": self._probe_root.key if self._probe_root else None,
            "forks": True,
        }

    def _find_probe_root(self) -> Image | None:
        """Return the root whose Python runs the probe at full speed; None for the image's own.

        Emulated, the probe's Python takes longer to start than a small network takes to run.
        """
        # The program that reports the emulated CPU is started from the job's folder.
        may_start = not os.statvfs(tempfile.gettempdir()).f_flag & os.ST_NOEXEC
        if self._is_emulated and self._connected()[1].is_x86_64 and on_x86_64() and may_start:
            # It may be missing where the images were installed from files.
            with contextlib.suppress(HostError):
                return self.builder.twin()
        return None

    def _probe_python(self) -> Sequence[str] | None:
        if self._probe_root is None:
            return None
        return RootLoader(self._probe_root.content / "root", "amd64").python()

    def _programs(self) -> Programs:
        return replace(PROGRAMS, cpu_report=CPU_REPORT) if self._probe_root else PROGRAMS

    def _load(self, root: Image) -> str:
        """Return the image's id in the Engine; load the image where the Engine lacks it."""
        import docker.errors  # noqa: PLC0415  (start-up time)

        client, tag = self._connected()[0], container_tag(root)
        with engine_faults("to look up the image"):
            try:
                return str(client.images.get(tag).id)
            except docker.errors.ImageNotFound:
                pass
        self.builder.report("handing the image to the Engine")
        with scratch(self.name) as folder:
            archive = folder / "image.tar"
            write_container_archive(root, archive)
            with engine_faults("to load the image"), archive.open("rb") as file:
                client.images.load(file)
        with engine_faults("to look up the image"):
            image = client.images.get(tag)
        architecture = image.attrs.get("Architecture")
        if architecture != CONTAINER_ARCHITECTURE:
            raise HostError(
                f"the Engine took the arm64 image for {architecture}",
                hint="this is a fault of the Engine; use --target sysroot or --target vm",
            )
        return str(image.id)

    def _measure(self, job: Path, session: ProbeSession) -> None:
        self._run(job.parent, self._limits(OVERHEAD_ROOM_BYTES), session, threading.Event())

    def _probe(
        self, job: Path, session: ProbeSession, stopping: threading.Event, known: EmulatorOverhead
    ) -> ProbeRun:
        limits = self._limits(known.emulator_bytes + known.probe_bytes)
        fault = None
        try:
            ending = self._run(job.parent, limits, session, stopping)
        except CapNotInForceError:
            raise
        except HostError as error:
            ending, fault = Ending.unknown(error.message), error
        about_all = self._connected()[1].reports_children and ending.oom_killed is not None
        memory_limits = replace(
            cgroup_limits(limits.memory_bytes, effective_limits(session.machine or {}), known),
            container_exit_code=ending.exit_code,
            # A false value that does not concern Caffe is not a contradiction.
            container_oom_killed=ending.oom_killed or (False if about_all else None),
        )
        return ProbeRun(died=_in_words(ending), limits=memory_limits, fault=fault)

    def _run(
        self, job: Path, limits: Limits, session: ProbeSession, stopping: threading.Event
    ) -> Ending:
        client, facts = self._connected()
        order = Order(
            image=self._image,
            job=job,
            limits=limits,
            emulated=self._is_emulated,
            probe_root=self._probe_root.content / "root" if self._probe_root else None,
        )
        return run_container(
            client,
            order,
            attesting(session, limits, emulated=self._is_emulated),
            stopping=stopping,
            turns=self._turns,
            out_of_memory=lambda: facts.reports_children and _ran_out_of_memory(session.result),
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

    def take_output(chunk: bytes) -> bool:
        # With the result once more: a result does not count if its hello was lost.
        if {"hello", "result"}.intersection(session.feed(chunk)):
            attest(session.machine or {}, limits, emulated=emulated)
        return session.ended

    return take_output


def _ended_well(result: dict[str, Any]) -> bool:
    """Return whether a network ended by itself, and nothing was killed in its container then."""
    return result.get("exit_status") == 0 and not result.get("cgroup_oom_kills")


def _ran_out_of_memory(result: dict[str, Any] | None) -> bool:
    return result is not None and bool(result["cgroup_oom_kills"])


def _in_words(ending: Ending) -> str:
    """Describe how a container ended."""
    words = ending.died or "the probe ended without a result"
    if ending.exit_code is not None:
        words += f", exit code {ending.exit_code}"
    return words + (", OOMKilled" if ending.oom_killed else "")
