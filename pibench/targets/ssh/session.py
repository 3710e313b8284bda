"""One run on a board from its folder to its end, over connections that may be lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import posixpath
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pibench.errors import HostError, PibenchError
from pibench.targets.probe_session import SILENCE_DEADLINE_S, FrameReader
from pibench.targets.ssh.board import Board
from pibench.targets.ssh.connection import Login, connect

# ruff: noqa: PLC0415  (asyncssh takes 0.3 s to import: only who connects pays for it)

POLL_S: Final = 1.0
CLEAN_UP_DEADLINE_S: Final = 15.0
BUSY_STATUS: Final = 75
"""See probe/supervise.py."""
_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait, in seconds.

    `lease_s`: after that long without a sign of life of the host, the board ends the run
    and removes it. `reconnect_s`: how long to try to restore a lost connection; it has to
    be less than the lease.
    """

    lease_s: float = 300.0
    reconnect_s: float = 240.0


class GoneError(Exception):
    """The run does not exist any more: the board was switched off, or ended it itself."""


@dataclass
class Session:
    """One run: its folder on the board, and a connection that is opened again when it is lost."""

    login: Login
    base: str
    patience: Patience
    report: Callable[[str], None]
    board: Board | None = None
    folder: str = ""
    frames: FrameReader = field(default_factory=FrameReader)
    offset: int = 0
    _signs: itertools.count[int] = field(default_factory=itertools.count)

    async def open(self) -> None:
        """Connect, make the folder, and start its supervisor.

        Raises HostError where another run is in progress there.
        """
        self.board = await self._connected()
        answer = await self.board.script(
            "supervise.py", "start", self.base, str(self.patience.lease_s)
        )
        if answer.status == BUSY_STATUS:
            raise HostError(
                f"{self.login.address}: another run of pibench is under way there",
                hint="wait for its end; one that was cut off ends by itself within "
                f"{self.patience.lease_s / 60:.0f} min",
            )
        if answer.status != 0:
            raise HostError(
                f"{self.login.address}: the run could not be started: {answer.last_words}",
                hint="make room there, or name a folder on another file system: --remote-dir",
            )
        self.folder = answer.out.split()[-1]

    async def put_job(self, archive: Path) -> None:
        """Copy the job, a tar of its folder, and have it started."""
        board = self._there()
        signs = asyncio.create_task(self._keep_signing())
        try:
            await board.put_job(archive, self.folder, self.report)
        finally:
            signs.cancel()
        await board.write(posixpath.join(self.folder, "go"), "")

    async def follow(self, take: Callable[[dict[str, Any]], Any]) -> str | None:
        """Pass on each event until the probe has ended; return how it died, or None if it did not.

        Raises HostError where the connection is lost and cannot be restored.
        """
        last_output = signed = time.monotonic()
        while True:
            ended = await self._steadily(self._status)
            chunk = await self._steadily(self._more)
            now = time.monotonic()
            if chunk:
                last_output = now
                self.offset += len(chunk)
                for event in self.frames.feed(chunk):
                    take(event)
                    if event["event"] in ("end", "unusable"):
                        return None
                continue
            if ended is not None:
                return await self._last_words(ended)
            if now - last_output > SILENCE_DEADLINE_S:
                return f"the probe sent nothing for {SILENCE_DEADLINE_S:.0f} s"
            if now - signed > self.patience.lease_s / 10:
                await self._steadily(self._sign_of_life)
                signed = now
            await asyncio.sleep(POLL_S)

    async def close(self) -> bool:
        """End the run and wait until its folder is gone; return False if that was not confirmed."""
        # Ctrl-C ends asyncssh's tasks too, so a connected board may not answer any more.
        for _ in range(2):
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLEAN_UP_DEADLINE_S):
                    await self._remove()
                self._hang_up()
                return True
            self._hang_up()
        # The lease ends it.
        return False

    def _hang_up(self) -> None:
        if self.board is not None:
            self.board.connection.abort()
            self.board = None

    async def _remove(self) -> None:
        if not self.folder:
            return
        board = self.board = self.board or await self._connected()
        if await board.exists(self.folder):
            with contextlib.suppress(Exception):
                await board.write(posixpath.join(self.folder, "stop"), "")
        while await board.exists(self.folder):
            await asyncio.sleep(0.2)

    # ------------------------------------------------------------ requests to the board

    async def _more(self) -> bytes:
        return await self._there().read(posixpath.join(self.folder, "frames"), self.offset)

    async def _status(self) -> str | None:
        """Return the probe's exit status once it has ended."""
        status = await self._there().read(posixpath.join(self.folder, "ended"))
        return status.decode() or None

    async def _sign_of_life(self) -> None:
        await self._there().write(posixpath.join(self.folder, "lease"), str(next(self._signs)))

    async def _keep_signing(self) -> None:
        while True:
            await asyncio.sleep(self.patience.lease_s / 10)
            with contextlib.suppress(Exception):
                await self._sign_of_life()

    async def _last_words(self, status: str) -> str:
        errors = await self._steadily(
            lambda: self._there().read(posixpath.join(self.folder, "errors"))
        )
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        words = lines[-1] if lines else self.frames.last_words()
        return f"the probe ended early (status {status}): {words}"

    # ------------------------------------------------------------ the connection

    def _there(self) -> Board:
        assert self.board is not None, "open() comes first"  # noqa: S101
        return self.board

    async def _connected(self) -> Board:
        return Board(await connect(self.login), str(self.login.address))

    async def _steadily(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Query the board, over a new connection where the current one is lost."""
        while True:
            try:
                async with asyncio.timeout(self.patience.reconnect_s):
                    return await ask()
            except Exception as error:
                if not is_lost(error):
                    raise
                await self._reconnect(error)

    async def _reconnect(self, lost: Exception) -> None:
        began = time.monotonic()
        self._there().connection.abort()
        self.report(f"the connection to {self.login.address} was lost ({lost}); trying again")
        pauses = itertools.chain(_PAUSES_S, itertools.repeat(_PAUSES_S[-1]))
        while True:
            try:
                self.board = await self._connected()
                await self._find_again()
                self.report(f"connected to {self.login.address} again; the run goes on")
                return
            except GoneError as error:
                raise HostError(f"{self.login.address}: {error}", hint="run it again") from None
            except Exception as error:
                if not is_lost(error) and not isinstance(error, HostError):
                    raise
                if time.monotonic() - began > self.patience.reconnect_s:
                    raise HostError(
                        f"the connection to {self.login.address} was lost and not regained within "
                        f"{self.patience.reconnect_s:.0f} s ({error})",
                        hint="the board ends the run and removes its files by itself within "
                        f"{self.patience.lease_s:.0f} s of the loss",
                    ) from None
            await asyncio.sleep(next(pauses))

    async def _find_again(self) -> None:
        """Check that the run still exists and has a supervisor."""
        answer = await self._there().script("supervise.py", "alive", self.folder)
        if answer.status != 0:
            raise GoneError("the run is not there any more: was the board restarted?")
        await self._sign_of_life()


def is_lost(error: Exception) -> bool:
    """Return whether an error means that the connection is lost, whatever was in progress."""
    if isinstance(error, PibenchError):
        return False
    import asyncssh

    lost = (
        asyncssh.DisconnectError,
        asyncssh.ChannelOpenError,
        asyncssh.SFTPConnectionLost,
        asyncssh.SFTPNoConnection,
        OSError,
    )
    return isinstance(error, lost)
