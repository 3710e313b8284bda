"""Provide the commands of pibench as Python functions; the command line calls them too.

    from pibench import api

    network = api.network("my/deploy.prototxt")
    print(api.plan(network).peak_rss_bytes)
    (record,) = api.run([network], target="twin")
    assert api.fits("my/deploy.prototxt", device="rpi3b")

Importing this module is fast: each function imports what it needs at its first call.
Every function raises only errors of `pibench.errors`: InvalidInputError for a file or a value that
cannot be used, HostError for something that this machine lacks.
"""

# ruff: noqa: PLC0415  (start-up time, see above)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pibench import display

if TYPE_CHECKING:
    from typing import Any, Unpack

    from pibench.bisection.search import Bisection
    from pibench.bundle.kit import Kit
    from pibench.checks import Check
    from pibench.crosscheck.gate import GateResult
    from pibench.crosscheck.reconcile import Reconciliation
    from pibench.devices import Device
    from pibench.engines.base import Engine
    from pibench.latency.analytic import Data
    from pibench.latency.model import Prediction
    from pibench.networks.model_file import Runnable
    from pibench.networks.network import Network
    from pibench.plan.planner import Plan
    from pibench.records.schema import Protocol, Record, Repair, Verdict
    from pibench.records.store import RecordStore
    from pibench.report.content import Report
    from pibench.report.files import Form
    from pibench.runner.options import RunKeywords, RunOptions
    from pibench.sweeps.scheduler import SweepSummary
    from pibench.sweeps.study import StudyKeywords
    from pibench.targets.base import Progress
    from pibench.verdict import TimeJudgement

__all__ = [
    "Fit", "Sweep", "bisect", "bundle", "check", "choose", "fits", "import_results", "network",
    "plan", "predict", "reconcile", "report", "run", "run_all", "sweep",
]  # fmt: skip

MIB = 2**20


def _html_of(result: object) -> str | None:
    from pibench.report.notebook import html_of

    return html_of(result)


display.show_by(_html_of)


def network(
    spec: str | Path,
    *,
    weights: Path | str | None = None,
    batch: int | None = None,
    image: tuple[int, int] | None = None,
    repair: Repair = False,
    python_shapes: Sequence[str] = (),
) -> Network:
    """Read and check a network of the zoo or a prototxt file.

    Args:
        spec: A name in the zoo, or the path of a prototxt.
        weights: A caffemodel for the network.
        batch: The batch size, in images.
        image: Height and width, in pixels.
        repair: Fix what stock Caffe would reject; `Network.repairs` lists each change. "paper"
            takes `ceil_mode: false` out, as the paper did.
        python_shapes: The shapes of Python layers' tops, for plans, such as data=1x3x224x224.
    """
    from pibench import networks

    return networks.load(
        str(spec),
        weights=Path(weights) if weights is not None else None,
        batch=batch,
        image=image,
        repair=repair,
        python_shapes=python_shapes,
    )


def plan(
    of: Network | str | Path,
    *,
    device: str = "rpi3b",
    protocol: Protocol | None = None,
    engine: str = "caffe",
) -> Plan:
    """Return the planned peak memory of a network on a device; nothing is run.

    Args:
        of: A network, a name in the zoo or the path of a prototxt.
        device: The device's id, alias or name.
        protocol: The protocol; None is the engine's first, caffe-time for Caffe.
        engine: The engine, as `--engine` takes it: caffe, ncnn, opencv, opencv==4.5.1.

    Raises:
        InvalidInputError: The engine would reject the network, or has no plan.
    """
    from pibench import devices
    from pibench.engines.registry import engine_of
    from pibench.plan.environment import of_device
    from pibench.plan.planner import plan as planned

    board = devices.load(device)
    environment = of_device(board, engine=engine)
    protocol = protocol or engine_of(engine).protocols[0]
    found = planned(_network(of), protocol=protocol, environment=environment)
    return replace(found, device=board)


def predict(
    of: Network | str | Path,
    *,
    device: str = "rpi3b",
    stack: str | None = None,
    threads: int | None = None,
    protocol: Protocol = "caffe-time",
    data: Data | None = None,
) -> Prediction:
    """Return the predicted time of a forward pass on a device; nothing is run.

    Args:
        of: A network, a name in the zoo or the path of a prototxt.
        device: The device's id, alias or name.
        stack: The software on the board; "unknown" for the range of all; None is that of pibench's
            images.
        threads: The BLAS threads; None is the device's cores.
        protocol: The protocol.
        data: What the input holds, zeros or images; None is zeros under caffe-time.
    """
    from pibench import devices
    from pibench.latency import rates, stacks
    from pibench.latency.model import predictor

    predict_one = predictor(
        devices.load(device),
        stack or stacks.DEFAULT,
        rates.shipped().pressure,
        threads=threads,
        data=data,
        protocol=protocol,
    )
    return predict_one(_network(of))


def check(
    of: Network | str | Path,
    *,
    device: str = "rpi3b",
    protocol: Protocol | None = None,
    weights: Path | str | None = None,
    max_ms: float | None = None,
) -> Check:
    """Return whether a network fits a device, how fast it is, and what would make it fit.

    Args:
        of: A network, a name in the zoo or the path of a prototxt.
        device: The device's id, alias or name.
        protocol: The protocol; None is inference for a network with weights, else caffe-time.
        weights: A caffemodel for a name or a path.
        max_ms: A limit of the predicted time, in ms, that `Check.judged_time` is for.
    """
    from pibench import devices
    from pibench.checks import check as checked

    net = network(of, weights=weights) if isinstance(of, (str, Path)) else of
    default: Protocol = "caffe-time" if net.weights is None else "inference"
    return checked(net, devices.load(device), protocol or default, max_ms=max_ms)


def run(
    these: Runnable | str | Path | Sequence[Runnable | str | Path],
    *,
    out: Path | str | None = None,
    on_record: Callable[[Record], None] = lambda _: None,
    **options: Unpack[RunKeywords],
) -> list[Record]:
    """Run one or more networks on a target and return their records in the given order.

    Args:
        these: Networks, names in the zoo, paths of prototxts or of `.onnx` and `.tflite` files; a
            single one is accepted too.
        out: A file to which each record is appended as soon as it is made.
        on_record: Called with each record as soon as it is made.
        options: The fields of `pibench.runner.options.RunOptions`. `weights`, `batch`,
            `input_size`, `shapes` and `repair` apply to names and paths.
    """
    from pibench.engines.registry import engine_of
    from pibench.records.store import RecordStore
    from pibench.runner.options import RunOptions, default_engine

    these = _several(these)
    if "engine" not in options and (files := _files(these)):
        options["engine"] = default_engine(files)
    if "engine" in options:
        options.setdefault("protocol", engine_of(options["engine"]).protocols[0])
    store = RecordStore(out) if out is not None else None
    if store is not None:
        store.prepare()
    chosen = RunOptions(**options)
    return run_all(_runnable(these, chosen), choose(chosen), store=store, on_record=on_record)


def run_all(
    loaded: Sequence[Runnable],
    options: RunOptions,
    *,
    store: RecordStore | None = None,
    on_record: Callable[[Record], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    log: Callable[[str], None] = lambda _: None,
) -> list[Record]:
    """Run loaded networks with given options, as `run` does.

    Args:
        loaded: The networks.
        options: The options; their target must not be `auto` (see `choose`).
        store: Where each record is appended.
        on_record: Called with each record as soon as it is made.
        on_progress: Called with each progress report of the target.
        log: Called with a line about each one-time step, such as building an image.
    """
    from pibench.images.build import Builder
    from pibench.runner.runner import Reference, Runner
    from pibench.target_kinds import kind_of

    builder = Builder(log)
    target = options.make_target(builder)
    return Runner(
        target=target,
        options=options,
        store=store,
        reference=Reference(builder) if kind_of(target.name).cut_short else None,
        on_record=on_record,
        on_progress=on_progress,
    ).run(loaded)


@dataclass(frozen=True, kw_only=True)
class Sweep(display.Displayed):
    """A study after a sweep: its folder, and the number of its cells by verdict."""

    folder: Path
    summary: SweepSummary

    @property
    def records(self) -> list[Record]:
        """The latest record of each cell that has one, read from the folder."""
        from pibench.sweeps.journal import Journal

        return [*Journal(self.folder).records()]

    def __repr__(self) -> str:
        known = self.summary
        verdicts = [f"{count} {verdict}" for verdict, count in known.verdicts.items() if count]
        others = [
            f"{count} {what}"
            for what, count in (
                ("left out", known.left_out), ("failed", len(known.failed)), ("left", known.left),
            )
            if count
        ]  # fmt: skip
        parts = ", ".join([*verdicts, *others]) or "none"
        return f"<{self.folder}: {known.cells} cells: {parts}>"


def sweep(
    study: Path | str | None = None,
    *,
    out: Path | str,
    resume: bool = False,
    dry: bool = False,
    jobs: int | None = None,
    dask: str | None = None,
    cells: Path | str | None = None,
    fresh: bool = False,
    on_record: Callable[[Record], None] = lambda _: None,
    log: Callable[[str], None] = lambda _: None,
    **axes: Unpack[StudyKeywords],
) -> Sweep:
    """Run every cell of a study, each in a process of its own; recorded cells do not run again.

        done = pibench.sweep(networks=["NIN", "AlexNet"], batch=[1, 2], target="twin", out="study")
        again = pibench.sweep(out="study", resume=True)

    Args:
        study: A study's TOML file; without it, its axes as keywords.
        out: The study's folder.
        resume: Continue the study in the folder; axes change it.
        dry: List the cells, run none.
        jobs: The most cells at once on this machine; None is what memory and cores allow.
        dask: The address of a Dask scheduler that runs the cells, or `local`.
        cells: The folder of the cells that studies share; None is the one in pibench's cache.
        fresh: Use no cells of other studies.
        on_record: Called with each record as soon as it is in the folder.
        log: Called with a line about each cell, and about each one-time step.
        axes: The fields of `pibench.sweeps.matrix.Study`; an axis is a value or several.

    Raises:
        InvalidInputError: The study cannot be used, or the folder has another one already.
        HostError: Cells fail repeatedly on this machine, or the folder cannot be written.
        KeyboardInterrupt: Ctrl-C. The records so far are in the folder; `resume` continues.
    """
    from pibench.errors import InvalidInputError
    from pibench.sweeps import study as studies
    from pibench.sweeps.journal import CellCache, Journal
    from pibench.sweeps.scheduler import SweepSummary

    if jobs is not None and jobs < 1:
        raise InvalidInputError(f"jobs is {jobs}; give 1 or more, or None")
    folder = Path(out)
    journal = Journal(folder)
    found = studies.find(None if study is None else Path(study), axes, journal, resume=resume)
    latest = SweepSummary()

    def on_change(summary: SweepSummary, label: str, record: Record | None) -> None:
        nonlocal latest
        latest = summary
        if record is not None:
            log(f"{label}: {record.verdict}, {record.evidence.summary}")
            on_record(record)

    try:
        summary = studies.run(
            found,
            journal,
            cache=None if fresh else CellCache(Path(cells) if cells is not None else None),
            dask=dask,
            jobs=jobs,
            dry=dry,
            log=log,
            on_change=on_change,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{latest.recorded} cells were recorded, {latest.left} are left: continue with "
            f"pibench.sweep(out={str(out)!r}, resume=True)"
        ) from None
    return Sweep(folder=folder, summary=summary)


def bisect(
    of: Network | str | Path,
    first: Path | str,
    second: Path | str,
    *,
    device: str = "rpi3b",
    target: str = "twin",
    weights: Path | str | None = None,
    batch: int | None = None,
    input_size: str | None = None,
    repair: Repair = False,
    seed: int | None = None,
    timeout_s: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    equal_nan: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Bisection:
    """Find the first layer whose output differs between two runs, and whether it is the cause.

        pibench.bisect("SqueezeNet V1.1", "twin", "sysroot:blas=reference", rtol=0)

    Args:
        of: A network, a name in the zoo or the path of a prototxt.
        first: A target, `TARGET:key=value,...`, an engine, or a file of records. The keys are
            engine, weights, prototxt, blas, threads and machine.
        second: The other side, as `first`.
        device: The device's id, alias or name.
        target: Where an engine runs that is named without a target.
        weights: A caffemodel for both sides, of a name or a path.
        batch: The batch size, of a name or a path.
        input_size: The image size such as 229x229, of a name or a path.
        repair: Fix what stock Caffe would reject, of a name or a path.
        seed: The seed of the input, and of weights that are not given; None is that of a record, or
            0.
        timeout_s: The time limit of each run, in seconds.
        atol: The absolute tolerance of a blob's distance; None is that of the engines.
        rtol: The relative tolerance; None is that of the engines.
        equal_nan: Treat two NaN values as equal.
        log: Called with a line about each step.

    Returns:
        The result; true if no layer differs.

    Raises:
        InvalidInputError: A side cannot be used; nothing has run then.
        InconclusiveError: A run did not complete.
        HostError: A target cannot run anything.
    """
    from pibench.bisection.search import bisect_runs
    from pibench.networks.network import Network
    from pibench.runner.options import RunOptions

    options = RunOptions(
        device=device,
        protocol="inference",
        compute="real",
        repeats=0,
        layer_values=True,
        seed=seed or 0,
        weights=Path(weights) if weights is not None else None,
        batch=batch,
        input_size=input_size,
        repair=repair,
        timeout_s=timeout_s,
    )
    return bisect_runs(
        of if isinstance(of, Network) else options.load(of),
        (str(first), str(second)),
        options,
        seed=seed,
        batch=batch,
        atol=atol,
        rtol=rtol,
        equal_nan=equal_nan,
        default_target=target,
        load=lambda spec, options: options.load(spec),
        log=log,
    )


def bundle(
    these: Network | str | Path | Sequence[Network | str | Path],
    out: Path | str,
    *,
    with_caffe: bool = False,
    log: Callable[[str], None] = lambda _: None,
    **options: Unpack[RunKeywords],
) -> Kit:
    """Pack one or more networks into a .tar.gz that a board runs with `python3 run.py`.

    Args:
        these: Networks, names in the zoo or paths of prototxts.
        out: The archive to write.
        with_caffe: Include a root file system with Caffe.
        log: Called with a line about each one-time step, such as building an image.
        options: Those of `run` that apply on a board: device, protocol, repeats, threads,
            timeout_s, seed, and those to read networks.
    """
    from pibench.bundle.kit import write_kit
    from pibench.images.build import Builder
    from pibench.runner.options import RunOptions

    builder = Builder(log)
    root = builder.carried() if with_caffe else None
    chosen = RunOptions(**options)
    return write_kit(_networks(these, chosen), chosen, Path(out), root=root, builder=builder)


def import_results(
    path: Path | str, *, kit: Path | str | None = None, out: Path | str | None = None
) -> list[Record]:
    """Return the records of a board's results.

    Args:
        path: The results.
        kit: The bundle they came from; required if it was not made on this machine.
        out: A record file; records that it does not have yet are appended.
    """
    from pibench.bundle.results import import_results as imported
    from pibench.records.store import RecordStore

    store = RecordStore(out) if out is not None else None
    return list(imported(Path(path), kit=Path(kit) if kit else None, store=store).records)


def reconcile(
    sides: Sequence[Path | str],
    *,
    fail_on: str | None = None,
    baseline: Path | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    equal_nan: bool = False,
    networks: Sequence[Path] = (),
    stack: str | None = None,
) -> tuple[Reconciliation, GateResult]:
    """Compare two or more sides of the same networks and evaluate the gate.

    Args:
        sides: Files of records, plans or predictions, or the words "paper" and "predicted", which
            stands for predictions of the records' runs, each for the stack that the record states.
        fail_on: A gate such as "verdict,ram=5%,outputs".
        baseline: The side that the others are compared with.
        atol: Absolute tolerance of outputs.
        rtol: Relative tolerance of outputs.
        equal_nan: Treat two NaN outputs as equal; by default NaN differs from everything.
        networks: Your own prototxts that records refer to, for `predicted`.
        stack: The stack for all of `predicted`, in place of those that the records state.

    Returns:
        The comparison, and the gate's result, whose `code` is the command's exit code.
    """
    from pibench.crosscheck import gate
    from pibench.crosscheck.blobs import OUTPUT_TOLERANCE
    from pibench.crosscheck.predicted import PREDICTED, predicted_side
    from pibench.crosscheck.reconcile import Tolerances
    from pibench.crosscheck.reconcile import reconcile as compared
    from pibench.crosscheck.sides import read_side, read_sides
    from pibench.errors import InvalidInputError
    from pibench.report.sources import Networks

    given = {name: x for name, x in (("atol", atol), ("rtol", rtol)) if x is not None}
    outputs = replace(OUTPUT_TOLERANCE, **given, equal_nan=equal_nan)
    gated, tolerances = gate.parse(fail_on, Tolerances(outputs=outputs))
    sources = [str(side) for side in sides]
    named = PREDICTED in sources and not Path(PREDICTED).exists()
    place = sources.index(PREDICTED) if named else None
    if place is None and (stack is not None or networks):
        raise InvalidInputError(
            "a stack and networks are for predictions of the records' runs",
            hint="name predicted among the sides: pibench reconcile RECORDS predicted",
        )
    if place is not None:
        del sources[place]
    read = read_sides(sources)
    if place is not None:
        records = [record for side in read for record in side.records]
        read.insert(place, predicted_side(records, Networks(networks).of, stack))
    if baseline is not None:
        read.insert(0, read_side(str(baseline)))
    found = compared(read, tolerances)
    return found, gate.decide(found, gated)


def report(
    records: Sequence[Path | str],
    out: Mapping[Path, Form] | Sequence[Path | str] = (),
    *,
    networks: Sequence[Path] = (),
    only: Sequence[str] | None = None,
    table: str | None = None,
) -> Report:
    """Build the report of record files and write it to `out`.

    Of each run the latest record counts.

    Args:
        records: The record files.
        out: Files to write. A mapping gives each file's form (html, markdown, csv, junit, png or
            svg); for a sequence the file name's ending decides.
        networks: Your own prototxts that records refer to; they are planned and predicted.
        only: The paper's networks to list in the ledger. None lists all if the records are of the
            paper's networks; an empty sequence omits the ledger.
        table: The published table to compare with: an id of one of pibench's, or the folder of
            another. None is the paper's.
    """
    from pibench.crosscheck.paper import DEFAULT
    from pibench.file_io import keep_inputs, write_whole
    from pibench.report import files
    from pibench.report.content import build, without_collecting
    from pibench.report.sources import Networks, read_all

    paths = [Path(path) for path in records]
    if not isinstance(out, Mapping):
        out = {Path(path): files.form_of(Path(path)) for path in out}
    keep_inputs(out, [*paths, *networks])
    with without_collecting():
        made = build(read_all(paths), Networks(networks), only=only, table=table or DEFAULT)
    for path, form in out.items():
        write_whole(path, files.rendered(made, form, sources=[path.name for path in paths]))
    return made


@dataclass(frozen=True, kw_only=True)
class Fit(display.Displayed):
    """The answer to whether a network fits a device: true if it does; its text gives the reason.

    With a time limit it is true only if the time is within the limit too: see `judged_time`.

    `peak_rss_bytes` is None where the peak is not known. `how` is the source of the peak:
    `planned`, or the target that the network was run on, with `evidence` then. `planned` is the
    plan in either case, since it has figures per layer; None where planning is not possible.
    """

    network: str
    device: Device
    verdict: Verdict
    how: str
    evidence: str
    peak_rss_bytes: int | None
    planned: Plan | None
    judged_time: TimeJudgement | None = None

    def __bool__(self) -> bool:
        return self.verdict == "fit" and (self.judged_time is None or bool(self.judged_time))

    @property
    def _engine(self) -> str:
        from pibench.engines.registry import engine_of

        if self.planned is None or self.planned.environment.is_caffe:
            return ""
        return f" with {engine_of(self.planned.environment.engine).title}"

    def __repr__(self) -> str:
        words = {"fit": "fits", "no-fit": "does not fit"}.get(self.verdict, f"{self.verdict} on")
        peak = f"{self.peak_rss_bytes / MIB:.0f} MiB" if self.peak_rss_bytes else "not known"
        of = f"({self.how}) of {self.device.usable_bytes / MIB:.0f} MiB usable"
        facts = [
            f"{self.network}{self._engine} {words} {self.device.id}: peak {peak} {of}",
            self.evidence,
            _at_the_peak(self.planned) if self.planned else "",
            "" if self.judged_time is None else str(self.judged_time),
        ]
        return f"<{'; '.join(filter(None, facts))}>"


def fits(
    of: Runnable | str | Path,
    *,
    device: str = "rpi3b",
    protocol: Protocol | None = None,
    target: str | None = None,
    max_ms: float | None = None,
    **options: Any,
) -> Fit:
    """Return whether a network fits a device, by plan or by a run on `target`.

    A verdict of `borderline` or `inconclusive` counts as not fitting. A time limit is compared with
    the time that a board measured (`native`, `ssh://`), else with the predicted one: the time of
    any other target is not the board's.

    Args:
        of: A network, a name in the zoo or the path of a prototxt; with a target also of an
            `.onnx` or `.tflite` file.
        device: The device's id, alias or name.
        protocol: The protocol that is planned or run; None is the engine's first, Caffe's
            caffe-time.
        target: Where to run the network; None plans it without running it.
        max_ms: A limit of the time of a forward pass, in ms; None for no limit.
        options: Those of `run`, such as `engine`. Without a target, one that would change the
            network or the memory that is left for it is refused.

    Raises:
        InvalidInputError: The network or an option cannot be used, or there is no plan for it.
        HostError: The target cannot run anything.
    """
    _check_options_of_fits(options, runs=target is not None)
    from pibench import devices
    from pibench.engines.registry import engine_of
    from pibench.errors import InvalidInputError
    from pibench.runner.options import default_engine
    from pibench.verdict import check_time_limit

    files = _files(of)
    if files:
        options.setdefault("engine", default_engine(files))
    engine = engine_of(options.get("engine", "caffe"))
    protocol = protocol or engine.protocols[0]
    board = devices.load(device)
    if max_ms is not None:
        check_time_limit(max_ms)
    net = None if files and target is not None else _network(of)
    record = planned = None
    if target is not None:
        (record,) = run(
            of if net is None else net, device=device, target=target, protocol=protocol, **options
        )
    try:
        if net is not None:
            planned = plan(net, device=device, protocol=protocol, engine=engine.spec)
    except InvalidInputError:
        if record is None:
            raise
    found = _fit_of_plan(planned, board) if record is None else _fit_of(record, board, planned)
    if max_ms is None:
        return found
    threads = options.get("threads")
    timed = _judge_time(net, record, board, protocol, engine, threads=threads, max_ms=max_ms)
    return replace(found, judged_time=timed)


def _check_options_of_fits(options: Mapping[str, Any], *, runs: bool) -> None:
    """Raise InvalidInputError for an option that would otherwise be passed over in silence."""
    from difflib import get_close_matches

    from pibench.errors import InvalidInputError
    from pibench.runner.options import RunKeywords

    known = ["protocol", "max_ms", *RunKeywords.__annotations__]
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise InvalidInputError(
                f"fits has no option {name!r}",
                hint=f"did you mean {near[0]}?" if near else "its options are those of run",
            )
    if runs:
        return
    for name in ("batch", "input_size", "repair", "reserve", "shapes", "weights"):
        if options.get(name):
            raise InvalidInputError(
                f"fits: {name} is for a run, and there is no target",
                hint="give a target"
                + ("" if name == "reserve" else ", or what pibench.network(...) returns"),
            )


def _fit_of_plan(planned: Plan | None, device: Device) -> Fit:
    """Return the answer of a plan."""
    from pibench.verdict import judge

    assert planned is not None  # noqa: S101  (else planning raised an error)
    return Fit(
        network=planned.network.name,
        device=device,
        verdict=judge(planned, device).verdict,
        how="planned",
        evidence="",
        peak_rss_bytes=planned.peak_rss_bytes,
        planned=planned,
    )


def _fit_of(record: Record, device: Device, planned: Plan | None) -> Fit:
    """Return the answer of a run."""
    return Fit(
        network=record.network,
        device=device,
        verdict=record.verdict,
        how=f"run on {record.target}",
        evidence=record.evidence.summary,
        peak_rss_bytes=record.peak_rss_bytes,
        planned=planned,
    )


def _judge_time(
    network: Network | None,
    record: Record | None,
    device: Device,
    protocol: Protocol,
    engine: Engine,
    *,
    threads: int | None,
    max_ms: float,
) -> TimeJudgement:
    """Compare a time with a limit: the record's if a board measured it, else the predicted one."""
    from pibench.engines.caffe import CAFFE
    from pibench.errors import InvalidInputError
    from pibench.verdict import judge_measured_time, judge_prediction, no_time

    if record is not None and record.ran_on_board:
        return judge_measured_time(record, max_ms)
    note = "" if record is None else f"the time of target {record.target} is not the board's"
    if network is None or engine.id != CAFFE.id:
        return no_time(max_ms, f"times are predicted for Caffe, not for {engine.label}")
    try:
        found = predict(network, device=device.id, threads=threads, protocol=protocol)
    except InvalidInputError as error:
        return no_time(max_ms, error.message)
    return judge_prediction(found, max_ms, note)


def choose(options: RunOptions, log: Callable[[str], None] = lambda _: None) -> RunOptions:
    """Replace the target `auto` by a target that works here, and report the reason to `log`."""
    if options.target != "auto":
        return options
    from pibench import diagnosis

    chosen = diagnosis.choose(options.profile, options.compute)
    log(f"target {chosen.target}: {chosen.reason}")
    return replace(options, target=chosen.target)


def _network(of: Runnable | str | Path) -> Network:
    """Return a network of Caffe; raise InvalidInputError for a user's own model file."""
    from pibench.networks.network import Network

    return (
        of if isinstance(of, Network) else network(of if isinstance(of, (str, Path)) else of.path)
    )


def _networks(
    these: Network | str | Path | Sequence[Network | str | Path], options: RunOptions
) -> list[Network]:
    from pibench.networks.network import Network

    several = [these] if isinstance(these, (str, Path, Network)) else these
    return [one if isinstance(one, Network) else options.load(one) for one in several]


def _runnable(
    these: Runnable | str | Path | Sequence[Runnable | str | Path], options: RunOptions
) -> list[Runnable]:
    return [
        options.load_any(one) if isinstance(one, (str, Path)) else one for one in _several(these)
    ]


def _several(
    these: Runnable | str | Path | Sequence[Runnable | str | Path],
) -> Sequence[Runnable | str | Path]:
    """Return one or more networks as a list; a str is iterable too, of characters."""
    from pibench.networks.model_file import ModelFile
    from pibench.networks.network import Network

    return [these] if isinstance(these, (str, Path, Network, ModelFile)) else list(these)


def _files(these: Runnable | str | Path | Sequence[Runnable | str | Path]) -> list[str | Path]:
    """Return the paths of model files, loaded ones too, that are not of Caffe."""
    from pibench.engines.formats import format_of

    paths = [one if isinstance(one, (str, Path)) else one.source for one in _several(these)]
    return paths if any(map(format_of, paths)) else []


def _at_the_peak(planned: Plan) -> str:
    """Describe the layer at the planned peak, and the layer that has the most memory then."""
    step = planned.peak_step
    at = f"the planned peak is at {step.phase} {step.layer}".rstrip()
    largest = next((one for one in planned.allocations if one.layer), None)
    if largest is None:
        return at
    size_mib = largest.size_bytes / MIB
    return f"{at}, where {largest.layer} has {size_mib:.0f} MiB ({largest.kind})"
