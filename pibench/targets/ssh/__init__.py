"""Target `ssh`: a board over SSH. What it lacks is copied there, and only a cache remains."""

from __future__ import annotations

import asyncio
import posixpath
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from pibench import process
from pibench.engines.registry import engine_of
from pibench.errors import HostError
from pibench.images.build import Builder
from pibench.targets.base import Job, Observer, Outcome, Progress, Watcher
from pibench.targets.job import (
    ROOTS,
    SYSTEM,
    Libraries,
    Programs,
    job_bytes,
    libraries_for,
    needs,
    pack,
    root_programs,
    trials,
    write_job,
)
from pibench.targets.local import refuse_other_blas
from pibench.targets.probe_session import ATTEMPTS, ProbeSession
from pibench.targets.sandbox import scratch
from pibench.targets.ssh.board import FOLDER, Board
from pibench.targets.ssh.connection import Login, connected
from pibench.targets.ssh.session import Patience, Session, is_lost

if TYPE_CHECKING:
    from pibench.records.schema import Target as TargetName
    from pibench.target_kinds import Machine


class SshTarget:
    """Runs work on a board, one network after another, by the board's own Caffe or pibench's."""

    name: TargetName = "ssh"
    machine: Machine | None = None

    def __init__(
        self,
        login: Login,
        builder: Builder,
        *,
        folder: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.login = login
        self.builder = builder
        self.patience = patience or Patience()
        self._wanted_folder = folder or FOLDER
        self._folder = ""
        self._programs: Programs | None = None
        self._libraries = Libraries()

    def prepare(self, work: Sequence[Job]) -> None:
        """Check the board, and copy pibench's Caffe where it has none.

        Raises HostError with what the board lacks, before anything is copied.
        """
        if any(piece.compute == "memory-only" for piece in work):
            raise HostError(
                "target ssh computes for real: memory-only compute stands in for what takes "
                "long emulated",
                hint="leave --compute out, or say --compute real",
            )
        refuse_other_blas(work)
        process.complete(self._unless_lost(self._prepare(work)))

    def environment(self) -> dict[str, str | None]:
        """Return no emulator of this host's; the probe reports which Caffe it is."""
        return {"qemu_version": None, "image_lock_digest": None}

    def run(self, work: Sequence[Job], observe: Observer, watch: Watcher) -> None:
        """Run each piece; after a lost connection, continue the run where it is."""
        process.complete(self._unless_lost(self._run(deque(work), observe, watch)))

    async def _unless_lost(self, doing: Coroutine[Any, Any, None]) -> None:
        """Report a connection that is lost while copying as one line, not as an internal error."""
        try:
            await doing
        except Exception as error:
            if not is_lost(error):
                raise
            raise HostError(
                f"the connection to {self.login.address} was lost: {error}", hint="run it again"
            ) from None

    async def _prepare(self, work: Sequence[Job]) -> None:
        async with connected(self.login) as connection:
            board = Board(connection, str(self.login.address))
            engine = engine_of(work[0].engine)
            wanted = needs(
                trials(engine, work),
                self._wanted_folder,
                job_bytes=job_bytes(work),
                root_key=self.builder.key("carried") if engine.is_in_images else None,
                engine=engine,
            )
            found = await board.check(wanted)
            if found.problems:
                what, todo = found.problems[0]
                raise HostError(f"{self.login.address}: {what}", hint=todo)
            self._libraries = await asyncio.to_thread(libraries_for, self.builder, "arm64", work)
            self._folder = str(found.facts["folder"])
            if found.facts["caffe_complaint"] is None:
                self._programs = SYSTEM
            else:
                self._programs = await self._bring(
                    board, engine.label, is_there=found.facts["root_is_there"]
                )

    async def _bring(self, board: Board, label: str, *, is_there: bool) -> Programs:
        """Return the programs of pibench's root; copy it to the board unless it is there."""
        root = await asyncio.to_thread(self.builder.carried)
        place = posixpath.join(self._folder, ROOTS, root.key)
        if not is_there:
            self.builder.report(
                f"{self.login.address} has no {label} of its own: pibench's goes to {place} "
                f"({root.packed_bytes / 1e6:.0f} MB to copy, {root.unpacked_bytes / 1e6:.0f} "
                "MB there) and stays for the next run; to remove it: "
                f"pibench board clean {self.login.address.url}"
            )
            await board.put_root(root, self._folder, self.builder.report)
        return root_programs(place, root.lock)

    async def _run(self, waiting: deque[Job], observe: Observer, watch: Watcher) -> None:
        attempts: dict[str, int] = {}
        while waiting:
            session = ProbeSession(waiting, observe, watch)
            died = await self._once(list(waiting), session.take)
            if not waiting:
                return
            died = died or "the probe ended without a result"
            piece = waiting[0]
            attempts[piece.id] = attempts.get(piece.id, 0) + 1
            if attempts[piece.id] >= ATTEMPTS:
                waiting.popleft()
                observe(Outcome(job=piece, machine=session.machine, died=died))
            else:
                watch(Progress(job=piece, message=f"{died}; trying again"))

    async def _once(self, work: Sequence[Job], take: Callable[[dict[str, Any]], Any]) -> str | None:
        """Run one probe from start to end; return how it died, or None if it did not."""
        assert self._programs is not None, "prepare() comes first"  # noqa: S101
        session = Session(self.login, self._folder, self.patience, self.builder.report)
        with scratch(self.name) as folder:
            write_job(folder / "job", work, self._programs, self._libraries)
            pack(folder / "job", folder / "job.tar")
            try:
                await session.open()
                await session.put_job(folder / "job.tar")
                return await session.follow(take)
            finally:
                if not await session.close():
                    self.builder.report(
                        f"{self.login.address} could not be cleaned up from here: it removes the "
                        f"run by itself within {self.patience.lease_s:.0f} s"
                    )
