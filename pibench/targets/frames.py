"""Read the probe's frames from a stream that may contain other lines too."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from typing import Any

from pibench.targets.probe_events import problem_with

_FRAME = re.compile(rb"PIBENCH ([0-9a-f]{8}) (\{.*\})\r?$")
_OOM = re.compile(rb"Out of memory: Killed process \d+ .*")
# A longer line is not a frame of pibench's, and is not worth the memory.
MAX_LINE_BYTES = 64 << 20
# How much of another line is kept: 50 lines are, however much a model makes Caffe write.
_KEPT_CHARACTERS = 2000


class FrameReader:
    """Parses chunks of bytes into events, and keeps the last of the other lines."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.max_line_bytes = max_line_bytes
        self._rest = bytearray()
        self.oom_lines: list[str] = []
        self.other_lines: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """Yield the events of all lines that are now complete."""
        self._rest += chunk
        if len(self._rest) > self.max_line_bytes:
            self._rest.clear()
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            event = self._event(line)
            if event is not None:
                yield event

    def last_words(self, count: int = 3) -> str:
        """Return the last lines that were not frames."""
        return " | ".join(self.other_lines[-count:])

    def _event(self, line: bytes) -> dict[str, Any] | None:
        frame = _FRAME.search(line)
        if frame is not None and zlib.crc32(frame[2]) == int(frame[1], 16):
            try:
                event = json.loads(frame[2])
            except (ValueError, RecursionError):
                # A checksum does not prove who wrote the line.
                return None
            if not isinstance(event, dict) or "event" not in event:
                return None
            problem = problem_with(event)
            if problem is None:
                return event
            line = f"the probe reported a {event['event']} that cannot be: {problem}".encode()
        text = line[: 4 * _KEPT_CHARACTERS].decode("utf-8", "replace").strip()[:_KEPT_CHARACTERS]
        if text:
            self.other_lines = [*self.other_lines[-50:], text]
        oom = _OOM.search(line)
        if oom is not None:
            self.oom_lines.append(oom[0].decode("utf-8", "replace").strip())
        return None
