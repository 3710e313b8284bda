"""The peak of a network that was killed, from the amd64 twin, which nothing cuts short."""

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
# The twin's blobs live in this machine's memory; the rest of it is not ours.
HOST_SHARE = 0.5


class Reference:
    """Runs single networks memory-only on the twin; what was asked for twice runs once."""

    def __init__(self, builder: Builder) -> None:
        self._target = TwinTarget(builder)
        self._known: dict[Work, int | None] = {}

    def peak_bytes(self, work: Work) -> int | None:
        """The twin's peak RSS, or None where this host cannot tell it."""
        # All that is left of the work decides the peak: the protocol and the threads too.
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
            # No twin on this host: the record then says that there was none.
            return None
        result = seen[0].result if seen else None
        return result["peak_rss_bytes"] if result and result["exit_status"] == 0 else None
