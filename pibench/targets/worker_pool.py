"""Divide work among machines that run at once."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from pibench import process
from pibench.targets.base import Job, Observer, Outcome

Item = TypeVar("Item")

PROGRAM_BYTES: Final = 150 << 20
"""Caffe with no network takes 56 MiB, Python with numpy and pydantic 90 to 130 (measured)."""
OVERHEAD_BYTES: Final = 200 << 20
"""QEMU's own memory: 45 MB at most with `caffe time`, 90 with Python, plus a machine's devices."""


def partition(work: Sequence[Job], parts: int, *, most_bytes: float = math.inf) -> list[list[Job]]:
    """Split work into parts of about the same cost, each with its small networks first.

    Small networks first: their results come soon, and an early death costs little. A network that
    needs more than `most_bytes` is killed when it has them, and costs as much as one that fits.
    """
    split: list[list[Job]] = [[] for _ in range(min(parts, len(work)))]
    for piece in largest_first(work):
        min(split, key=lambda part: sum(min(job.cost_bytes, most_bytes) for job in part)).insert(
            0, piece
        )
    return [part for part in split if part]


def serialised(observe: Observer) -> Observer:
    """Return an observer for use in threads: only one of them calls `observe` at a time."""
    lock = threading.Lock()

    def observe_alone(outcome: Outcome) -> None:
        with lock:
            observe(outcome)

    return observe_alone


@contextlib.contextmanager
def reporting(observe: Observer, *, workers: int) -> Iterator[Observer]:
    """Yield an observer for workers, who go on while one thread calls `observe` in turn.

    A report takes a processor where the twin runs for it. A worker therefore waits while there are
    as many reports as workers: else they would be made by one thread after the last network. A
    single worker waits for each. The block ends when all reports have been made; an error of one is
    raised in the next worker that reports, or at the end.
    """
    if workers == 1:
        yield observe
        return
    with ThreadPoolExecutor(max_workers=1) as reporter:
        calls: list[Future[None]] = []

        def report(outcome: Outcome) -> None:
            for call in calls[: 1 - workers] + [call for call in calls if call.done()]:
                call.result()
            calls.append(reporter.submit(observe, outcome))

        yield report
        for call in calls:
            call.result()


def pieces_at_once(work: Sequence[Job], *, wanted: int | None, cores: int, each_bytes: int) -> int:
    """Return how many pieces may run at once, each with so many bytes of this machine's memory.

    This is one where arithmetic is done: if two networks ran at once, the times of neither would
    be meaningful. Otherwise it is the user's choice, `wanted`, or as many as fit.
    """
    if any(piece.compute == "real" for piece in work):
        return 1
    return wanted or places(cores, each_bytes)


def places(cores: int, each_bytes: int) -> int:
    """Return how many processes fit at once, each on one core with `each_bytes`; at least one."""
    return max(1, min(cores, process.available_memory_bytes() // max(each_bytes, 1)))


def uncapped_bytes(cost_bytes: int) -> int:
    """Return a network's maximum where nothing limits it: blobs, parameters, layers' buffers."""
    return 2 * cost_bytes + PROGRAM_BYTES


def largest_first(work: Sequence[Job]) -> list[Job]:
    """Return pieces of work by descending cost: a large one that starts last ends alone."""
    return sorted(work, key=lambda piece: piece.cost_bytes, reverse=True)


class Turns:
    """Lets a number of networks run at once; others wait, prepared and not yet started."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._free = threading.BoundedSemaphore(at_once)

    @contextlib.contextmanager
    def one(self, stopping: threading.Event) -> Iterator[bool]:
        """Wait for a turn and yield True; yield False once `stopping` is set."""
        while not self._free.acquire(timeout=process.SIGNALS_S):
            if stopping.is_set():
                yield False
                return
        try:
            yield True
        finally:
            self._free.release()


def pooled(
    items: Sequence[Item], at_once: int, run_one: Callable[[Item, threading.Event], None]
) -> None:
    """Run items of work in threads, in their order, each as soon as a thread is free.

    After an error or Ctrl-C no further item is started. The items in progress see the
    event set that was passed to `run_one`.
    """
    waiting = deque(items)
    stopping = threading.Event()

    def work_off() -> None:
        while not stopping.is_set():
            try:
                item = waiting.popleft()
            except IndexError:
                return
            run_one(item, stopping)

    threads = max(1, min(at_once, len(items)))
    with ThreadPoolExecutor(max_workers=threads) as pool:
        try:
            workers = {pool.submit(work_off) for _ in range(threads)}
            while workers:
                # Wake up twice a second for signals. Of several in a row the kernel may give all
                # to another thread; nothing wakes a main thread that waits for a lock then, and
                # Python runs its handlers nowhere else.
                done, workers = wait(
                    workers, timeout=process.SIGNALS_S, return_when=FIRST_COMPLETED
                )
                for worker in done:
                    worker.result()
        except BaseException:
            # The pool waits for its threads: end them now, not after their last network.
            stopping.set()
            raise
