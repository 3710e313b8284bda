"""Hearing one probe that runs one piece of work, wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pibench.targets.base import Progress, Watcher, Work
from pibench.targets.blobs import BlobCollector
from pibench.targets.frames import FrameReader


@dataclass
class Hearing:
    """What a probe has said so far about one piece of work, or about the programs alone."""

    work: Work | None
    watch: Watcher
    machine: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None
    ended: bool = False
    unusable: tuple[str, ...] = ()
    frames: FrameReader = field(default_factory=FrameReader)
    kept: BlobCollector = field(default_factory=BlobCollector)

    def feed(self, chunk: bytes) -> list[str]:
        """Take what came; the names of the events in it."""
        return [self._take(event) for event in self.frames.feed(chunk)]

    def _take(self, event: dict[str, Any]) -> str:
        kind = str(event["event"])
        if kind == "hello":
            self.machine = event["machine"]
        elif kind == "start" and self.work is not None:
            self.watch(Progress(work=self.work, said="started"))
        elif kind == "calibration":
            self.calibration = event["calibration"]
        elif kind == "result":
            self.result = event["result"]
        elif kind == "blob":
            self.kept.add(event["blob"])
        elif kind == "unusable":
            self.unusable = tuple(event["reasons"])
        elif kind == "end":
            self.ended = True
        return kind
