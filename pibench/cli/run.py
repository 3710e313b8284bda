"""`pibench run`: run networks on a target, print their records, set the exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pibench.cli import options as opt
from pibench.cli.output import Progress, ignore_broken_pipe, print_timings, say
from pibench.errors import ExitCode, HostError, InterruptedByUserError, InvalidInputError
from pibench.setups import DEFAULT

if TYPE_CHECKING:
    from pibench.networks.model_file import Runnable
    from pibench.records.schema import Record
    from pibench.records.store import RecordStore
    from pibench.runner.options import RunOptions


def run(
    context: typer.Context,
    specs: opt.RunSpecs,
    weights: opt.Weights = None,
    device: opt.DeviceName = "rpi3b",
    reserve: opt.Reserve = 0,
    target: opt.TargetSpec = "vm",
    machine: opt.MachineName = None,
    fresh_boot: opt.FreshBoot = False,
    identity: opt.Identity = None,
    remote_dir: opt.RemoteDir = None,
    engine: opt.EngineName = None,
    protocol: opt.EngineProtocol = None,
    batch: opt.Batch = None,
    shapes: opt.InputShapes = None,
    compute: opt.ComputeName = None,
    repeats: opt.Repeats = 5,
    threads: opt.Threads = None,
    timeout_s: opt.Timeout = None,
    out: opt.RunOut = None,
    seed: opt.Seed = 0,
    blas: opt.BlasName = "openblas",
    setup: opt.SetupName = DEFAULT,
    keep_blobs: str | None = opt.value(
        'Write the blobs of these layers whole: A,"B,1",... (inference).', metavar="LAYERS"
    ),
    blobs: Path = typer.Option(
        Path("blobs"), "--blobs-dir", metavar="FOLDER", help="The folder for these blobs, as npz."
    ),
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
    require_fit: opt.RequireFit = False,
    jobs: opt.Jobs = None,
    quiet: opt.Quiet = False,
    timings: opt.Timings = False,
    as_json: opt.AsJson = False,
) -> None:
    """Run networks on a target and report whether they fit the device.

    Exit codes: 0 ran (fit or not), 1 --require-fit failed, 2 invalid input,
    3 the environment, 4 inconclusive.

    Example: pibench run MobileNet my/model.prototxt --json
    """
    from pibench.file_io import keep_inputs, write_whole
    from pibench.report.badge import of_records

    specs, weights = opt.with_weights(specs, weights)
    # Records are appended, also to a file that holds something else.
    given = [Path(spec) for spec in specs] + ([] if weights is None else [weights])
    keep_inputs(out or [], [path for path in given if path.is_file()])
    store, badges = _outputs(out or [])
    keep = tuple(opt.words(keep_blobs) or ())
    if keep_blobs is not None and not keep:
        raise InvalidInputError("--keep-blobs names no layer", hint="give names, with commas")
    target = opt.target_of(context, target, machine, fresh_boot)
    engine, protocol = opt.engine_and_protocol(locals(), specs, by_file=True)
    options = opt.run_options(locals() | opt.input_sizes(specs, shapes or []))
    if "reserve" in opt.settings_of(context):
        options = _without_reserve_on_a_board(options)
    loaded = opt.load_runnable(specs, options)
    records = run_and_show(loaded, options, store, quiet=quiet, as_json=as_json)
    for path in badges:
        write_whole(path, of_records(records).svg())
    report_blobs(records, options)
    if timings:
        print_timings()
    raise typer.Exit(exit_code_of(records, loaded, require_fit=require_fit))


_OF_A_REPORT: Final = frozenset({".htm", ".html", ".md", ".csv", ".xml", ".bmf", ".png", ".svg"})


def _outputs(out: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """Return the file for records, and those for badges. Raises InvalidInputError for several."""
    from pibench.report.badge import is_badge

    badges = [path for path in out if is_badge(path)]
    stores = [path for path in out if path not in badges]
    if len(stores) > 1:
        raise InvalidInputError(
            f"-o {stores[0]} and -o {stores[1]}: records are appended to one file",
            hint="leave one out; other formats: pibench report",
        )
    for path in stores:
        if path.suffix.lower() in _OF_A_REPORT:
            raise InvalidInputError(
                f"-o {path}: records are JSON lines",
                hint=f"end it in .jsonl, then: pibench report {path.stem}.jsonl -o {path.name}",
            )
    return next(iter(stores), None), badges


def _without_reserve_on_a_board(options: RunOptions) -> RunOptions:
    """Return the options without a reserve where a board runs, which cannot be given one."""
    from dataclasses import replace

    from pibench.api.runs import choose
    from pibench.target_kinds import kind_of_spec

    options = choose(options, say)
    return replace(options, reserve=0.0) if kind_of_spec(options.target).is_board else options


def run_cell(
    cell: Annotated[Path, typer.Argument(help="The JSON of a cell.")],
    out: Annotated[Path, typer.Argument(help="The file for its record.")],
) -> None:
    """Run a cell of a sweep; `pibench sweep` calls this.

    Example: pibench run-cell cell.json record.jsonl
    """
    from pibench.sweeps.matrix import CellRequest

    request = CellRequest.read(cell)
    loaded = opt.load_networks([request.network], request.options)
    records = run_with_progress(loaded, request.options, _store(out), quiet=True)
    raise typer.Exit(exit_code_of(records, loaded, require_fit=False))


def run_and_show(
    loaded: Sequence[Runnable], options: RunOptions, out: Path | None, *, quiet: bool, as_json: bool
) -> list[Record]:
    """Run all networks and print their records, after a failure those that were made.

    Raises:
        InterruptedByUserError: The user interrupted it.
        HostError: The target, or the disk for the records, failed.
    """
    made: list[Record] = []
    try:
        made = run_with_progress(loaded, options, _store(out), made, quiet=quiet)
    except KeyboardInterrupt:
        if made:
            show_records(made, as_json=as_json)
        ran = f"{len(made)} of {len(loaded)} networks"
        raise InterruptedByUserError(
            f"interrupted: {ran} are in {out}" if out else f"interrupted: {ran} ran",
            hint=None if out else "-o FILE keeps their records, also after an interruption",
        ) from None
    except HostError:
        # The disk may be full after hours.
        if made:
            show_records(made, as_json=as_json)
        raise
    show_records(made, as_json=as_json)
    return made


def run_with_progress(
    loaded: Sequence[Runnable],
    options: RunOptions,
    store: RecordStore | None = None,
    made: list[Record] | None = None,
    *,
    quiet: bool = False,
    on_record: Callable[[Record], None] = lambda _: None,
) -> list[Record]:
    """Run all networks; each record is added to `store` and `made` as soon as it exists."""
    from pibench.api.runs import choose, run_all
    from pibench.records.identity import network_labels

    options = choose(options, say)
    names = network_labels(loaded)
    by_file = {
        (network.sha256, network.recorded_source): name
        for network, name in zip(loaded, names, strict=True)
    }
    with Progress(len(loaded), quiet=quiet, names=names) as progress:

        def on_each(record: Record) -> None:
            if made is not None:
                made.append(record)
            on_record(record)
            progress.on_record(record, by_file[record.network_sha256, record.network_source])

        return run_all(
            loaded,
            options,
            store=store,
            on_record=on_each,
            on_progress=progress.on_progress,
            log=progress.log,
        )


def report_blobs(records: Sequence[Record], options: RunOptions) -> None:
    """Report where kept blobs are, since their file names contain a hash and cannot be guessed."""
    from pibench.records.identity import labels_of

    if not options.keep or options.blobs is None:
        return
    names = labels_of(records, by_file=True)
    for record in records:
        kept = record.kept_blobs
        if kept is None:
            say(f"{names[record.record_id]}: no blobs were written: the run ended before them")
            continue
        missing = f"; not of {', '.join(kept.missing)}" if kept.missing else ""
        say(f"written: {options.blobs / kept.file}: blobs {', '.join(kept.blobs)}{missing}")


def exit_code_of(
    records: Sequence[Record], loaded: Sequence[Runnable], *, require_fit: bool
) -> ExitCode:
    """Return the exit code of `run`; raise InvalidInputError for a model that Caffe rejected."""
    from pibench.engines.registry import is_refused_allocation, label_of
    from pibench.networks.model_file import ModelFile

    for record, network in zip(records, loaded, strict=True):
        message = record.evidence.fatal_message
        if record.verdict != "inconclusive" or not message:
            continue
        if not is_refused_allocation(record.engine, message):
            problem = f"{label_of(record.engine)} rejected it: {message.rstrip('.')}"
            open_sizes = isinstance(network, ModelFile) and network.leaves_sizes_open
            hint = hint_for(record, message, open_sizes=open_sizes)
            raise InvalidInputError.at(network.place, None, problem, hint=hint)
    code = fit_code(records)
    return code if require_fit or code == ExitCode.INCONCLUSIVE else ExitCode.OK


def fit_code(records: Sequence[Record]) -> ExitCode:
    """Return the exit code of --require-fit: whether every verdict is `fit`, or is undecided."""
    verdicts = {record.verdict for record in records}
    if "inconclusive" in verdicts:
        return ExitCode.INCONCLUSIVE
    return ExitCode.OK if verdicts == {"fit"} else ExitCode.DISAGREEMENT


def hint_for(record: Record, message: str, *, open_sizes: bool = False) -> str | None:
    """Return what to do about an engine's last message; None if that is not known.

    `open_sizes` is whether a model's file does not have all sizes of its inputs.
    """
    from pibench.engines.registry import advice_for

    backward = "Not Implemented" in message or "cannot backpropagate" in message
    if backward and record.protocol == "caffe-time":
        return "caffe time runs layers backward too; forward only: --protocol inference"
    return advice_for(record.engine, message, open_sizes=open_sizes)


def show_records(records: Sequence[Record], *, as_json: bool) -> None:
    """Print records as a table or as JSON."""
    from pibench.records.store import to_json
    from pibench.report.runs import print_records

    with ignore_broken_pipe():
        if as_json:
            print(to_json(records))
        else:
            print_records(records)


def _store(out: Path | None) -> RecordStore | None:
    from pibench.records.store import RecordStore

    if out is None:
        return None
    make_folder(out.parent)
    store = RecordStore(out)
    store.prepare()
    return store


def make_folder(folder: Path) -> Path:
    """Create a folder for output. Raises InvalidInputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot be made a directory ({error.strerror})"
        raise InvalidInputError.at(folder, None, problem, hint="give another --out") from error
    return folder
