"""Run cells, each in a process of its own: as many at once as fit, or on many machines with Dask.

With Dask, resource tags decide which worker takes which cell. Start a worker as Dask's
documentation describes, with tags for its capabilities:

    dask worker tcp://HOST:8786 --nthreads 1 --resources "docker=1 vm=1"
"""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pibench import process, target_kinds
from pibench.errors import ExitCode, HostError, PibenchError, extra
from pibench.images import store
from pibench.images.build import Builder
from pibench.records.store import RecordStore
from pibench.sweeps.matrix import made_with
from pibench.target_kinds import kind_of_spec
from pibench.targets.sandbox import scratch
from pibench.targets.worker_pool import (
    OVERHEAD_BYTES,
    PROGRAM_BYTES,
    uncapped_bytes,
)

if TYPE_CHECKING:
    from pibench.records.schema import Record
    from pibench.sweeps.matrix import Cell

ATTEMPTS: Final = 2
AROUND_S: Final = 900.0
"""Time in addition to the network's: building images, booting a machine, running the twin."""

RETRIES: Final = 3
"""How often a cell is given to another worker after its worker was lost."""
CONNECT_S: Final = 20

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
                record = next(iter(RecordStore(out).read()), None)
                if record is not None and cell.prototxt is not None:
                    # The path from the study: the copy that ran is deleted.
                    record = record.model_copy(update={"network_source": cell.source})
    except (PibenchError, OSError) as error:
        # A timeout is not the machine's fault: later cells may succeed.
        over = time.monotonic() - begun >= budget_s
        code, message = int(ExitCode.INCONCLUSIVE if over else ExitCode.ENVIRONMENT), str(error)
        if over:
            message = f"beyond its budget of {budget_s:g} s; allow more: --budget SECONDS"
    if record is None and code == ExitCode.OK:
        code, message = int(ExitCode.ENVIRONMENT), message or "it ended without a record"
    return CellResult(
        record=record,
        # A signal ended it: the interrupted run is repeated.
        exit_code=code if code >= 0 else int(ExitCode.ENVIRONMENT),
        message=message,
        attempt=attempt,
        elapsed_s=time.monotonic() - started,
        made_with=made_with(cell.options.target),
    )


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
            return ended.get(timeout=process.SIGNALS_S)


def discard_damaged_images(targets: Iterable[str], log: Callable[[str], None]) -> None:
    """Discard images that have changed since they were built, and report each to `log`.

    The first cell that needs such an image builds it again. Images not built yet are skipped.
    """
    builder = Builder()
    kinds = dict.fromkeys(kind for target in targets for kind in kind_of_spec(target).images)
    images = (store.find(kind, builder.key(kind)) for kind in kinds)
    for kind in store.discard_damaged(image for image in images if image is not None):
        log(f"the image {kind} was damaged on the disk and is built again")


@contextmanager
def workers(
    address: str, at_once: int, log: Callable[[str], None], *, connect_s: float = CONNECT_S
) -> Iterator[Callable[[Cell], Future[CellResult]]]:
    """Yield a function that submits a cell to the scheduler at `address`, or to `local` workers.

    Raises:
        HostError: if Dask is not installed, or the scheduler does not answer.
    """
    # A tag for native would be a device's name, which this machine may not be.
    tags = [tag for kind in target_kinds.installed() if (tag := kind.tag(""))]
    with extra("sweep"):
        from distributed import Client, LocalCluster  # noqa: PLC0415  (optional)
    if address == "local":
        with (
            LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=at_once,
                threads_per_worker=1,
                resources=dict.fromkeys(tags, 1),
                dashboard_address=None,
            ) as cluster,
            Client(cluster) as client,  # type: ignore[no-untyped-call]
        ):
            yield _submit(client, log)
        return
    try:
        process.complete(_greet(address, connect_s))
        client = Client(address, timeout=connect_s)  # type: ignore[no-untyped-call]
    except Exception as error:
        # A server with another protocol can cause any exception in Dask's reader, even MemoryError.
        reason = str(error) or type(error).__name__
        raise HostError(
            f"no Dask scheduler at {address}: {reason}", hint="start one: dask scheduler"
        ) from None
    with client:
        yield _submit(client, log)


async def _greet(address: str, connect_s: float) -> None:
    """Check that a scheduler answers: Client itself would wait forever."""
    from distributed import Security  # noqa: PLC0415  (optional)
    from distributed.core import rpc  # noqa: PLC0415  (optional)

    arguments = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
    there = rpc(address, connection_args=arguments)  # type: ignore[no-untyped-call]
    async with asyncio.timeout(connect_s), there:
        answer = await there.identity()
    if answer["type"] != "Scheduler":
        raise ValueError(f"a {answer['type']} is there")


def _submit(client: Any, log: Callable[[str], None]) -> Callable[[Cell], Future[CellResult]]:
    executors: dict[str, Any] = {}

    def submit(cell: Cell) -> Future[CellResult]:
        tag = kind_of_spec(cell.options.target).tag(cell.options.device)
        if tag not in executors:
            executors[tag] = client.get_executor(resources={tag: 1}, retries=RETRIES, pure=False)
            offered = {
                name
                for worker in client.scheduler_info()["workers"].values()
                for name in worker["resources"]
            }
            if tag not in offered:
                log(f"no worker offers {tag!r} yet: such cells wait for one")
        future: Future[CellResult] = executors[tag].submit(_run_on_worker, cell)
        return future

    return submit


def _run_on_worker(cell: Cell) -> CellResult:
    """Run a cell; child processes of a cell end with the worker."""
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    return run_cell(cell)
