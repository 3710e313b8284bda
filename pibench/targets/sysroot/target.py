"""Networks in processes of qemu-user over the unpacked root, one probe each."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

from pibench import process
from pibench.devices import Device
from pibench.engines.base import PROGRAM
from pibench.errors import HostError
from pibench.images.build import Builder
from pibench.images.loader import RootLoader
from pibench.process import run, running
from pibench.target_kinds import kind_of
from pibench.targets import emulation
from pibench.targets.base import MemoryLimits
from pibench.targets.confined import PAGE_BYTES, ConfinedTarget, ProbeRun, effective_limits
from pibench.targets.emulator_overhead import EmulatorOverhead
from pibench.targets.job import PRELOAD, PROBE, Programs
from pibench.targets.probe_session import ProbeSession, listen
from pibench.targets.sandbox import sandboxed
from pibench.targets.sysroot import cgroup, watcher

_VERSION: Final = re.compile(r"^qemu-aarch64\S* version [^\n]*")


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
        self._grouping = cgroup.available() if use_cgroup else None
        self._emulator: str | None = None
        self._root: Path | None = None

    @property
    def _host_cores(self) -> int:
        return process.usable_cores()

    @property
    def _is_emulated(self) -> bool:
        return self._emulator is not None

    def _prepare_host(self) -> dict[str, Any]:
        cgroup.remove_orphans()
        if emulation.needed():
            self._emulator = find_emulator()
            said = run([self._emulator, "--version"], deadline_s=30).stdout
            named = _VERSION.match(said)
            self._qemu_version = named[0] if named else said.partition("\n")[0]
        image = self.builder.sysroot()
        self._root = image.content / "root"
        return {
            "image": image.key,
            "qemu": [self._qemu_version, Path(self._emulator or "").name],
        }

    def _measure(self, job: Path, session: ProbeSession) -> None:
        with running(_command(job), stdout=subprocess.PIPE) as probe:
            listen(probe, session, threading.Event())

    def _probe(
        self, job: Path, session: ProbeSession, stopping: threading.Event, known: EmulatorOverhead
    ) -> ProbeRun:
        """Run one probe, limited in whichever way this machine allows."""
        usable_bytes = self.device.usable_bytes
        if self._grouping is None:
            with (
                running(_command(job), stdout=subprocess.PIPE) as probe,
                watcher.watched(
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
        requested = requested // PAGE_BYTES * PAGE_BYTES
        with (
            self._grouping.started(_command(job), requested) as argv,
            running(argv, stdout=subprocess.PIPE) as probe,
        ):
            died = listen(probe, session, stopping)
        effective = effective_limits(session.machine or {})
        limits = MemoryLimits(
            enforced_by="cgroup",
            memory_asked_bytes=requested,
            memory_bytes=effective.memory_bytes,
            swap_bytes=effective.swap_bytes,
            cores=(session.machine or {}).get("cores_usable"),
            emulator_bytes=known.emulator_bytes,
            emulator_error_bytes=known.emulator_error_bytes,
            probe_bytes=known.probe_bytes,
            calibrated=known.measured,
        )
        return ProbeRun(died=died, limits=limits)

    def _programs(self) -> Programs:
        assert self._root is not None, "prepare() comes first"  # noqa: S101
        loader = RootLoader(self._root, "arm64")
        env = {**loader.python_env(), "OPENBLAS_THREAD_TIMEOUT": "4"}
        if self._emulator is None:
            return Programs(
                program=loader.command(PROGRAM),
                python=loader.python(),
                preload=PRELOAD,
                huge_pages_off=True,
                env=env,
            )
        prefix = [self._emulator, "-L", str(self._root)]
        return Programs(
            program=[*prefix, str(self._root / PROGRAM)],
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


def _command(job: Path) -> list[str]:
    return sandboxed([sys.executable, "-I", str(job.parent / PROBE), str(job)])
