"""Networks in emulated machines: several machines at once, a new one when one dies."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pibench import process
from pibench.devices import Device
from pibench.engines.base import PROGRAM
from pibench.images.build import Builder, make_disk
from pibench.process import require_program, run
from pibench.targets.base import Job, Observer, Outcome, Progress, Watcher
from pibench.targets.emulation import OVERHEAD_BYTES
from pibench.targets.job import PRELOAD, Libraries, Programs, is_described, libraries_for, write_job
from pibench.targets.probe_session import ATTEMPTS, ProbeSession
from pibench.targets.scratch import scratch
from pibench.targets.vm.guest import Boot, Deadlines, boot
from pibench.targets.vm.machine import (
    MACHINES,
    Accelerator,
    Files,
    MachineName,
    accelerator_for,
    command_line,
    write_card,
)
from pibench.targets.worker_pool import places, share

GUEST_PROGRAMS = Programs(
    program=[f"/{PROGRAM}"],
    python=["/usr/bin/python3.9"],
    preload=PRELOAD,
    # Idle BLAS threads wait in a busy loop of 2^26 cycles; with more vCPUs than
    # the host has cores, they take cores from the working thread. 4 is the
    # least that OpenBLAS accepts (driver/others/blas_server.c).
    env={"OPENBLAS_THREAD_TIMEOUT": "4"},
)

if TYPE_CHECKING:
    from pibench.records.schema import Target as TargetName

_KILLED = re.compile(r"Killed process (\d+) ")


class VmTarget:
    """Runs work in QEMU's system emulation of the device."""

    name: TargetName = "vm"

    def __init__(
        self,
        device: Device,
        builder: Builder,
        *,
        machine: MachineName = "virt",
        machines_at_once: int | None = None,
    ) -> None:
        self.device = device
        self.builder = builder
        self.machine: MachineName | None = machine
        self._kind = MACHINES[machine]
        self._at_once = machines_at_once
        self._image: Path | None = None
        self._blas = Libraries()
        self._qemu_version: str | None = None
        self._accelerator: Accelerator = "tcg,thread=multi"

    def prepare(self, work: Sequence[Job]) -> None:
        """Build the image and, for memory-only compute, the BLAS."""
        qemu = require_program("qemu-system-aarch64", package="qemu-system-arm")
        said = run([qemu, "--version"], deadline_s=30).stdout.splitlines()
        self._qemu_version = said[0] if said else None
        self._accelerator = accelerator_for({job.compute for job in work})
        self._image = self.builder.vm().content
        self._blas = libraries_for(self.builder, "arm64", work)

    def environment(self) -> dict[str, str | None]:
        """Return QEMU's version and accelerator, and the lock that the image was built from."""
        return {
            "qemu_version": self._qemu_version,
            "qemu_accelerator": self._accelerator,
            "image_lock_digest": self.builder.lock.digest("arm64"),
        }

    def run(self, work: Sequence[Job], observe: Observer, watch: Watcher) -> None:
        """Divide the work among machines; each piece is observed once."""
        each_bytes = self.device.ram_bytes + OVERHEAD_BYTES
        shares = share(work, self._at_once or places(process.usable_cores(), each_bytes))
        try:
            asyncio.run(self._run_shares(shares, observe, watch))
        except BaseExceptionGroup as group:
            # Machines that run at once fail at once, mostly for the same reason.
            raise _first(group) from None

    async def _run_shares(
        self, shares: Sequence[Sequence[Job]], observe: Observer, watch: Watcher
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for pieces in shares:
                group.create_task(self._run_share(pieces, observe, watch))

    async def _run_share(self, work: Sequence[Job], observe: Observer, watch: Watcher) -> None:
        """Boot until each piece has its outcome."""
        waiting = deque(work)
        attempts: dict[str, int] = {}
        while waiting:
            session = ProbeSession(waiting, observe, watch)
            ended = await self.boot_once(list(waiting), session)
            _settle(session, ended, attempts)

    def goes_on(self, session: ProbeSession, event: dict[str, Any]) -> bool:
        """Take an event; return False where this machine is not reliable after it."""
        kind = session.take(event)
        if kind == "hello":
            session.watch(Progress(job=None, said="booted"))
        killed = kind == "result" and event["result"].get("signal") is not None
        return not (self._kind.reboot_after_oom and killed)

    async def boot_once(self, work: Sequence[Job], session: ProbeSession) -> Boot:
        """Run the work in one machine, and return how that ended."""
        machine = self._kind
        with scratch(self.name) as folder:
            files = await asyncio.to_thread(self._write_files, folder, work)
            argv = command_line(machine, self.device, files, self._accelerator)
            return await boot(
                argv,
                qmp_socket=files.qmp_socket,
                console_socket=files.console_socket,
                deadlines=Deadlines(
                    boot_s=machine.boot_deadline_s, silence_s=machine.silence_deadline_s
                ),
                on_event=partial(self.goes_on, session),
            )

    def _write_files(self, folder: Path, work: Sequence[Job]) -> Files:
        assert self._image is not None, "prepare() comes first"  # noqa: S101
        described = is_described(work)
        write_job(folder / "job", work, GUEST_PROGRAMS, self._blas, describe=described)
        machine = self._kind
        if machine.one_card:
            root_disk, job_disk = folder / "card.img", None
            write_card(root_disk, self._image / "root.ext4", folder / "job")
        else:
            root_disk, job_disk = self._image / "root.ext4", folder / "job.ext4"
            make_disk(folder / "job", job_disk)
        return Files(
            kernel=self._image / "vmlinuz",
            initrd=self._image / "initrd.gz",
            device_tree=self._image / machine.device_tree if machine.device_tree else None,
            root_disk=root_disk,
            job_disk=job_disk,
            qmp_socket=folder / "qmp",
            console_socket=folder / "console",
        )


def _settle(session: ProbeSession, ended: Boot, attempts: dict[str, int]) -> None:
    """Handle the end of a boot: a death costs the piece in flight an attempt, or is its outcome."""
    if not session.pending or (ended.died is None and session.results):
        return
    died = ended.died or "the probe ended without a result"
    work = session.running or session.pending[0]
    attempts[work.id] = attempts.get(work.id, 0) + 1
    # The console has the lines of the whole boot; those about earlier pieces are reported already.
    oom_lines = tuple(line for line in ended.oom_lines if not _is_about(line, session.pids))
    if oom_lines or attempts[work.id] >= ATTEMPTS:
        session.pending.remove(work)
        session.observe(
            Outcome(
                job=work,
                machine=session.machine,
                result=None,
                died=died,
                console_oom_lines=oom_lines,
            )
        )
    else:
        session.watch(Progress(job=work, said=f"{died}; booting again"))


def _is_about(oom_line: str, pids: set[int]) -> bool:
    killed = _KILLED.search(oom_line)
    return killed is not None and int(killed[1]) in pids


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group, however deep."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
