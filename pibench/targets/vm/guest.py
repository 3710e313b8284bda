"""One boot of an emulated machine: start it, read its console, watch it, end it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pibench.errors import HostError
from pibench.process import running
from pibench.targets.probe_events import FrameReader

CONNECT_DEADLINE_S = 30.0
SHUTDOWN_EVENTS = ("SHUTDOWN", "GUEST_PANICKED")
# How long to wait for data in transit when the machine ends (the console is a socket).
LAST_WORDS_S = 2.0


@dataclass(kw_only=True)
class Boot:
    """The result of one boot: `died` is None when the probe came to its end."""

    died: str | None = None
    oom_lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """How long the guest may be silent, in seconds: while it boots, and afterwards."""

    boot_s: float
    silence_s: float


async def boot(
    argv: Sequence[str],
    *,
    qmp_socket: Path,
    console_socket: Path,
    deadlines: Deadlines,
    on_event: Callable[[dict[str, Any]], bool],
) -> Boot:
    """Start the machine, pass each of the probe's events to `on_event`, end the machine.

    Args:
        argv: QEMU's command line.
        qmp_socket: QEMU's control socket.
        console_socket: the socket of the guest's serial console.
        deadlines: the silence that is tolerated.
        on_event: returns False when this boot is to end.

    Raises:
        HostError: QEMU itself does not start.
    """
    log = qmp_socket.with_suffix(".log")
    with log.open("wb") as errors, running(argv, stderr=errors, stdout=errors) as qemu:
        await _wait_for_sockets(qemu, (qmp_socket, console_socket), log)
        async with _monitor(qmp_socket) as monitor:
            reader, writer = await asyncio.open_unix_connection(str(console_socket))
            try:
                return await _listen(qemu, monitor, reader, deadlines, on_event)
            finally:
                writer.close()


async def _listen(
    qemu: subprocess.Popen[bytes],
    monitor: Any,
    reader: asyncio.StreamReader,
    deadlines: Deadlines,
    on_event: Callable[[dict[str, Any]], bool],
) -> Boot:
    frames = FrameReader()
    await monitor.execute("cont")
    ended = asyncio.create_task(_machine_end(monitor, qemu))
    deadline_s = deadlines.boot_s
    try:
        while True:
            try:
                chunk = await asyncio.wait_for(_read(reader, ended), deadline_s)
            except TimeoutError:
                return Boot(
                    died=f"the guest said nothing for {deadline_s:.0f} s",
                    oom_lines=frames.oom_lines,
                )
            if not chunk:
                why = ended.result() if ended.done() else "the machine closed its console"
                said = frames.last_words()
                return Boot(died=f"{why} ({said})" if said else why, oom_lines=frames.oom_lines)
            for event in frames.feed(chunk):
                deadline_s = deadlines.silence_s
                if event["event"] == "end" or not on_event(event):
                    return Boot(oom_lines=frames.oom_lines)
    finally:
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
    said = log.read_text(errors="replace").strip().splitlines()
    raise HostError(
        "the emulated machine did not start: "
        + (said[-1] if said else f"QEMU opened no socket within {CONNECT_DEADLINE_S:.0f} s"),
        hint="see what this machine lacks: pibench doctor",
    )
