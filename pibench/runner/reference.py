"""The peak of a network that was killed, measured on the amd64 twin, which has no such limit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pibench import host
from pibench.errors import PibenchError
from pibench.targets.local import TwinTarget

if TYPE_CHECKING:
    from pibench.images.build import Builder
    from pibench.targets.base import Outcome, Work

TIMEOUT_S = 300.0
# The twin's blobs are in this machine's memory; the rest of it belongs to other programs.
HOST_SHARE = 0.5


class Reference:
    """Runs single networks memory-only on the twin; repeated requests run once."""

    def __init__(self, builder: Builder) -> None:
        self._target = TwinTarget(builder)
        self._known: dict[Work, int | None] = {}

    def peak_bytes(self, work: Work) -> int | None:
        """Return the twin's peak RSS in bytes, or None where this host cannot measure it."""
        # Every remaining field of the work affects the peak: the protocol and the threads too.
        piece = replace(
            work, id="0", name="reference", compute="memory-only", timeout_s=TIMEOUT_S,
            warmup=0, repeats=1,
        )  # fmt: skip
        if piece not in self._known:
            self._known[piece] = self._measure(piece)
        return self._known[piece]

    def _measure(self, piece: Work) -> int | None:
        if piece.cost_bytes > HOST_SHARE * host.available_memory_bytes():
            return None
        seen: list[Outcome] = []
        try:
            self._target.prepare([piece])
            self._target.run([piece], seen.append, lambda _: None)
        except PibenchError:
            # This host cannot run the twin: the record then states that.
            return None
        result = seen[0].result if seen else None
        return result["peak_rss_bytes"] if result and result["exit_status"] == 0 else None
