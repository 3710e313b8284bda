"""As many cells at once as the machine holds, and never more."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from pibench import devices, host
from pibench.errors import HostError
from pibench.targets.emulation import OVERHEAD_BYTES
from pibench.targets.sharing import PROGRAM_BYTES, uncapped_bytes

if TYPE_CHECKING:
    from pibench.sweep.execute import CellResult
    from pibench.sweep.matrix import Cell

Key = TypeVar("Key")
MIB: Final = 2**20
FREE_SHARE: Final = 0.85
"""Of the memory that is free at the start: the rest is for what else goes on."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """Memory in bytes and cores: what there is, or what a cell takes."""

    memory_bytes: int
    cores: int


def of_this_machine(jobs: int | None = None) -> Room:
    """What is free here; `jobs` bounds the cells at once, by cores."""
    cores = host.usable_cores()
    free = int(host.available_memory_bytes() * FREE_SHARE)
    return Room(memory_bytes=free, cores=min(cores, jobs) if jobs else cores)


def needs(cell: Cell, cores: int) -> Room:
    """What a cell takes of a machine of so many cores.

    An emulated one may fill the board's memory, however small its network: the cap is the
    cell's, and has to be there. Where values are computed as many cores are busy as there
    are threads; memory-only compute keeps one busy.
    """
    options, request = cell.options, cell.options.request()
    device = devices.load(options.device)
    if options.target in ("twin", "native"):
        # Nothing is capped: blobs, parameters and the buffers of layers.
        memory = uncapped_bytes(cell.cost_bytes)
    elif options.target.startswith("ssh://"):
        memory = 0
    else:
        memory = device.ram_bytes + OVERHEAD_BYTES
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
    """Run cells, each with what `taken` knows it by, as many at once as `room` has place for.

    They are begun in their order. None is a room without walls, for workers elsewhere;
    `at_most` are under way then. What is in hand is never more than what runs and the next one.
    Raises HostError for a cell that no room would do for, and whatever `taken` raises.
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
        future = ended.get()
        key, cell, need = running.pop(future)
        free_bytes += need.memory_bytes
        free_cores += need.cores
        taken(key, cell, future.result())
