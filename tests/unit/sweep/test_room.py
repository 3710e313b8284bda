"""As many cells at once as there is room for, and never more."""

from __future__ import annotations

import dataclasses
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pibench.errors import HostError
from pibench.sweeps import execute, matrix
from pibench.sweeps.execute import CellResult, Room, needs, run_cells
from tests.unit.sweep.conftest import answered

MIB = 2**20
CELLS = {
    compute: next(matrix.cells(matrix.of({"networks": "NIN", "compute": compute}, "")))[0]
    for compute in ("memory-only", "real")
}


def test_what_a_cell_takes() -> None:
    memory_only, real = needs(CELLS["memory-only"], 8), needs(CELLS["real"], 8)
    # The board's 1 GiB, QEMU and this program.
    assert memory_only.memory_bytes == real.memory_bytes == (1024 + 200 + 150) * MIB
    assert (memory_only.cores, real.cores) == (1, 4)
    assert needs(CELLS["real"], 2).cores == 2
    twin = dataclasses.replace(
        CELLS["real"], options=dataclasses.replace(CELLS["real"].options, target="twin")
    )
    assert needs(twin, 8).memory_bytes == 2 * twin.cost_bytes + (150 + 150) * MIB


@settings(max_examples=30)
@given(
    kinds=st.lists(st.sampled_from(["memory-only", "real"]), max_size=30),
    memory_gib=st.integers(2, 8),
    cores=st.integers(1, 6),
)
def test_all_run_in_their_order_and_never_too_many(
    kinds: list[str], memory_gib: int, cores: int
) -> None:
    room = Room(memory_bytes=memory_gib << 30, cores=cores)
    lock = threading.Lock()
    running: list[Room] = []
    begun: list[str] = []
    taken: list[str] = []

    def run(key: str, need: Room) -> CellResult:
        with lock:
            running.append(need)
            begun.append(key)
            assert sum(one.memory_bytes for one in running) <= room.memory_bytes
            assert sum(one.cores for one in running) <= room.cores
        time.sleep(0.0005)
        with lock:
            running.remove(need)
        return answered()

    numbers = iter(range(len(kinds)))
    with ThreadPoolExecutor(max_workers=cores) as pool:
        run_cells(
            ((str(i), CELLS[kind]) for i, kind in enumerate(kinds)),
            lambda cell: pool.submit(run, str(next(numbers)), needs(cell, room.cores)),
            room,
            lambda key, _cell, _ran: taken.append(key),
        )
    assert sorted(begun, key=int) == sorted(taken, key=int) == [str(i) for i in range(len(kinds))]


def test_a_cell_that_is_larger_than_the_machine_is_refused() -> None:
    with pytest.raises(HostError, match=r"needs 1374 MiB here, and 1000 MiB are free"):
        run_cells(
            iter([("1", CELLS["real"])]),
            lambda _: Future(),
            Room(memory_bytes=1000 * MIB, cores=1),
            lambda *_: None,
        )


def test_elsewhere_only_so_many_are_under_way() -> None:
    waiting: list[Future[CellResult]] = []
    largest = 0

    def submit(_cell: object) -> Future[CellResult]:
        nonlocal largest
        future: Future[CellResult] = Future()
        waiting.append(future)
        largest = max(largest, len(waiting))
        if len(waiting) == 5:
            for one in waiting:
                one.set_result(answered())
            waiting.clear()
        return future

    taken: list[str] = []
    run_cells(
        ((str(i), CELLS["real"]) for i in range(50)),
        submit,
        None,
        lambda key, *_: taken.append(key),
        at_most=5,
    )
    assert (largest, len(taken)) == (5, 50)


def test_this_machine_has_room() -> None:
    assert execute.of_this_machine(jobs=1).cores == 1
    assert execute.of_this_machine().memory_bytes > 0
