"""Work in threads: the largest first, each piece once, and nothing begun after an error."""

from __future__ import annotations

import threading
import time

import pytest

from pibench.targets.base import Job, Outcome
from pibench.targets.worker_pool import largest_first, pooled, reporting


def pieces(*costs: int) -> list[Job]:
    return [
        Job(
            id=str(index),
            name=f"network {index}",
            prototxt="",
            weights=None,
            protocol="caffe-time",
            compute="memory-only",
            threads=1,
            timeout_s=60,
            cost_bytes=cost,
        )
        for index, cost in enumerate(costs)
    ]


def test_one_at_a_time_the_largest_is_first() -> None:
    order: list[int] = []
    pooled(largest_first(pieces(2, 9, 4, 7)), 1, lambda piece, _: order.append(piece.cost_bytes))
    assert order == [9, 7, 4, 2]


@pytest.mark.parametrize("at_once", [1, 2, 3, 8, 100])
def test_each_piece_runs_once(at_once: int) -> None:
    seen: list[str] = []
    lock = threading.Lock()

    def run_one(piece: Job, _: threading.Event) -> None:
        time.sleep(0.001)
        with lock:
            seen.append(piece.id)

    pooled(pieces(*range(20)), at_once, run_one)
    assert sorted(seen, key=int) == [str(index) for index in range(20)]


def test_no_more_run_at_once_than_are_wanted() -> None:
    running: set[str] = set()
    most = 0
    lock = threading.Lock()

    def run_one(piece: Job, _: threading.Event) -> None:
        nonlocal most
        with lock:
            running.add(piece.id)
            most = max(most, len(running))
        time.sleep(0.02)
        with lock:
            running.remove(piece.id)

    pooled(pieces(*range(9)), 3, run_one)
    assert most == 3


def test_no_work_is_not_an_error() -> None:
    pooled([], 4, lambda *_: pytest.fail("there is nothing to run"))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_stops_what_waits_and_notifies_what_runs(error: type[BaseException]) -> None:
    begun: list[int] = []
    reported: list[int] = []
    both_run = threading.Barrier(2, timeout=10)

    def run_one(piece: Job, stopping: threading.Event) -> None:
        begun.append(piece.cost_bytes)
        both_run.wait()
        if piece.cost_bytes == 9:
            raise error
        if stopping.wait(timeout=10):
            reported.append(piece.cost_bytes)

    with pytest.raises(error):
        pooled(pieces(9, 8, 7, 6, 5), 2, run_one)
    assert sorted(begun) == [8, 9]
    assert reported == [8]


# ---------------------------------------------------------------- reports beside the work


def test_workers_go_on_while_an_outcome_is_reported_and_wait_where_many_are_left() -> None:
    seen: list[str] = []
    go = threading.Event()

    def observe(outcome: Outcome) -> None:
        assert go.wait(20)
        seen.append(outcome.job.id)

    one, other, last = (Outcome(job=piece, machine=None) for piece in pieces(1, 2, 3))
    with reporting(observe, workers=2) as report:
        report(one)
        report(other)
        assert seen == []
        threading.Timer(0.1, go.set).start()
        report(last)
        assert seen[:1] == ["0"]
    assert seen == ["0", "1", "2"]


def test_an_error_of_a_report_ends_the_work() -> None:
    def observe(_: Outcome) -> None:
        raise OSError("the disk is full")

    (piece,) = pieces(1)
    outcome = Outcome(job=piece, machine=None)
    with pytest.raises(OSError, match="full"), reporting(observe, workers=2) as report:
        report(outcome)
    with pytest.raises(OSError, match="full"), reporting(observe, workers=1) as report:
        report(outcome)
