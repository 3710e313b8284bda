"""`pibench sweep`: run a study, show its state, export its records."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pibench.cli import options as opt
from pibench.cli.output import CellProgress, for_terminal, ignore_broken_pipe, print_json, say
from pibench.errors import ExitCode, InterruptedByUserError, InvalidInputError, extra
from pibench.report.text import visible


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

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")]


def axis(metavar: str, help: str, *names: str) -> Any:  # noqa: A002  (Typer's own name for it)
    """Define an option for an axis of a study: a list of values."""
    return opt.value(help, *names, metavar=metavar)


@app.command()
def run(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[STUDY.toml]", help="The study. Without it: its axes as options."),
    ] = None,
    out: Path | None = typer.Option(None, metavar="DIR", help="The study's folder."),
    resume: bool = opt.switch("--resume", "Continue the study in --out; options change it."),
    dry: bool = opt.switch("--dry-run", "List the cells, run none."),
    networks: str | None = axis("A,B", "Names or prototxt files."),
    batch: str | None = axis("1,2", "Images per pass."),
    image: str | None = axis("HxW,HxW", "Image sizes.", "--input"),
    device: str | None = axis("A,B", "Devices. Default: rpi3b.", "--device", "--devices"),
    target: str | None = axis("A,B", "Targets. Default: vm."),
    engine: str | None = axis("A,B", "Default: caffe."),
    protocol: str | None = axis("A,B", "Default: caffe-time, or what all engines can run."),
    compute: str | None = axis("A,B", "real, memory-only. Default: the target's."),
    blas: str | None = axis("A,B", "Default: openblas."),
    threads: str | None = axis("1,4", "Default: the device's cores."),
    seed: str | None = axis("0,1", "Default: 0."),
    timeout: float | None = opt.amount(
        None, "--timeout", "SECONDS", "Time limit of each network.", 0
    ),
    budget: float | None = opt.amount(
        None, "--budget", "SECONDS", "Time limit of a cell, with overhead.", 0
    ),
    prune: float | None = opt.amount(
        None, "--prune", "PERCENT", "Omit cells planned to exceed the device by more.", 0
    ),
    dask: str | None = opt.value("Run cells on a scheduler's workers.", metavar="ADDRESS|local"),
    cells: Path | None = opt.value("The cache of cells that studies share.", metavar="DIR"),
    fresh: bool = opt.switch("--fresh", "Use no cells from the cache."),
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
    fresh_boot: opt.FreshBoot = False,
    jobs: opt.Jobs = None,
    quiet: opt.Quiet = False,
    as_json: opt.AsJson = False,
) -> None:
    """Run every cell of a study; recorded cells do not run again.

    Cells run in parallel as memory and cores allow. Exit codes: 0 every cell has its
    verdict, 2 a cell is invalid, 3 the environment, 4 a cell is inconclusive.

    Example: pibench sweep run --networks AlexNet,NIN --batch 1,2,4 --target twin --out study
    """
    axes = {
        "networks": opt.words(networks),
        "batch": _numbers("--batch", batch),
        "input": opt.words(image),
        "device": opt.words(device),
        "target": opt.words(target),
        "engine": opt.words(engine),
        "protocol": opt.words(protocol),
        "compute": opt.words(compute),
        "blas": opt.words(blas),
        "threads": _numbers("--threads", threads),
        "seed": _numbers("--seed", seed),
        "timeout_s": timeout,
        "budget_s": budget,
        "repair": "paper" if repair_as_paper else repair or None,
        "fresh_boot": fresh_boot or None,
        "prune": prune,
    }
    from pibench.sweeps import study as studies
    from pibench.sweeps.journal import CellCache, Journal
    from pibench.sweeps.scheduler import SweepSummary

    if out is None:
        raise InvalidInputError("a study needs a folder", hint="add --out DIR")
    journal = Journal(out)
    study = studies.find(file, axes, journal, resume=resume)
    again = ["pibench", "sweep", "--resume", "--out", str(out)]
    for option, value in (("--cells", cells), ("--dask", dask), ("--jobs", jobs)):
        again += [option, str(value)] if value is not None else []
    again += ["--fresh"] if fresh else []
    with CellProgress(quiet=quiet) as progress:
        try:
            summary = studies.run(
                study,
                journal,
                cache=None if fresh else CellCache(cells),
                dask=dask,
                jobs=jobs,
                dry=dry,
                log=progress.log,
                on_change=progress.on_change,
            )
        except KeyboardInterrupt:
            so_far = progress.summary or SweepSummary()
            raise InterruptedByUserError(
                f"interrupted: {so_far.recorded} cells were recorded, {so_far.left} are left",
                hint=f"continue: {shlex.join(again)}",
            ) from None
    failed = {label: message for label, (_, message) in summary.failed.items()}
    _show(out, failed, as_json=as_json)
    if study.prune is None and 0 < summary.cells == summary.left_out:
        say("every cell was left out: nothing of this study can be run")
        raise typer.Exit(int(ExitCode.INVALID_INPUT))
    raise typer.Exit(int(ExitCode.OK if dry else summary.exit_code))


@app.command()
def status(folder: Folder, as_json: opt.AsJson = False) -> None:
    """Show the state of a study, while it runs or afterwards.

    Example: pibench sweep status study
    """
    _show(folder, as_json=as_json)


@app.command()
def export(
    folder: Folder,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A .parquet or .csv file.")
    ],
) -> None:
    """Write a study's records as one table, one row per record.

    Example: pibench sweep export study -o study.parquet
    """
    from pibench.file_io import write_whole
    from pibench.report.frames import csv_of, rows_of
    from pibench.sweeps.journal import Journal
    from pibench.sweeps.journal import status as of

    now = of(folder)
    if out.suffix not in (".parquet", ".csv"):
        problem = "is neither .parquet nor .csv"
        raise InvalidInputError.at(out, None, problem, hint="name it study.parquet")
    # A row is small compared with its record, which has all its layers.
    rows = rows_of([*Journal(folder).records()])
    if out.suffix == ".csv":
        write_whole(out, csv_of(rows))
    else:
        with extra("sweep"):
            import pandas as pd
            import pyarrow  # noqa: F401  (pandas writes Parquet by it)

        table = pd.DataFrame.from_records(rows).to_parquet(index=False)
        write_whole(out, table)
    print(f"written: {out}, {len(rows)} records of the study's {now.cells} cells")


def _show(folder: Path, failed: dict[str, str] | None = None, *, as_json: bool) -> None:
    import dataclasses

    from pibench.sweeps.journal import status as of

    now = of(folder)
    if as_json:
        print_json(dataclasses.asdict(now) | ({} if failed is None else {"failed": failed}))
        return
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in now.verdicts.items())
    state = "a sweep is running" if now.at_work else "no sweep is running"
    lines = [f"{folder}: {now.cells} cells: {verdicts or 'none recorded'}; {state}"]
    if now.left_out:
        lines.append(f"left out: {len(now.left_out)}")
    lines += [f"  {label}: {reason}" for label, reason in [*now.left_out.items()][:10]]
    if len(now.left_out) > 10:
        lines.append(f"  and {len(now.left_out) - 10} more: --json lists all")
    lines += [f"failed: {label}: {message}" for label, message in [*(failed or {}).items()][:10]]
    if now.missing:
        lines.append(f"missing: {len(now.missing)}, next {now.missing[0]}")
    if now.damaged_lines:
        lines.append(
            f"damaged lines in the journal: {now.damaged_lines}; the next sweep repairs it"
        )
    lines.append(f"records: {folder}/journal.jsonl (pibench report, reconcile and load read it)")
    with ignore_broken_pipe():
        for line in lines:
            print(for_terminal(visible(line), sys.stdout))


def _numbers(option: str, text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(word) for word in opt.words(text) or ()]
    except ValueError:
        raise InvalidInputError(
            f"{option} {text} is not a list of whole numbers", hint=f"write {option} 1,2,4"
        ) from None
