"""Dividing work among machines that run at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from pibench.targets.base import Work


def share(work: Sequence[Work], parts: int) -> list[list[Work]]:
    """Split work so that each part has about the same cost, small networks first.

    Small first, since their results come soon and an early death costs little.
    """
    shares: list[list[Work]] = [[] for _ in range(min(parts, len(work)))]
    for piece in sorted(work, key=lambda piece: piece.cost_bytes, reverse=True):
        min(shares, key=lambda pieces: sum(p.cost_bytes for p in pieces)).insert(0, piece)
    return [pieces for pieces in shares if pieces]


def pooled(
    work: Sequence[Work], at_once: int, run_one: Callable[[Work, threading.Event], None]
) -> None:
    """Run pieces of work in threads, the largest first, each as soon as a thread is free.

    After an error or Ctrl-C no piece is begun any more, and those that run
    learn of it by the event that they were given.
    """
    waiting = deque(sorted(work, key=lambda piece: piece.cost_bytes, reverse=True))
    stopping = threading.Event()

    def work_off() -> None:
        while not stopping.is_set():
            try:
                piece = waiting.popleft()
            except IndexError:
                return
            run_one(piece, stopping)

    with ThreadPoolExecutor(max_workers=max(1, min(at_once, len(work)))) as pool:
        try:
            workers = [pool.submit(work_off) for _ in range(max(1, min(at_once, len(work))))]
            for done in as_completed(workers):
                done.result()
        except BaseException:
            # The pool waits for its threads: they end now, and not with their last network.
            stopping.set()
            raise
