"""pibench from Python: what the commands do, as functions. The command line calls these too.

    from pibench import api

    network = api.network("my/deploy.prototxt")
    print(api.plan(network).peak_rss_bytes)
    (record,) = api.run([network], target="twin")
    assert api.fits("my/deploy.prototxt", device="rpi3b")

Importing this module costs next to nothing: what a function needs comes with its first call.
Every function raises errors of `pibench.errors` and no others: InvalidInputError for a file
or a value that cannot be used, HostError for what this machine lacks.
"""

# ruff: noqa: PLC0415  (start-up time, see above)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pibench.bundle.packing import Kit
    from pibench.crosscheck.gate import Passage
    from pibench.crosscheck.reconcile import Reconciliation
    from pibench.devices import Device
    from pibench.networks.network import Network
    from pibench.plan.planner import Plan
    from pibench.records.schema import Protocol, Record, Verdict
    from pibench.records.store import RecordStore
    from pibench.report.content import Report
    from pibench.report.files import Form
    from pibench.runner.options import Options
    from pibench.targets.base import Progress

__all__ = [
    "Fit",
    "bundle",
    "choose",
    "fits",
    "import_results",
    "network",
    "plan",
    "reconcile",
    "report",
    "run",
    "run_all",
]

MIB = 2**20
CUT_SHORT_ON = ("vm", "container", "sysroot", "ssh")
"""Targets on which a network is killed at its limit: the twin then tells its peak."""


def network(
    spec: str | Path,
    *,
    weights: Path | str | None = None,
    batch: int | None = None,
    image: tuple[int, int] | None = None,
    repair: bool = False,
) -> Network:
    """The network that `spec` names, of the zoo or a prototxt file, read and checked.

    `batch` is in images, `image` a height and width in pixels; `repair` mends what stock
    Caffe would refuse, and `Network.repairs` says what was done.
    """
    from pibench import networks

    return networks.load(
        str(spec),
        weights=Path(weights) if weights is not None else None,
        batch=batch,
        image=image,
        repair=repair,
    )


def plan(
    of: Network | str | Path, *, device: str = "rpi3b", protocol: Protocol = "caffe-time"
) -> Plan:
    """The peak memory of a network on a device, from a static model; nothing is run."""
    from pibench import devices
    from pibench.plan.environment import of_device
    from pibench.plan.planner import plan as planned

    environment = of_device(devices.load(device))
    return planned(_network(of), protocol=protocol, environment=environment)


def run(
    these: Network | str | Path | Sequence[Network | str | Path],
    *,
    out: Path | str | None = None,
    finished: Callable[[Record], None] = lambda _: None,
    **options: Any,
) -> list[Record]:
    """Run networks, or a single one, on a target; their records in the order given.

    `options` are those of `pibench.runner.options.Options`: device, target, protocol,
    compute, repeats, threads, timeout_s, jobs, machine, seed, blas, keep, blobs. Records go
    to the file `out` too, each as soon as it is made, and to `finished`.
    """
    from pibench.records.store import RecordStore
    from pibench.runner.options import Options

    store = RecordStore(out) if out is not None else None
    if store is not None:
        store.prepare()
    loaded = _networks(these)
    return run_all(loaded, choose(Options(**options)), store=store, finished=finished)


def run_all(
    loaded: Sequence[Network],
    options: Options,
    *,
    store: RecordStore | None = None,
    finished: Callable[[Record], None] = lambda _: None,
    watched: Callable[[Progress], None] = lambda _: None,
    step: Callable[[str], None] = lambda _: None,
) -> list[Record]:
    """`run` for networks and options at hand.

    `watched` hears what targets say on their way, `step` what is done once, such as
    building an image.
    """
    from pibench.images.build import Builder
    from pibench.runner.reference import Reference
    from pibench.runner.runner import Runner
    from pibench.targets.by_name import make_target

    builder = Builder(step)
    request = options.request()
    target = make_target(
        options.target,
        request.device,
        builder,
        machine=options.machine,
        at_once=options.jobs,
        identity=options.identity,
        remote_dir=options.remote_dir,
    )
    sweep = Runner(
        target=target,
        request=request,
        store=store,
        reference=Reference(builder) if target.name in CUT_SHORT_ON else None,
        blobs=options.blobs,
        finished=finished,
        watched=watched,
    )
    return sweep.run(loaded)


def bundle(
    these: Network | str | Path | Sequence[Network | str | Path],
    out: Path | str,
    *,
    with_caffe: bool = False,
    step: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Kit:
    """Pack networks, or one, into the .tar.gz `out`: a board runs them with `python3 run.py`.

    `options` are those of `run` that have a part on a board: device, protocol, repeats,
    threads, timeout_s.
    """
    from pibench.bundle.packing import write_kit
    from pibench.runner.options import Options

    root = None
    if with_caffe:
        from pibench.images.build import Builder

        root = Builder(step).carried()
    request = Options(**{"target": "native", **options}).request()
    return write_kit(_networks(these), request, Path(out), root=root)


def import_results(
    path: Path | str, *, kit: Path | str | None = None, out: Path | str | None = None
) -> list[Record]:
    """The records of a board's results; those that the file `out` does not have are appended.

    `kit` is wanted where this machine did not make it.
    """
    from pibench.bundle.importing import import_results as imported
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
) -> tuple[Reconciliation, Passage]:
    """Two or more sides of the same networks against each other, and what the gate makes of it.

    A side is a file of records, plans or predictions, or the word "paper". `fail_on` is a
    gate such as "verdict,ram=5%,outputs"; `baseline` is the side that others are held
    against. `atol` and `rtol` are of outputs, and `equal_nan` takes a NaN in them for equal to
    another, which it is to nothing otherwise. `Passage.code` is the exit code that the
    command would have.
    """
    from pibench.crosscheck import gate
    from pibench.crosscheck.outputs import OUTPUT_TOLERANCE
    from pibench.crosscheck.reading import read_side, read_sides
    from pibench.crosscheck.reconcile import Tolerances
    from pibench.crosscheck.reconcile import reconcile as compared
    from pibench.crosscheck.values import Tolerance

    outputs = Tolerance(
        atol=OUTPUT_TOLERANCE.atol if atol is None else atol,
        rtol=OUTPUT_TOLERANCE.rtol if rtol is None else rtol,
        equal_nan=equal_nan,
    )
    gated, tolerances = gate.parse(fail_on, Tolerances(outputs=outputs))
    read = read_sides([str(side) for side in sides])
    if baseline is not None:
        read.insert(0, read_side(str(baseline)))
    found = compared(read, tolerances)
    return found, gate.passage(found, gated)


def report(
    records: Sequence[Path | str],
    out: Mapping[Path, Form] | Sequence[Path | str] = (),
    *,
    networks: Sequence[Path] = (),
    only: Sequence[str] | None = None,
) -> Report:
    """The report of record files, written to `out`: in the form that each name's ending says.

    Forms are html, markdown, csv, junit, png and svg; a mapping gives one to each file.
    `networks` are prototxts of your own that records speak of, to be planned and predicted.
    `only` names the paper's networks that its ledger is to hold (None: all, if the records
    are of the paper's; empty: no ledger). Of each run the latest record counts.
    """
    from pibench.atomic_write import keep_inputs, write_whole
    from pibench.report import files
    from pibench.report.content import build, without_collecting
    from pibench.report.merging import read_all
    from pibench.report.rebuilding import Networks

    paths = [Path(path) for path in records]
    if not isinstance(out, Mapping):
        out = {Path(path): files.form_of(Path(path)) for path in out}
    keep_inputs(out, [*paths, *networks])
    with without_collecting():
        made = build(read_all(paths), Networks(networks), only=only)
    for path, form in out.items():
        write_whole(path, files.rendered(made, form, sources=[path.name for path in paths]))
    return made


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Whether a network fits a device; true if it does, and its text says why.

    The peak is in bytes, None where it is not known. `how` says where it comes from:
    `planned`, or the target that the network was run on, with `evidence` then. `planned` is
    the plan in either case, for what it says about layers; None where none is possible.
    """

    network: str
    device: Device
    verdict: Verdict
    how: str
    evidence: str
    peak_rss_bytes: int | None
    planned: Plan | None

    def __bool__(self) -> bool:
        return self.verdict == "fit"

    def __repr__(self) -> str:
        words = {"fit": "fits", "no-fit": "does not fit"}.get(self.verdict, f"{self.verdict} on")
        peak = f"{self.peak_rss_bytes / MIB:.0f} MiB" if self.peak_rss_bytes else "not known"
        usable = f"{self.device.usable_bytes / MIB:.0f} MiB usable"
        said = [
            f"{self.network} {words} {self.device.id}: peak {peak} ({self.how}) of {usable}",
            self.evidence,
            _at_the_peak(self.planned) if self.planned else "",
        ]
        return f"<{'; '.join(filter(None, said))}>"


def fits(
    of: Network | str | Path,
    *,
    device: str = "rpi3b",
    protocol: Protocol = "caffe-time",
    target: str | None = None,
    **options: Any,
) -> Fit:
    """Whether a network fits a device: planned, or run on `target` where one is given.

    A verdict of `borderline` or `inconclusive` is no fit. `options` are those of `run`.
    """
    from pibench import devices
    from pibench.verdict.judgement import judge

    net, board = _network(of), devices.load(device)
    if target is None:
        planned = plan(net, device=device, protocol=protocol)
        return Fit(
            network=net.name,
            device=board,
            verdict=judge(planned, board).verdict,
            how="planned",
            evidence="",
            peak_rss_bytes=planned.peak_rss_bytes,
            planned=planned,
        )
    (record,) = run([net], device=device, target=target, protocol=protocol, **options)
    return Fit(
        network=net.name,
        device=board,
        verdict=record.verdict,
        how=f"run on {record.target}",
        evidence=record.evidence.summary,
        peak_rss_bytes=record.peak_rss_bytes,
        planned=_plan_if_possible(net, device, protocol),
    )


def choose(options: Options, tell: Callable[[str], None] = lambda _: None) -> Options:
    """The options with a target that works here in the place of `auto`, and why to `tell`."""
    if options.target != "auto":
        return options
    from pibench import devices
    from pibench.diagnosis import choice

    chosen = choice.choose(devices.load(options.device), options.compute)
    tell(f"target {chosen.target}: {chosen.reason}")
    return replace(options, target=chosen.target)


def _network(of: Network | str | Path) -> Network:
    return network(of) if isinstance(of, (str, Path)) else of


def _networks(these: Network | str | Path | Sequence[Network | str | Path]) -> list[Network]:
    from pibench.networks.network import Network

    # A text is a sequence too, of letters.
    several = [these] if isinstance(these, (str, Path, Network)) else these
    return [_network(one) for one in several]


def _plan_if_possible(net: Network, device: str, protocol: Protocol) -> Plan | None:
    """The plan, for what it says about layers; some networks run and cannot be planned."""
    from pibench.errors import InvalidInputError

    try:
        return plan(net, device=device, protocol=protocol)
    except InvalidInputError:
        return None


def _at_the_peak(planned: Plan) -> str:
    """The layer at the planned peak, and what of a layer then holds most."""
    step = planned.peak_step
    at = f"the planned peak is at {step.phase} {step.layer}".rstrip()
    holder = next((holder for holder in planned.holders if holder.layer), None)
    if holder is None:
        return at
    return f"{at}, where {holder.layer} holds {holder.held_bytes / MIB:.0f} MiB ({holder.kind})"
