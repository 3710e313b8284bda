"""Assembling whole blobs from the pieces in which a probe sends them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from pibench.targets.base import KeptBlob

LARGEST_BYTES: Final = 1 << 30
"""How much of this machine's memory all kept blobs of one run may use."""


@dataclass
class BlobCollector:
    """Collects the pieces as they arrive and returns only blobs that are whole and correct.

    Each frame that carries a piece has a checksum, and each blob a SHA-256, so
    a blob that lost a piece is dropped.
    """

    largest_bytes: int = LARGEST_BYTES
    _parts: dict[tuple[int, str], _Part] = field(default_factory=dict)
    _bytes: int = 0

    def add(self, piece: object) -> None:
        """Take one piece, in the format of `print_blob` in pibench/probe/values.py."""
        if not isinstance(piece, dict):
            return
        try:
            content = base64.b64decode(piece["data"], validate=True)
            key = int(piece["index"]), str(piece["name"])
            offset = int(piece["offset"])
        except (KeyError, TypeError, ValueError, binascii.Error):
            return
        self._bytes += len(content)
        if self._bytes > self.largest_bytes:
            return
        if offset == 0:
            # Also when a run is tried again: the pieces of the first attempt do not count.
            self._parts[key] = _Part(piece)
        part = self._parts.get(key)
        if part is not None and offset == len(part.content):
            part.content += content

    def take_all(self) -> tuple[KeptBlob, ...]:
        """Return the whole blobs in the order of their layers, and forget them."""
        whole = [part.blob() for _, part in sorted(self._parts.items())]
        self._parts.clear()
        self._bytes = 0
        return tuple(blob for blob in whole if blob is not None)


@dataclass
class _Part:
    """A blob of which some pieces have arrived."""

    said: dict[str, Any]
    content: bytearray = field(default_factory=bytearray)

    def blob(self) -> KeptBlob | None:
        if hashlib.sha256(self.content).hexdigest() != self.said.get("sha256"):
            return None
        try:
            return KeptBlob(
                index=int(self.said["index"]),
                layer=str(self.said["layer"]),
                name=str(self.said["name"]),
                shape=tuple(int(size) for size in self.said["shape"]),
                content=bytes(self.content),
            )
        except (KeyError, TypeError, ValueError):
            return None
