"""A board over a connection: run small programs there, handle its files, check and clean it."""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench.engines.caffe import CAFFE
from pibench.errors import HostError
from pibench.targets.job import PROBE_BYTES, ROOTS, needs
from pibench.targets.ssh.connection import Login, connected

if TYPE_CHECKING:
    import asyncssh

    from pibench.engines.base import Protocol
    from pibench.images.build import Builder
    from pibench.images.carried import CarriedRoot

# ruff: noqa: PLC0415  (asyncssh takes 0.3 s to import: only who connects pays for it)

FOLDER: Final = "~/.cache/pibench"
"""Where pibench's files are on a board, unless the user names another folder."""
SCRIPT_DEADLINE_S: Final = 300.0
UNPACK_DEADLINE_S: Final = 1800.0
CHUNK_BYTES: Final = 256 << 10
_PROBE: Final = Path(__file__).resolve().parents[2] / "probe"
# Reads its own source from standard input, and the program reads the rest: no file has to be
# on the board, and no shell there has to parse a quoted program.
_LOADER: Final = "import sys;exec(compile(sys.stdin.buffer.read({size}),{name!r},'exec'))"
_NOT_FOUND: Final = 127
_UNCHECKED: Final = "-"

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A program's output and how it ended; the status is None after a signal."""

    status: int | None
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """Return the last line that it wrote."""
        lines = (self.err or self.out).strip().splitlines()
        return lines[-1].strip() if lines else "no output"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What probe/check.py reports of a board."""

    facts: dict[str, Any]
    problems: list[tuple[str, str]]


class Board:
    """One connection to a board, and operations over it."""

    def __init__(self, connection: asyncssh.SSHClientConnection, name: str) -> None:
        self.connection = connection
        self.name = name
        self._sftp: asyncssh.SFTPClient | None = None

    async def sftp(self) -> asyncssh.SFTPClient:
        """Return a client for the board's files; raises HostError where its server has no SFTP."""
        import asyncssh

        if self._sftp is None:
            try:
                self._sftp = await self.connection.start_sftp_client()
            except (asyncssh.ChannelOpenError, asyncssh.SFTPError) as error:
                raise HostError(
                    f"{self.name}: its SSH server offers no file transfer (SFTP): {error}",
                    hint="there: sudo apt-get install openssh-sftp-server",
                ) from None
        return self._sftp

    async def script(
        self,
        name: str,
        *arguments: str,
        feed: AsyncIterator[bytes] | None = None,
        deadline_s: float = SCRIPT_DEADLINE_S,
    ) -> Answer:
        """Run a self-contained program of pibench/probe; `feed` is its standard input."""
        import asyncio

        import asyncssh

        source = (_PROBE / name).read_bytes()
        loader = _LOADER.format(size=len(source), name=name)
        command = " ".join(map(shlex.quote, ["python3", "-I", "-c", loader, *arguments]))
        process = await self.connection.create_process(command, encoding=None)
        try:
            async with asyncio.timeout(deadline_s):
                await _feed(process, source, feed)
                done = await process.wait()
        except TimeoutError:
            raise HostError(
                f"{self.name}: {name} did not end there within {deadline_s:.0f} s"
            ) from None
        except asyncssh.ProcessError as error:
            raise HostError(f"{self.name}: {name} failed there: {error}") from None
        finally:
            process.close()
        if done.exit_status is None and done.exit_signal is None:
            raise asyncssh.ConnectionLost(f"{name} was cut off there")
        answer = Answer(status=done.exit_status, out=_text(done.stdout), err=_text(done.stderr))
        if answer.status == _NOT_FOUND:
            hint = "there: sudo apt-get install python3"
            raise HostError(f"{self.name}: it has no python3", hint=hint)
        return answer

    async def check(self, needs: dict[str, Any]) -> Findings:
        """Return the board's facts and the problems that prevent the work: see probe/check.py."""
        answer = await self.script("check.py", json.dumps(needs))
        # A shell's start-up files may have printed lines before.
        report = next((line for line in answer.out.splitlines() if line.startswith("{")), None)
        if report is None:
            raise HostError(f"{self.name}: its Python could not look at it: {answer.last_words}")
        found = json.loads(report)
        problems = [(what, todo) for what, todo in found["problems"]]
        return Findings(facts=found["facts"], problems=problems)

    async def put_root(self, root: CarriedRoot, base: str, report: Report) -> None:
        """Unpack pibench's root on the board while its archive arrives; whole or not at all."""
        place = (posixpath.join(base, ROOTS), root.key, root.sha256)
        await self._unpack(place, root.archive, "pibench's Caffe", report)

    async def put_job(self, archive: Path, folder: str, report: Report) -> None:
        """Unpack a job as `job` in the folder of a run."""
        # SSH itself checks the integrity of what it carries.
        await self._unpack((folder, "job", _UNCHECKED), archive, "the job", report)

    async def _unpack(
        self, place: tuple[str, str, str], archive: Path, what: str, report: Report
    ) -> None:
        answer = await self.script(
            "unpack.py",
            *place,
            feed=_chunks(archive, lambda part: report(f"copying {what} to {self.name}: {part}")),
            deadline_s=UNPACK_DEADLINE_S,
        )
        if answer.status != 0:
            raise HostError(
                f"{self.name}: {what} could not be unpacked there: {answer.last_words}",
                hint="make room there, or name a folder on another file system: --remote-dir",
            )

    async def write(self, path: str, text: str) -> None:
        """Write a small file."""
        sftp = await self.sftp()
        async with sftp.open(path, "w") as file:
            await file.write(text)

    async def read(self, path: str, offset: int = 0, size: int = CHUNK_BYTES) -> bytes:
        """Return bytes of a file from an offset on; none past its end, or if it does not exist."""
        import asyncssh

        sftp = await self.sftp()
        try:
            async with sftp.open(path, "rb") as file:
                found = await file.read(size, offset)
        except asyncssh.SFTPNoSuchFile:
            return b""
        return found if isinstance(found, bytes) else found.encode()

    async def exists(self, path: str) -> bool:
        """Return whether the path exists."""
        return await (await self.sftp()).exists(path)


async def _chunks(archive: Path, report: Report) -> AsyncIterator[bytes]:
    """Yield a file in chunks; report every tenth of a large one."""
    size, sent, reported = archive.stat().st_size, 0, 0
    with archive.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            sent += len(chunk)
            if size > 10 * CHUNK_BYTES and 10 * sent // size > reported:
                reported = 10 * sent // size
                report(f"{10 * reported} % of {size / 1e6:.0f} MB")


async def _feed(
    process: asyncssh.SSHClientProcess[bytes], source: bytes, feed: AsyncIterator[bytes] | None
) -> None:
    """Write to a program's input at the pace at which it reads; it may end early."""
    try:
        process.stdin.write(source)
        if feed is not None:
            async for chunk in feed:
                process.stdin.write(chunk)
                await process.stdin.drain()
        process.stdin.write_eof()
    except (BrokenPipeError, ConnectionResetError):
        return


def _text(output: Any) -> str:
    return (output or b"").decode("utf-8", "replace")


async def look(
    login: Login, builder: Builder, protocol: Protocol, remote_dir: str | None
) -> Findings:
    """Return what a board has and lacks for a small network; build nothing, leave nothing there."""
    async with connected(login) as connection:
        wanted = needs(
            CAFFE.trials({protocol}),
            remote_dir or FOLDER,
            job_bytes=PROBE_BYTES,
            root_key=builder.key("carried"),
        )
        return await Board(connection, str(login.address)).check(wanted)


async def clean(login: Login, remote_dir: str | None) -> tuple[int, int]:
    """Remove pibench's Caffe and interrupted runs; return how many there were of each."""
    async with connected(login) as connection:
        board = Board(connection, str(login.address))
        answer = await board.script("supervise.py", "clean", remote_dir or FOLDER)
    try:
        roots, runs = map(int, answer.out.split()[-2:])
    except ValueError:
        raise HostError(
            f"{login.address}: it could not be cleaned up: {answer.last_words}"
        ) from None
    return roots, runs
