"""Find a study, in a file, in keywords or in its folder, and run its cells: here, or by Dask."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from pibench import file_io, process
from pibench.engines.base import Compute, Protocol
from pibench.engines.caffe import Repair
from pibench.errors import InvalidInputError
from pibench.setups import Blas
from pibench.sweeps import matrix
from pibench.sweeps.execute import (
    CellResult,
    Room,
    discard_damaged_images,
    of_this_machine,
    run_cell,
    workers,
)
from pibench.sweeps.matrix import Cell, Study
from pibench.sweeps.scheduler import SweepScheduler
from pibench.target_kinds import Machine

if TYPE_CHECKING:
    from pibench.records.schema import Record
    from pibench.sweeps.journal import CellCache, Journal
    from pibench.sweeps.scheduler import SweepSummary


class StudyKeywords(TypedDict, total=False):
    """The fields of `Study` as keyword arguments; an axis is a value or several."""

    networks: str | Path | Sequence[str | Path]
    batch: int | Sequence[int | None] | None
    input: str | Sequence[str | None] | None
    device: str | Sequence[str]
    target: str | Sequence[str]
    engine: str | Sequence[str]
    protocol: Protocol | Sequence[Protocol]
    compute: Compute | Sequence[Compute | None] | None
    blas: Blas | Sequence[Blas]
    threads: int | Sequence[int | None] | None
    seed: int | Sequence[int]
    machine: Machine | None
    fresh_boot: bool
    repeats: int
    timeout_s: float | None
    budget_s: float | None
    repair: Repair
    prune: float | None
    weights: Mapping[str, str | Path]


def find(file: Path | None, given: Mapping[str, Any], journal: Journal, *, resume: bool) -> Study:
    """Return the study of a file or of keywords; without either, the one in the folder.

    Args:
        file: A study's TOML file.
        given: Fields of `Study`; None is a field that is not given. `prune` may go with a file.
        journal: The study's folder.
        resume: Continue the study in the folder, with the fields in `given` changed.

    Raises:
        InvalidInputError: The study cannot be used, or the folder has one already, or none.
    """
    for name in given:
        if name not in Study.model_fields:
            near = difflib.get_close_matches(name, Study.model_fields, n=1)
            raise InvalidInputError(
                f"a study has no {name!r}",
                hint=f"did you mean {near[0]}?" if near else "see pibench.sweeps.matrix.Study",
            )
    axes = {name: _plain(value) for name, value in given.items() if value is not None}
    prune = {"prune": axes.pop("prune")} if "prune" in axes else {}
    study = _find(file, axes, journal, resume=resume)
    if not prune:
        return study
    return matrix.of({**study.model_dump(), **prune}, "the options")


def _find(file: Path | None, axes: dict[str, Any], journal: Journal, *, resume: bool) -> Study:
    there = journal.study_file.exists()
    if there and not resume:
        hint = "add --resume to continue it, or give another --out"
        raise InvalidInputError.at(journal.folder, None, "has a study already", hint=hint)
    if resume and not there:
        raise InvalidInputError.at(journal.folder, None, "has no study to continue")
    if file is not None:
        if axes:
            problem = f"axes are given both in {file} and as options"
            raise InvalidInputError(problem, hint="write them into the file")
        return matrix.read(file)
    if not axes and not resume:
        raise InvalidInputError(
            "no study is given", hint="give a STUDY.toml, or --networks A,B and other axes"
        )
    if "networks" in axes and not resume:
        return matrix.beside(matrix.of(axes, "the options"), Path.cwd())
    if not resume:
        raise InvalidInputError("a study needs networks", hint="add --networks A,B")
    again = "give the study again"
    content = file_io.read_input(journal.study_file, hint=again)
    data = file_io.json_of(content, journal.study_file, None, hint=again)
    study = matrix.of(data, journal.study_file)
    if axes:
        study = matrix.of({**study.model_dump(), **axes}, "the options")
    return matrix.beside(study, Path.cwd())


def _plain(value: Any) -> Any:
    """Return a field's value with each path as text, which is what a study has."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def run(
    study: Study,
    journal: Journal,
    *,
    cache: CellCache | None,
    dask: str | None = None,
    jobs: int | None = None,
    dry: bool = False,
    log: Callable[[str], None] = lambda _: None,
    on_change: Callable[[SweepSummary, str, Record | None], None] = lambda *_: None,
) -> SweepSummary:
    """Run the cells of a study that have no conclusive record; each record is kept at once.

    Args:
        study: The study.
        journal: Where its records are kept; the folder is locked meanwhile.
        cache: The cells of other studies; None to run each cell.
        dask: The address of a Dask scheduler that runs the cells, or `local`.
        jobs: The most cells at once on this machine; None is what memory and cores allow.
        dry: List the cells, run none.
        log: Called with a line about each one-time step, and about each cell that failed.
        on_change: Called with the summary whenever it changes, and with a cell's label and record
            if that cell caused the change.

    Raises:
        InvalidInputError: A network cannot be used.
        HostError: Cells fail repeatedly on this machine, or the journal cannot be written.
        KeyboardInterrupt: The user interrupted it. Its cells are stopped, the records are kept.
    """
    room = of_this_machine(jobs)
    if dry:
        dask = None
    elif dask is None:
        discard_damaged_images(study.target, log)
    with _cells_run(dask, room, log) as submit:
        scheduler = SweepScheduler(
            study=study,
            journal=journal,
            submit=submit,
            room=None if dask else room,
            cache=cache,
            dry=dry,
            log=log,
            on_change=on_change,
        )
        return scheduler.run()


@contextmanager
def _cells_run(
    dask: str | None, room: Room, log: Callable[[str], None]
) -> Iterator[Callable[[Cell], Future[CellResult]]]:
    """Yield a function that starts a cell: in a thread with a child process, or by Dask."""
    if dask is not None:
        with workers(dask, room.cores, log) as submit:
            yield submit
        return
    set_here = False
    try:
        with ThreadPoolExecutor(max_workers=room.cores) as pool, process.stopped_together():
            try:
                yield lambda cell: pool.submit(run_cell, cell)
            except BaseException:
                # Else a stopped cell would get its second attempt. The command line's handler of
                # signals has set it; in a notebook there is none, and the next call needs it clear.
                set_here = not process.interrupted.is_set()
                process.interrupted.set()
                raise
    finally:
        if set_here:
            process.interrupted.clear()
