"""Run as many cells at once as the machine has memory and cores for."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from pibench import devices, host
from pibench.errors import HostError
from pibench.target_kinds import kind_of_spec
from pibench.targets.emulation import OVERHEAD_BYTES
from pibench.targets.worker_pool import PROGRAM_BYTES, SIGNALS_S, uncapped_bytes

if TYPE_CHECKING:
    from pibench.sweep.execute import CellResult
    from pibench.sweep.matrix import Cell

Key = TypeVar("Key")
MIB: Final = 2**20
FREE_SHARE: Final = 0.85
"""Usable fraction of the memory that is free at the start: the rest is for other programs."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """Memory in bytes and cores: either available, or needed by a cell."""

    memory_bytes: int
    cores: int


def of_this_machine(jobs: int | None = None) -> Room:
    """Return what is free on this machine; `jobs` limits parallel cells, through the cores."""
    cores = host.usable_cores()
    free = int(host.available_memory_bytes() * FREE_SHARE)
    return Room(memory_bytes=free, cores=min(cores, jobs) if jobs else cores)


def needs(cell: Cell, cores: int) -> Room:
    """Return what a cell needs on a machine with this number of cores.

    An emulated cell may use all of the board's memory, however small its network: the
    cell's limit must be available. With real compute as many cores are busy as there
    are threads; memory-only compute uses one.
    """
    options, request = cell.options, cell.options.request()
    device = devices.load(options.device)
    kind = kind_of_spec(options.target)
    if kind.runs_elsewhere:
        memory = 0
    elif kind.boundary in ("guest", "group"):
        memory = device.ram_bytes + OVERHEAD_BYTES
    else:
        # No limit applies: count blobs, parameters and the buffers of layers.
        memory = uncapped_bytes(cell.cost_bytes)
    threads = request.threads or device.cores
    busy = threads if request.compute == "real" else 1
    return Room(memory_bytes=memory + PROGRAM_BYTES, cores=min(busy, cores))


def run_cells(
    cells: Iterator[tuple[Key, Cell]],
    submit: Callable[[Cell], Future[CellResult]],
    room: Room | None,
    taken: Callable[[Key, Cell, CellResult], None],
    *,
    at_most: int = 1024,
) -> None:
    """Run cells in order, as many at once as fit into `room`.

    At most one cell beyond the running ones is taken from `cells`.

    Args:
        cells: the cells, each with a key that is passed on to `taken`.
        submit: starts a cell.
        room: the available memory and cores; None for no limit but `at_most` (remote workers).
        taken: called with key, cell and result of each finished cell.
        at_most: the maximum number of running cells.

    Raises:
        HostError: for a cell that needs more than the whole room; also whatever `taken` raises.
    """
    ended: queue.SimpleQueue[Future[CellResult]] = queue.SimpleQueue()
    running: dict[Future[CellResult], tuple[Key, Cell, Room]] = {}
    free_bytes, free_cores = (room.memory_bytes, room.cores) if room else (0, 0)
    waiting = next(cells, None)
    while waiting is not None or running:
        while waiting is not None and len(running) < at_most:
            key, cell = waiting
            need = needs(cell, room.cores) if room else Room(memory_bytes=0, cores=0)
            if need.memory_bytes > free_bytes or need.cores > free_cores:
                if not running:
                    raise HostError(
                        f"{cell.label} needs {need.memory_bytes // MIB} MiB here, and "
                        f"{free_bytes // MIB} MiB are free",
                        hint="end other programs, or run it on a larger machine",
                    )
                break
            free_bytes -= need.memory_bytes
            free_cores -= need.cores
            future = submit(cell)
            running[future] = (key, cell, need)
            future.add_done_callback(ended.put)
            waiting = next(cells, None)
        future = _next(ended)
        key, cell, need = running.pop(future)
        free_bytes += need.memory_bytes
        free_cores += need.cores
        taken(key, cell, future.result())


def _next(ended: queue.SimpleQueue[Future[CellResult]]) -> Future[CellResult]:
    """Wait for a cell to end, and look for signals meanwhile, as `completed` does."""
    while True:
        with suppress(queue.Empty):
            return ended.get(timeout=SIGNALS_S)
