"""Run cells on many machines with Dask; resource tags decide which worker takes which cell.

Start a worker as Dask's documentation describes, with tags for its capabilities:

    dask worker tcp://HOST:8786 --nthreads 1 --resources "docker=1 vm=1"
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from pibench import target_kinds
from pibench.errors import HostError
from pibench.sweep.execute import CellResult, run_cell

if TYPE_CHECKING:
    from pibench.sweep.matrix import Cell

RETRIES: Final = 3
"""How often a cell is given to another worker after its worker was lost."""

CONNECT_S: Final = 20


def tag_of(cell: Cell) -> str:
    """Return the tag that a worker needs for this cell."""
    return target_kinds.kind_of_spec(cell.options.target).tag(cell.options.device)


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
    try:
        from distributed import Client, LocalCluster  # noqa: PLC0415  (optional)
    except ImportError:
        raise HostError("Dask is not installed", hint="pip install 'pibench[dask]'") from None
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
        asyncio.run(_greet(address, connect_s))
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
        tag = tag_of(cell)
        if tag not in executors:
            executors[tag] = client.get_executor(resources={tag: 1}, retries=RETRIES, pure=False)
            offered = {
                name
                for worker in client.scheduler_info()["workers"].values()
                for name in worker["resources"]
            }
            if tag not in offered:
                log(f"no worker offers {tag!r} yet: such cells wait for one")
        future: Future[CellResult] = executors[tag].submit(_on_worker, cell)
        return future

    return submit


def _on_worker(cell: Cell) -> CellResult:
    """Run `run_cell`; child processes of a cell end with the worker."""
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    return run_cell(cell)
