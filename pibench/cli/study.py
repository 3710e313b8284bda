"""`pibench sweep`: run a study, show its state, export its records."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pibench.cli.options import AsJson, Jobs, Quiet, Repair, finite, flag
from pibench.errors import ExitCode, HostError, InterruptedByUserError, InvalidInputError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from pibench.sweep.execute import CellResult
    from pibench.sweep.journal import Journal
    from pibench.sweep.matrix import Cell, Study
    from pibench.sweep.room import Room
    from pibench.sweep.scheduler import SweepSummary


class Sweeps(TyperGroup):
    """Commands in which `sweep STUDY` means `sweep run STUDY`, the most common use."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `run` if the first argument is not a command."""
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Sweeps,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _axis(name: str, metavar: str, said: str, *, also: str | None = None, **more: Any) -> Any:
    names = (name, also) if also else (name,)
    return typer.Option(*names, metavar=metavar, help=said, show_default=False, **more)


def _amount(name: str, metavar: str, said: str) -> Any:
    return _axis(name, metavar, said, min=0, callback=finite)


@app.command()
def run(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[STUDY.toml]", help="The study; or its axes by options."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The study's folder.")
    ] = None,
    resume: Annotated[
        bool, flag("--resume", help="Go on with the study in --out; options change it.")
    ] = False,
    dry: Annotated[bool, flag("--dry-run", help="List the cells and run none.")] = False,
    networks: Annotated[str | None, _axis("--networks", "A,B", "Names or prototxt files.")] = None,
    batch: Annotated[str | None, _axis("--batch", "1,2", "Images per pass.")] = None,
    image: Annotated[str | None, _axis("--input", "HxW,HxW", "Image sizes.")] = None,
    devices: Annotated[
        str | None, _axis("--device", "A,B", "Devices. Default: rpi3b.", also="--devices")
    ] = None,
    target: Annotated[str | None, _axis("--target", "A,B", "Targets. Default: vm.")] = None,
    protocol: Annotated[str | None, _axis("--protocol", "A,B", "Default: caffe-time.")] = None,
    compute: Annotated[
        str | None, _axis("--compute", "A,B", "real, memory-only. Default: the target's usual.")
    ] = None,
    blas: Annotated[str | None, _axis("--blas", "A,B", "Default: openblas.")] = None,
    threads: Annotated[
        str | None, _axis("--threads", "1,4", "Default: the device's cores.")
    ] = None,
    seed: Annotated[str | None, _axis("--seed", "0,1", "Default: 0.")] = None,
    timeout: Annotated[
        float | None, _amount("--timeout", "SECONDS", "Seconds that one network may take.")
    ] = None,
    budget: Annotated[
        float | None, _amount("--budget", "SECONDS", "Seconds for a cell with all around it.")
    ] = None,
    prune: Annotated[
        float | None,
        _amount(
            "--prune", "PERCENT", "Leave out what is planned to be that far beyond the device."
        ),
    ] = None,
    dask: Annotated[
        str | None, _axis("--dask", "ADDRESS|local", "Run cells on the workers of a scheduler.")
    ] = None,
    cells: Annotated[
        Path | None, _axis("--cells", "DIR", "Cells known from other studies, to be shared.")
    ] = None,
    fresh: Annotated[bool, flag("--fresh", help="Take nothing from other studies.")] = False,
    repair: Repair = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run every cell of a study; recorded cells do not run again.

    Cells run in parallel as memory and cores allow. Exit codes: 0 every cell has its
    verdict, 2 a cell is invalid, 3 the environment, 4 a cell is inconclusive.

    Example: pibench sweep run --networks AlexNet,NIN --batch 1,2,4 --target twin --out study
    """
    axes = {
        "networks": _words(networks),
        "batch": _numbers("--batch", batch),
        "input": _words(image),
        "device": _words(devices),
        "target": _words(target),
        "protocol": _words(protocol),
        "compute": _words(compute),
        "blas": _words(blas),
        "threads": _numbers("--threads", threads),
        "seed": _numbers("--seed", seed),
        "timeout_s": timeout,
        "budget_s": budget,
        "repair": repair or None,
    }
    from pibench.sweep.cell_cache import CellCache
    from pibench.sweep.journal import Journal

    if out is None:
        raise InvalidInputError("a study needs a folder", hint="add --out DIR")
    journal = Journal(out)
    given = {name: value for name, value in axes.items() if value is not None}
    study = _study(file, given, journal, resume)
    if prune is not None:
        study = study.model_copy(update={"prune": prune})
    known = None if fresh else CellCache(cells)
    again = ["pibench", "sweep", "--resume", "--out", str(out)]
    for option, value in (("--cells", cells), ("--dask", dask), ("--jobs", jobs)):
        again += [option, str(value)] if value is not None else []
    again += ["--fresh"] if fresh else []
    tally = _conduct(study, journal, known, dask, jobs, shlex.join(again), dry=dry, quiet=quiet)
    _show(out, {label: said for label, (_, said) in tally.failed.items()}, as_json=as_json)
    raise typer.Exit(int(ExitCode.OK if dry else tally.exit_code))


def _study(file: Path | None, axes: dict[str, Any], journal: Journal, resume: bool) -> Study:
    """Return the study from the file or the options; without either, from the folder."""
    from pibench.sweep import matrix

    there = journal.study_file.exists()
    if there and not resume:
        raise InvalidInputError.at(
            journal.folder, None, "holds a study already",
            hint="add --resume to go on with it, or give another --out",
        )  # fmt: skip
    if resume and not there:
        raise InvalidInputError.at(journal.folder, None, "holds no study to go on with")
    if file is not None:
        if axes:
            raise InvalidInputError(
                f"the axes are said twice: by {file} and by options",
                hint="write them into the file",
            )
        return matrix.read(file)
    if not axes and not resume:
        raise InvalidInputError(
            "no study is given", hint="give a STUDY.toml, or --networks A,B and other axes"
        )
    if "networks" in axes and not resume:
        return matrix.beside(matrix.of(axes, "the options"), Path.cwd())
    if not resume:
        raise InvalidInputError("a study needs networks", hint="add --networks A,B")
    from pibench import untrusted_input

    again = "give the study once more"
    content = untrusted_input.read(journal.study_file, hint=again)
    data = untrusted_input.json_of(content, journal.study_file, None, hint=again)
    study = matrix.of(data, journal.study_file)
    if axes:
        study = matrix.of({**study.model_dump(), **axes}, "the options")
    return matrix.beside(study, Path.cwd())


def _conduct(
    study: Study,
    journal: Journal,
    known: Any,
    dask: str | None,
    jobs: int | None,
    again: str,
    *,
    dry: bool,
    quiet: bool,
) -> SweepSummary:
    from pibench.cli.progress import CellProgress
    from pibench.cli.streams import say
    from pibench.sweep.images import mend
    from pibench.sweep.room import of_this_machine
    from pibench.sweep.scheduler import SweepScheduler

    room = of_this_machine(jobs)
    if dry:
        dask = None
    elif dask is None:
        mend(study.target, say)
    with CellProgress(quiet=quiet) as progress, _cells_run(dask, room, progress.tell) as submit:
        conduct = SweepScheduler(
            study=study,
            journal=journal,
            submit=submit,
            room=None if dask else room,
            known=known,
            dry=dry,
            tell=progress.tell,
            watch=progress.watch,
        )
        try:
            return conduct.run()
        except KeyboardInterrupt:
            tally = conduct.tally
            raise InterruptedByUserError(
                f"interrupted: {tally.ran + tally.taken_over} cells were recorded, "
                f"{tally.left} are left",
                hint=f"go on: {again}",
            ) from None


@contextmanager
def _cells_run(
    dask: str | None, room: Room, tell: Callable[[str], None]
) -> Iterator[Callable[[Cell], Future[CellResult]]]:
    """Yield a function that starts a cell: in a thread with a child process, or by Dask."""
    from concurrent.futures import ThreadPoolExecutor

    from pibench import process
    from pibench.sweep.execute import run_cell

    if dask is not None:
        from pibench.sweep.dask import workers

        with workers(dask, room.cores, tell) as submit:
            yield submit
        return
    with ThreadPoolExecutor(max_workers=room.cores) as pool, process.stopped_together():
        yield lambda cell: pool.submit(run_cell, cell)


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")],
    as_json: AsJson = False,
) -> None:
    """Show the state of a study, while it runs or afterwards.

    Example: pibench sweep status study
    """
    _show(folder, as_json=as_json)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A .parquet or .csv file.")
    ],
) -> None:
    """Write a study's records as one table, one row per record.

    Example: pibench sweep export study -o study.parquet
    """
    from pibench.atomic_write import write_whole
    from pibench.report.frames import csv_of, rows_of
    from pibench.sweep.journal import Journal
    from pibench.sweep.status import status as of

    now = of(folder)
    if out.suffix not in (".parquet", ".csv"):
        raise InvalidInputError.at(
            out, None, "is neither .parquet nor .csv", hint="name it study.parquet"
        )
    # A row is small compared with its record, which has all its layers.
    rows = rows_of([*Journal(folder).records()])
    if out.suffix == ".csv":
        write_whole(out, csv_of(rows))
    else:
        import pandas as pd

        try:
            table = pd.DataFrame.from_records(rows).to_parquet(index=False)
        except ImportError:
            raise HostError(
                "Parquet needs pyarrow", hint="pip install 'pibench[dask]', or write a .csv"
            ) from None
        write_whole(out, table)
    print(f"written: {out}, {len(rows)} records of the study's {now.cells} cells")


def _show(folder: Path, failed: dict[str, str] | None = None, *, as_json: bool) -> None:
    import dataclasses
    import json

    from pibench.cli.streams import ignore_broken_pipe
    from pibench.report.plain import one_line
    from pibench.sweep.status import status as of

    now = of(folder)
    with ignore_broken_pipe():
        if as_json:
            more = {} if failed is None else {"failed": failed}
            print(json.dumps(dataclasses.asdict(now) | more, indent=2))
            return
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in now.verdicts.items())
        state = "a sweep is at work" if now.at_work else "no sweep is at work"
        print(f"{one_line(str(folder))}: {now.cells} cells: {verdicts or 'none recorded'}; {state}")
        if now.left_out:
            print(f"left out: {len(now.left_out)}")
        for label, reason in list(now.left_out.items())[:10]:
            print(f"  {one_line(label)}: {one_line(reason)}")
        if len(now.left_out) > 10:
            print(f"  and {len(now.left_out) - 10} more: --json lists all")
        for label, said in list((failed or {}).items())[:10]:
            print(f"failed: {one_line(label)}: {one_line(said)}")
        if now.missing:
            print(f"missing: {len(now.missing)}, next {one_line(now.missing[0])}")
        if now.damaged_lines:
            print(f"damaged lines in the journal: {now.damaged_lines}; the next sweep mends it")
        records = one_line(f"{folder}/journal.jsonl")
        print(f"records: {records} (pibench report, reconcile and load read it)")


def _words(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(option: str, text: str | None) -> list[int] | None:
    words = _words(text)
    try:
        return None if words is None else [int(word) for word in words]
    except ValueError:
        raise InvalidInputError(
            f"{option} {text} is no list of whole numbers", hint=f"write {option} 1,2,4"
        ) from None
