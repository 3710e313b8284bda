"""Target `vm`: real Caffe in a full machine emulated by QEMU, without root or a daemon.

Several machines run at once, and a new one replaces one that dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shlex
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench import process, timings
from pibench.devices import Device
from pibench.engines.base import PROGRAM
from pibench.errors import HostError
from pibench.images.build import Builder, make_disk
from pibench.process import require_program, run, running
from pibench.targets.base import BaselineKey, Job, Observer, Outcome, Progress, Watcher
from pibench.targets.job import (
    Libraries,
    Programs,
    can_fork,
    engine_key,
    is_described,
    libraries_for,
    write_job,
)
from pibench.targets.probe_session import ATTEMPTS, FrameReader, ProbeSession
from pibench.targets.sandbox import scratch
from pibench.targets.vm import snapshot
from pibench.targets.vm.machine import (
    MACHINES,
    Accelerator,
    Aio,
    Files,
    Machine,
    accelerator_for,
    aio_for,
    command_line,
    write_card,
)
from pibench.targets.vm.snapshot import KnownPrograms
from pibench.targets.worker_pool import OVERHEAD_BYTES, partition, places

if TYPE_CHECKING:
    from pibench.records.schema import Target as TargetName
    from pibench.target_kinds import Machine as MachineName

GUEST_PROGRAMS: Final = Programs(
    program=[f"/{PROGRAM}"],
    python=["/usr/bin/python3.9"],
    # Idle BLAS threads wait in a busy loop of 2^26 cycles; with more vCPUs than
    # the host has cores, they take cores from the working thread. 4 is the
    # least that OpenBLAS accepts (driver/others/blas_server.c).
    env={"OPENBLAS_THREAD_TIMEOUT": "4"},
)
CONNECT_DEADLINE_S: Final = 30.0
SHUTDOWN_EVENTS: Final = ("SHUTDOWN", "GUEST_PANICKED")
LAST_WORDS_S: Final = 2.0
"""How long to wait for data in transit when the machine ends (the console is a socket)."""
SAVE_DEADLINE_S: Final = 60.0
READY: Final = b"pibench-init: ready"
GO: Final = b"go\n"
"""What the guest's first program reports before it mounts the job, and what it waits for then."""
BOOTING: Final = "booting the emulated Pi, about {:.0f} s"
RESTORING: Final = "restoring the emulated Pi"
WITHOUT_A_NETWORK: Final = "measuring the program without a network"
_KILLED: Final = re.compile(r"Killed process (\d+) ")


@dataclass(kw_only=True)
class Boot:
    """The result of one boot: `died` is None when the probe came to its end."""

    died: str | None = None
    oom_lines: list[str] = field(default_factory=list)


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
        fresh_boot: bool = False,
    ) -> None:
        self.device = device
        self.builder = builder
        self.machine: MachineName | None = machine
        self._kind = MACHINES[machine]
        self._at_once = machines_at_once
        self._fresh_boot = fresh_boot
        self._snapshot: Path | None = None
        self._programs_paths: dict[BaselineKey, Path] = {}
        self._image: Path | None = None
        self._blas = Libraries()
        self._qemu_version: str | None = None
        self._accelerator: Accelerator = "tcg,thread=multi"
        self._aio: Aio = "threads"

    def prepare(self, work: Sequence[Job]) -> None:
        """Build the image and, for memory-only compute, the BLAS."""
        qemu = require_program("qemu-system-aarch64", package="qemu-system-arm")
        output = run([qemu, "--version"], deadline_s=30).stdout.splitlines()
        self._qemu_version = output[0] if output else None
        self._accelerator = accelerator_for({job.compute for job in work})
        image = self.builder.vm()
        self._image = image.content
        self._aio = aio_for(self._kind, self._image / "root.ext4")
        # The libraries are compiled while the guest that is kept boots.
        with ThreadPoolExecutor() as pool, process.stopped_together():
            libraries = pool.submit(
                copy_context().run, libraries_for, self.builder, "arm64", work, forks=True
            )
            guest = snapshot.guest_key(
                self._kind,
                self.device,
                self._accelerator,
                qemu_version=self._qemu_version,
                vm=image,
            )
            if self._kind.waits_for_job and not self._fresh_boot:
                self._snapshot = snapshot.ensure(
                    guest,
                    self._kind,
                    self.device,
                    self._files(Path(), self._image / "root.ext4", Path()),
                    self._accelerator,
                    vm=image,
                    programs=GUEST_PROGRAMS,
                    save=self._save,
                )
            self._blas = libraries.result()
        # What a guest of virt finds out is of one restored from a snapshot.
        if self._snapshot is not None or not (self._kind.waits_for_job or self._fresh_boot):
            for kind in {job.baseline_key for job in work}:
                parts = {
                    **asdict(kind),
                    "engine": engine_key(kind.engine),
                    "libraries": self._blas.digests(),
                }
                self._programs_paths[kind] = snapshot.programs_path(guest, parts)

    async def _save(self, argv: list[str], files: Files, machine: Machine, into: Path) -> None:
        self.builder.report(f"{BOOTING.format(machine.usual_boot_s)}; later runs go on from there")
        await save(argv, files, machine, into)

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
        at_once = self._at_once or places(process.usable_cores(), each_bytes)
        parts = partition(work, at_once, most_bytes=self.device.ram_bytes)
        try:
            process.complete(self._run_parts(parts, observe, watch))
        except BaseExceptionGroup as group:
            # Machines that run at once fail at once, mostly for the same reason.
            raise _first(group) from None

    async def _run_parts(
        self, parts: Sequence[Sequence[Job]], observe: Observer, watch: Watcher
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(self._run_part(part, observe, watch))

    async def _run_part(self, work: Sequence[Job], observe: Observer, watch: Watcher) -> None:
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
        killed = kind == "result" and event["result"].get("signal") is not None
        return not (self._kind.reboot_after_oom and killed)

    async def boot_once(self, work: Sequence[Job], session: ProbeSession) -> Boot:
        """Run the work in one machine, and return how that ended."""
        with scratch(self.name) as folder, timings.phase("boot") as booting:
            known = self._known_programs(work)
            files = await asyncio.to_thread(self._write_files, folder, work, known)
            argv = command_line(self._kind, self.device, files, self._accelerator, aio=self._aio)
            how = "fresh" if files.snapshot is None else "restored"
            step = BOOTING.format(self._kind.usual_boot_s) if how == "fresh" else RESTORING
            session.watch(Progress(job=None, message=step))

            def on_event(event: dict[str, Any]) -> bool:
                booting.stop()
                if event["event"] == "hello":
                    event["machine"]["boot"] = how
                    if not known:
                        session.watch(Progress(job=None, message=WITHOUT_A_NETWORK))
                self._complete(event, session, known)
                return self.goes_on(session, event)

            ended = await boot(argv, files, self._kind, on_event)
        if ended.died and session.machine is None and files.snapshot is not None:
            # Whatever is wrong with it, the next machine boots, and finds out all by itself.
            self._snapshot = None
            self._programs_paths = {}
            snapshot.discard(files.snapshot)
        return ended

    def _known_programs(self, work: Sequence[Job]) -> dict[BaselineKey, KnownPrograms]:
        """Return what is known of the programs of this work, empty unless it is known of all."""
        if not self._programs_paths:
            return {}
        kinds = {job.baseline_key for job in work}
        known = {kind: snapshot.known_programs(self._programs_paths[kind]) for kind in kinds}
        if can_fork(work):
            # Whether forked processes have the same memory is measured with the programs.
            known = {
                kind: one if one and one.baseline.get("forks") is not None else None
                for kind, one in known.items()
            }
        return {kind: one for kind, one in known.items() if one} if all(known.values()) else {}

    def _complete(
        self,
        event: dict[str, Any],
        session: ProbeSession,
        known: Mapping[BaselineKey, KnownPrograms],
    ) -> None:
        """Add to a probe's event what it left out as already known, or store what it measured."""
        if event["event"] == "hello" and known:
            event["machine"].update(next(iter(known.values())).engine)
        elif event["event"] == "result" and (job := session.find(event)) is not None:
            baseline = event["result"].get("baseline")
            if known:
                event["result"]["baseline"] = known[job.baseline_key].baseline
            elif (path := self._programs_paths.get(job.baseline_key)) and baseline is not None:
                snapshot.keep_programs(path, session.machine or {}, baseline)

    def _write_files(
        self, folder: Path, work: Sequence[Job], known: Mapping[BaselineKey, KnownPrograms]
    ) -> Files:
        assert self._image is not None, "prepare() comes first"  # noqa: S101
        write_job(
            folder / "job",
            work,
            GUEST_PROGRAMS,
            self._blas,
            describe=is_described(work) and not known,
            mapped=sorted({path for one in known.values() for path in one.baseline["mapped"]}),
            forks=can_fork(work) and all(one.baseline.get("forks") for one in known.values()),
        )
        machine = self._kind
        if machine.one_card:
            root_disk, job_disk = folder / "card.img", None
            write_card(root_disk, self._image / "root.ext4", folder / "job")
        else:
            root_disk, job_disk = self._image / "root.ext4", folder / "job.ext4"
            make_disk(folder / "job", job_disk)
        files = self._files(folder, root_disk, job_disk)
        if job_disk is not None and snapshot.pad(job_disk):
            return replace(files, snapshot=self._snapshot)
        return files

    def _files(self, folder: Path, root_disk: Path, job_disk: Path | None) -> Files:
        assert self._image is not None, "prepare() comes first"  # noqa: S101
        device_tree = self._kind.device_tree
        return Files(
            kernel=self._image / "vmlinuz",
            initrd=self._image / "initrd.gz",
            device_tree=self._image / device_tree if device_tree else None,
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
            Outcome(job=work, machine=session.machine, died=died, console_oom_lines=oom_lines)
        )
    else:
        session.watch(Progress(job=work, message=f"{died}; booting again"))


def _is_about(oom_line: str, pids: set[int]) -> bool:
    killed = _KILLED.search(oom_line)
    return killed is not None and int(killed[1]) in pids


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group, however deep."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def boot(
    argv: Sequence[str], files: Files, machine: Machine, on_event: Callable[[dict[str, Any]], bool]
) -> Boot:
    """Start the machine, pass on events until `on_event` returns False, and end the machine.

    Raises HostError where QEMU itself does not start.
    """
    try:
        async with _started(argv, files) as started:
            return await _listen(started, files, machine, on_event)
    except _SnapshotError as error:
        return Boot(died=f"the booted guest could not be restored: {error}")


async def save(argv: Sequence[str], files: Files, machine: Machine, into: Path) -> None:
    """Boot the machine until it waits for its job, and save it. Raises HostError."""
    frames = FrameReader()
    async with _started(argv, files) as started:
        await started.monitor.execute("cont")
        ended = asyncio.create_task(_machine_end(started.monitor, started.qemu))
        heard = b""
        try:
            while READY not in heard:
                reading = _read(started.reader, ended)
                chunk = await asyncio.wait_for(reading, machine.boot_deadline_s)
                if not chunk:
                    raise HostError(
                        f"the machine ended before it had booted: {frames.last_words()}"
                    )
                frames.feed(chunk)
                heard += chunk
            await started.monitor.execute("stop")
            uri = f"exec:cat > {shlex.quote(str(into))}"
            await started.monitor.execute("migrate", {"uri": uri})
            await asyncio.wait_for(_migrated(started.monitor), SAVE_DEADLINE_S)
        except TimeoutError:
            raise HostError("the machine did not boot, or was not saved, in time") from None
        finally:
            await _quit(started.monitor, ended)


async def _migrated(monitor: Any) -> None:
    while (state := (await monitor.execute("query-migrate")).get("status")) != "completed":
        if state in ("failed", "cancelled"):
            raise HostError(f"QEMU could not save the machine: {state}")
        await asyncio.sleep(0.02)


class _SnapshotError(Exception):
    """No machine continues from the snapshot; the argument says why."""


@dataclass(kw_only=True)
class _Started:
    """A machine that waits for `cont`: its process, its monitor and its console."""

    qemu: subprocess.Popen[bytes]
    monitor: Any
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@contextlib.asynccontextmanager
async def _started(argv: Sequence[str], files: Files) -> AsyncIterator[_Started]:
    """Start QEMU. Raises HostError, or _SnapshotError where the machine is to be restored."""
    from qemu.qmp import QMPError  # noqa: PLC0415  (start-up time)

    log = files.qmp_socket.with_suffix(".log")
    async with contextlib.AsyncExitStack() as stack:
        errors = stack.enter_context(log.open("wb"))
        qemu = stack.enter_context(running(argv, stderr=errors, stdout=errors))
        try:
            await _wait_for_sockets(qemu, (files.qmp_socket, files.console_socket), log)
            monitor = await stack.enter_async_context(_monitor(files.qmp_socket))
            if files.snapshot is not None:
                await asyncio.wait_for(_restored(monitor), SAVE_DEADLINE_S)
        except (HostError, QMPError, OSError, TimeoutError, EOFError) as error:
            if files.snapshot is None:
                raise
            lines = log.read_text(errors="replace").strip().splitlines()
            raise _SnapshotError(lines[-1] if lines else repr(error)) from error
        reader, writer = await asyncio.open_unix_connection(str(files.console_socket))
        stack.callback(writer.close)
        yield _Started(qemu=qemu, monitor=monitor, reader=reader, writer=writer)


async def _restored(monitor: Any) -> None:
    """Wait until the machine is as it was saved: `cont` before that starts one half restored."""
    while (await monitor.execute("query-status"))["status"] == "inmigrate":
        await asyncio.sleep(0.02)


async def _listen(
    started: _Started,
    files: Files,
    machine: Machine,
    on_event: Callable[[dict[str, Any]], bool],
) -> Boot:
    frames = FrameReader()
    await started.monitor.execute("cont")
    ended = asyncio.create_task(_machine_end(started.monitor, started.qemu))
    deadline_s = machine.boot_deadline_s
    waits = machine.waits_for_job
    if waits and files.snapshot is not None:
        started.writer.write(GO)
        waits = False
    heard = b""
    try:
        while True:
            try:
                chunk = await asyncio.wait_for(_read(started.reader, ended), deadline_s)
            except TimeoutError:
                silence = f"the guest sent nothing for {deadline_s:.0f} s"
                return Boot(died=silence, oom_lines=frames.oom_lines)
            if not chunk:
                why = ended.result() if ended.done() else "the machine closed its console"
                words = frames.last_words()
                return Boot(died=f"{why} ({words})" if words else why, oom_lines=frames.oom_lines)
            if waits and READY in (heard := heard + chunk):
                started.writer.write(GO)
                waits = False
            for event in frames.feed(chunk):
                deadline_s = machine.silence_deadline_s
                if event["event"] == "end" or not on_event(event):
                    return Boot(oom_lines=frames.oom_lines)
    finally:
        await _quit(started.monitor, ended)


async def _quit(monitor: Any, ended: asyncio.Task[str]) -> None:
    ended.cancel()
    with contextlib.suppress(Exception):
        await asyncio.wait_for(monitor.execute("quit"), LAST_WORDS_S)


async def _read(reader: asyncio.StreamReader, ended: asyncio.Task[str]) -> bytes:
    """Return the next bytes of the console; empty when the machine has ended and all is read."""
    reading = asyncio.create_task(reader.read(65536))
    try:
        await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            await asyncio.wait({reading}, timeout=LAST_WORDS_S)
        return reading.result() if reading.done() else b""
    except ConnectionError:
        return b""
    finally:
        reading.cancel()


async def _machine_end(monitor: Any, qemu: subprocess.Popen[bytes]) -> str:
    """Wait for the machine to end by itself, and return how it did."""
    with monitor.listener(SHUTDOWN_EVENTS) as listener:
        while True:
            try:
                event = await asyncio.wait_for(listener.get(), 1.0)
            except TimeoutError:
                if qemu.poll() is not None:
                    return f"QEMU ended with status {qemu.returncode}"
                continue
            reason = event.get("data", {}).get("reason", "")
            return f"the machine ended: {event['event']} {reason}".strip()


@contextlib.asynccontextmanager
async def _monitor(socket: Path) -> Any:
    """Return the QMP connection."""
    from qemu.qmp import QMPClient  # noqa: PLC0415  (start-up time)

    # The library logs a warning for each closed connection; here they are meant to close.
    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)
    client = QMPClient("pibench")
    await asyncio.wait_for(client.connect(str(socket)), CONNECT_DEADLINE_S)
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            await client.disconnect()


async def _wait_for_sockets(
    qemu: subprocess.Popen[bytes], sockets: Sequence[Path], log: Path
) -> None:
    for _ in range(int(CONNECT_DEADLINE_S / 0.05)):
        if qemu.poll() is not None:
            break
        if all(socket.exists() for socket in sockets):
            return
        await asyncio.sleep(0.05)
    lines = log.read_text(errors="replace").strip().splitlines()
    raise HostError(
        "the emulated machine did not start: "
        + (lines[-1] if lines else f"QEMU opened no socket within {CONNECT_DEADLINE_S:.0f} s"),
        hint="see what this machine lacks: pibench doctor",
    )
