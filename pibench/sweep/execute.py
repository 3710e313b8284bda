"""Run cells, as many at once as the machine has room for, each in a process of its own."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from pibench import process
from pibench.errors import ExitCode, HostError, PibenchError
from pibench.images import store
from pibench.images.build import Builder
from pibench.records.store import RecordStore
from pibench.sweep.cell_cache import made_with
from pibench.target_kinds import kind_of_spec
from pibench.targets.emulation import OVERHEAD_BYTES
from pibench.targets.scratch import scratch
from pibench.targets.worker_pool import PROGRAM_BYTES, SIGNALS_S, uncapped_bytes

if TYPE_CHECKING:
    from pibench.records.schema import Record
    from pibench.sweep.matrix import Cell

ATTEMPTS: Final = 2
AROUND_S: Final = 900.0
"""Time in addition to the network's: building images, booting a machine, running the twin."""

Key = TypeVar("Key")
MIB: Final = 2**20
FREE_FRACTION: Final = 0.85
"""Usable fraction of the memory that is free at the start: the rest is for other programs."""


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """The result of a cell: its record and attempt number, or the reason for a missing record.

    `made_with` is the `made_with` of the machine that ran it, perhaps another one.
    """

    record: Record | None
    exit_code: int
    message: str
    attempt: int
    elapsed_s: float
    made_with: dict[str, str | None]


def run_cell(cell: Cell) -> CellResult:
    """Run a cell; run it a second time from scratch if it was inconclusive or failed.

    It raises no exception: the result reports why a cell could not run.
    """
    started = time.monotonic()
    ran = _run_once(cell, 1, started)
    for attempt in range(2, ATTEMPTS + 1):
        if ran.exit_code not in (ExitCode.INCONCLUSIVE, ExitCode.ENVIRONMENT):
            break
        ran = _run_once(cell, attempt, started)
    return ran


def _run_once(cell: Cell, attempt: int, started: float) -> CellResult:
    budget_s = cell.budget_s or cell.options.effective_timeout_s + AROUND_S
    record = None
    begun = time.monotonic()
    try:
        with scratch("study") as folder:
            out = folder / "record.jsonl"
            done = process.run(
                [sys.executable, "-m", "pibench", "run-cell", cell.write(folder), out],
                deadline_s=budget_s,
                check=False,
            )
            code, message = done.returncode, done.last_lines(1)
            if out.exists():
                record = _with_source(cell, next(iter(RecordStore(out).read()), None))
    except (PibenchError, OSError) as error:
        # A timeout is not the machine's fault: later cells may succeed.
        over = time.monotonic() - begun >= budget_s
        code, message = int(ExitCode.INCONCLUSIVE if over else ExitCode.ENVIRONMENT), str(error)
        if over:
            message = f"beyond its budget of {budget_s:g} s; allow more: --budget SECONDS"
    if record is None and code == ExitCode.OK:
        code, message = int(ExitCode.ENVIRONMENT), message or "it ended without a record"
    elapsed_s = time.monotonic() - started
    # A signal ended it: the interrupted run is repeated.
    code = code if code >= 0 else int(ExitCode.ENVIRONMENT)
    return CellResult(
        record=record,
        exit_code=code,
        message=message,
        attempt=attempt,
        elapsed_s=elapsed_s,
        made_with=made_with(cell.options.target),
    )


def _with_source(cell: Cell, record: Record | None) -> Record | None:
    """Return the record with the path from the study: the copy that ran is deleted."""
    if record is None or cell.prototxt is None:
        return record
    return record.model_copy(update={"network_source": cell.source})


@dataclass(frozen=True, kw_only=True)
class Room:
    """Memory in bytes and cores: either available, or needed by a cell."""

    memory_bytes: int
    cores: int


def of_this_machine(jobs: int | None = None) -> Room:
    """Return what is free on this machine; `jobs` limits parallel cells, through the cores."""
    cores = process.usable_cores()
    free = int(process.available_memory_bytes() * FREE_FRACTION)
    return Room(memory_bytes=free, cores=min(cores, jobs) if jobs else cores)


def needs(cell: Cell, cores: int) -> Room:
    """Return what a cell needs on a machine with this number of cores.

    An emulated cell may use all of the board's memory, however small its network: the
    cell's limit must be available. With real compute as many cores are busy as there
    are threads; memory-only compute uses one.
    """
    options = cell.options
    kind = kind_of_spec(options.target)
    if kind.runs_elsewhere:
        memory = 0
    elif kind.boundary in ("guest", "group"):
        memory = options.profile.ram_bytes + OVERHEAD_BYTES
    else:
        # No limit applies: count blobs, parameters and the buffers of layers.
        memory = uncapped_bytes(cell.cost_bytes)
    busy = options.effective_threads if options.effective_compute == "real" else 1
    return Room(memory_bytes=memory + PROGRAM_BYTES, cores=min(busy, cores))


def run_cells(
    cells: Iterator[tuple[Key, Cell]],
    submit: Callable[[Cell], Future[CellResult]],
    room: Room | None,
    on_result: Callable[[Key, Cell, CellResult], None],
    *,
    at_most: int = 1024,
) -> None:
    """Run cells in order, as many at once as fit into `room`.

    At most one cell beyond the running ones is taken from `cells`.

    Args:
        cells: the cells, each with a key that is passed on to `on_result`.
        submit: starts a cell.
        room: the available memory and cores; None for no limit but `at_most` (remote workers).
        on_result: called with key, cell and result of each finished cell.
        at_most: the maximum number of running cells.

    Raises:
        HostError: for a cell that needs more than the whole room; also whatever `on_result` raises.
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
        on_result(key, cell, future.result())


def _next(ended: queue.SimpleQueue[Future[CellResult]]) -> Future[CellResult]:
    """Wait for a cell to end, and look for signals meanwhile, as `completed` does."""
    while True:
        with suppress(queue.Empty):
            return ended.get(timeout=SIGNALS_S)


def discard_damaged_images(targets: Iterable[str], log: Callable[[str], None]) -> None:
    """Discard images that have changed since they were built, and report each to `log`.

    The first cell that needs such an image builds it again. Images not built yet are skipped.
    """
    builder = Builder()
    for kind in dict.fromkeys(kind for target in targets for kind in kind_of_spec(target).images):
        image = store.find(kind, builder.key(kind))
        if image is not None and not store.verify(image):
            store.discard(image)
            log(f"the image {kind} was damaged on the disk and is built again")
