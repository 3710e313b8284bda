"""Listen to one probe, wherever it runs, and turn its events into outcomes of its work."""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from pibench.errors import HostError
from pibench.targets.base import Job, KeptBlob, Observer, Outcome, Progress, Watcher
from pibench.targets.probe_events import BlobCollector, FrameReader

if TYPE_CHECKING:
    import subprocess

SILENCE_DEADLINE_S: Final = 180.0
"""The longest silence accepted: the probe sends an event every five seconds."""
ATTEMPTS: Final = 2
"""A probe may die once without evidence: the network in flight is then tried again."""


def _no_outcome(_: Outcome) -> None:
    pass


def _no_progress(_: Progress) -> None:
    pass


@dataclass
class ProbeSession:
    """What one probe has reported; each item leaves `pending` with its outcome.

    Events are matched with work by id, since a frame may be lost on a serial console.
    """

    pending: deque[Job] = field(default_factory=deque)
    observe: Observer = _no_outcome
    watch: Watcher = _no_progress
    machine: dict[str, Any] | None = None
    running: Job | None = None
    result: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None
    ended: bool = False
    results: int = 0
    pids: set[int] = field(default_factory=set)
    frames: FrameReader = field(default_factory=FrameReader)
    blobs: BlobCollector = field(default_factory=BlobCollector)
    kept: tuple[KeptBlob, ...] = ()

    def feed(self, chunk: bytes) -> list[str]:
        """Take a chunk of output; return the names of the events in it."""
        return [self.take(event) for event in self.frames.feed(chunk)]

    def take(self, event: dict[str, Any]) -> str:
        """Take one event. Raises HostError where no Caffe there can run the work."""
        kind = str(event["event"])
        if kind == "hello":
            self.machine = event["machine"]
        elif kind == "start":
            self.running = self._find(event)
            if self.running is not None:
                self.watch(Progress(job=self.running, said="started"))
        elif kind == "calibration":
            self.calibration = event["calibration"]
        elif kind == "blob":
            self.blobs.add(event["blob"])
        elif kind == "result":
            self._finish(self._find(event), event["result"])
        elif kind == "unusable":
            raise HostError(
                f"no Caffe there can run this: {'; '.join(event['reasons'])}",
                hint="pibench doctor, or pibench board check, says what is missing",
            )
        elif kind == "end":
            self.ended = True
        return kind

    def _find(self, event: dict[str, Any]) -> Job | None:
        return next((work for work in self.pending if work.id == event["id"]), None)

    def _finish(self, work: Job | None, result: dict[str, Any]) -> None:
        self.running, self.result = None, result
        self.pids.add(result.get("pid", 0))
        if work is not None:
            self.pending.remove(work)
            self.results += 1
            self.kept = self.blobs.take_all()
            self.observe(Outcome(job=work, machine=self.machine, result=result, kept=self.kept))


def listen(
    probe: subprocess.Popen[bytes], session: ProbeSession, stopping: threading.Event
) -> str | None:
    """Read a local probe's pipe to its end; return how the probe died, or None if it did not."""
    assert probe.stdout is not None  # noqa: S101
    for chunk in read_chunks(probe.stdout):
        if chunk is None:
            return f"the probe said nothing for {SILENCE_DEADLINE_S:.0f} s"
        session.feed(chunk)
        if session.ended or stopping.is_set():
            return None
    return f"the probe ended early (status {probe.wait()}): {session.frames.last_words()}"


def read_chunks(pipe: IO[bytes]) -> Iterator[bytes | None]:
    """Yield chunks as they arrive, empty ones during silence, and None if it lasts too long."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        heard = time.monotonic()
        while True:
            if selector.select(timeout=0.5):
                chunk = os.read(pipe.fileno(), 65536)
                if not chunk:
                    return
                heard = time.monotonic()
                yield chunk
            else:
                yield None if time.monotonic() - heard > SILENCE_DEADLINE_S else b""
