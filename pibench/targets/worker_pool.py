"""Divide work among machines that run at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final

from pibench import process
from pibench.targets.base import Job, Observer, Outcome

SIGNALS_S: Final = 0.5
"""How long a signal may go unnoticed."""
PROGRAM_BYTES: Final = 150 << 20
"""Caffe with no network takes 56 MiB, Python with numpy and pydantic 90 to 130 (measured)."""


def share(work: Sequence[Job], parts: int) -> list[list[Job]]:
    """Split work into parts of about the same cost, each with its small networks first.

    Small networks first: their results come soon, and an early death costs little.
    """
    shares: list[list[Job]] = [[] for _ in range(min(parts, len(work)))]
    for piece in sorted(work, key=lambda piece: piece.cost_bytes, reverse=True):
        min(shares, key=lambda pieces: sum(p.cost_bytes for p in pieces)).insert(0, piece)
    return [pieces for pieces in shares if pieces]


def serialised(observe: Observer) -> Observer:
    """Return an observer for use in threads: only one of them calls `observe` at a time."""
    lock = threading.Lock()

    def observe_alone(outcome: Outcome) -> None:
        with lock:
            observe(outcome)

    return observe_alone


def pieces_at_once(work: Sequence[Job], *, wanted: int | None, cores: int, each_bytes: int) -> int:
    """Return how many pieces may run at once, each with so many bytes of this machine's memory.

    This is one where arithmetic is done: if two networks ran at once, the times of neither would
    be meaningful.

    Args:
        work: the pieces.
        wanted: the user's choice; None takes as many as fit.
        cores: this machine's cores.
        each_bytes: what one piece takes at most.
    """
    if any(piece.compute == "real" for piece in work):
        return 1
    return wanted or places(cores, each_bytes)


def places(cores: int, each_bytes: int) -> int:
    """Return how many processes fit at once, each on one core with `each_bytes`; at least one."""
    return max(1, min(cores, process.available_memory_bytes() // max(each_bytes, 1)))


def completed(futures: Iterable[Future[None]]) -> Iterator[Future[None]]:
    """Yield futures as they end, and look for signals twice a second meanwhile.

    Of several signals in a row the kernel may give all to another thread. Then nothing wakes a
    main thread that waits for a lock, and Python runs its handlers nowhere else.
    """
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=SIGNALS_S, return_when=FIRST_COMPLETED)
        yield from done


def uncapped_bytes(cost_bytes: int) -> int:
    """Return a network's maximum where nothing limits it: blobs, parameters, layers' buffers."""
    return 2 * cost_bytes + PROGRAM_BYTES


def pooled(
    work: Sequence[Job], at_once: int, run_one: Callable[[Job, threading.Event], None]
) -> None:
    """Run pieces of work in threads, the largest first, each as soon as a thread is free.

    After an error or Ctrl-C no further piece is started. The pieces in progress see the
    event set that was passed to `run_one`.
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
            for done in completed(workers):
                done.result()
        except BaseException:
            # The pool waits for its threads: end them now, not after their last network.
            stopping.set()
            raise
