"""Dividing work among machines that run at once."""

from __future__ import annotations

from collections.abc import Sequence

from pibench.targets.base import Work


def share(work: Sequence[Work], parts: int) -> list[list[Work]]:
    """Split work so that each part has about the same cost, small networks first.

    Small first, since their results come soon and an early death costs little.
    """
    shares: list[list[Work]] = [[] for _ in range(min(parts, len(work)))]
    for piece in sorted(work, key=lambda piece: piece.cost_bytes, reverse=True):
        min(shares, key=lambda pieces: sum(p.cost_bytes for p in pieces)).insert(0, piece)
    return [pieces for pieces in shares if pieces]
