"""What `run` and `reproduce` share: targets by name, progress, records, exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pibench import devices, networks
from pibench.cli.predicting import predicted_times
from pibench.cli.progress import Progress
from pibench.cli.streams import reader_may_leave
from pibench.crosscheck.claims import check_claims, exit_code
from pibench.crosscheck.ledger import write_claims_csv, write_claims_json
from pibench.crosscheck.verdict import is_refused_allocation
from pibench.errors import EnvironmentFault, ExitCode, InvalidInputError
from pibench.images.build import Builder
from pibench.records.store import RecordStore, to_json
from pibench.report.plain import one_line
from pibench.report.terminal import print_records, print_reproduction
from pibench.sweep.reference import Reference
from pibench.sweep.run import Sweep
from pibench.sweep.work import Request
from pibench.targets.container import ContainerTarget
from pibench.targets.local import NativeTarget, TwinTarget
from pibench.targets.sysroot import SysrootTarget
from pibench.targets.vm import VmTarget

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.networks.network import Network
    from pibench.records.schema import Compute, Machine, Protocol, Record
    from pibench.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that say where and how to run, as the command line gives them."""

    device: str = "rpi3b"
    target: str = "vm"
    machine: str | None = None
    protocol: str = "caffe-time"
    compute: str | None = None
    repeats: int = 5
    threads: int | None = None
    timeout_s: float | None = None
    jobs: int | None = None
    quiet: bool = False

    def request(self) -> Request:
        """The same as a request, defaults filled in."""
        # Memory-only serves where only memory is asked for and computing takes long.
        memory_only = self.target != "native" and self.protocol == "caffe-time"
        compute = self.compute or ("memory-only" if memory_only else "real")
        return Request(
            device=devices.load(self.device),
            protocol=cast("Protocol", self.protocol),
            compute=cast("Compute", compute),
            threads=self.threads,
            repeats=self.repeats,
            timeout_s=self.timeout_s,
        )


def run_networks(
    specs: Sequence[str],
    options: Options,
    *,
    weights: Path | None,
    batch: int | None,
    repair: bool,
    out: Path | None,
    require_fit: bool,
    as_json: bool,
) -> ExitCode:
    """`pibench run`: all networks are read and checked before the first one runs."""
    if weights is not None and len(specs) != 1:
        raise InvalidInputError(
            f"--weights {weights} goes with one network, and {len(specs)} were given",
            hint="run them one at a time",
        )
    loaded = [networks.load(spec, weights=weights, batch=batch, repair=repair) for spec in specs]
    for network in loaded:
        for sentence in network.repairs:
            _say(f"{network.source}: repaired: {sentence}")
    if weights is not None and options.protocol == "caffe-time":
        _say("the weights fit the network; caffe-time loads none (--protocol inference does)")
    if options.protocol == "caffe-time":
        for network in loaded:
            network.check_training_phase()
    made: list[Record] = []
    try:
        records = _sweep(loaded, options, _store(out), made)
    except EnvironmentFault:
        # What there is, is worth its lines: the disk may be full after hours.
        if made:
            _show(made, as_json=as_json)
        raise
    _show(records, as_json=as_json)
    return _judge(records, loaded, require_fit=require_fit)


def _show(records: Sequence[Record], *, as_json: bool) -> None:
    with reader_may_leave():
        if as_json:
            print(to_json(records))
        else:
            print_records(records)


def _judge(records: Sequence[Record], loaded: Sequence[Network], *, require_fit: bool) -> ExitCode:
    """The exit code of `run`; raises InvalidInputError for a model that Caffe refused."""
    for record, network in zip(records, loaded, strict=True):
        said = record.evidence.fatal_message
        if record.verdict == "inconclusive" and said and not is_refused_allocation(said):
            place = network.source if network.source != "zoo" else network.name
            raise InvalidInputError.at(
                place, None, f"Caffe refused it: {said}", hint=_way_out(record, said)
            )
    verdicts = {record.verdict for record in records}
    if "inconclusive" in verdicts:
        return ExitCode.INCONCLUSIVE
    if require_fit and verdicts != {"fit"}:
        return ExitCode.DISAGREEMENT
    return ExitCode.OK


def _way_out(record: Record, said: str) -> str | None:
    """What to do where Caffe cannot run a network backward, as `caffe time` does."""
    backward = "Not Implemented" in said or "cannot backpropagate" in said
    if backward and record.protocol == "caffe-time":
        return "caffe time runs layers backward too; forward only: --protocol inference"
    return None


def reproduce_paper(only: str | None, options: Options, out: Path) -> ExitCode:
    """`pibench reproduce`: the paper's networks, its table beside ours, the claims' files."""
    loaded = [networks.load(name) for name in _paper_networks(only)]
    folder = _make_folder(out)
    store = RecordStore(folder / "records.jsonl")
    store.prepare()
    made: list[Record] = []
    try:
        _sweep(loaded, options, store, made)
    except KeyboardInterrupt:
        _say(f"interrupted: {len(made)} of {len(loaded)} networks are in {store.path}")
        raise
    finally:
        # What there is, is worth its files, also after an error half way.
        wanted = [network.name for network in loaded]
        claims = check_claims(
            made, networks=wanted if only else None, predicted=predicted_times(loaded)
        )
        if made:
            write_claims_json(claims, folder)
            write_claims_csv(claims, folder)
    with reader_may_leave():
        print_reproduction(claims, made)
        print(f"\nwritten: {folder}/records.jsonl, claims.json, claims.csv")
    return exit_code(claims)


def _paper_networks(only: str | None) -> list[str]:
    """The names of the paper's networks, all or those asked for; each must be in the paper."""
    if only is None:
        return [entry.name for entry in networks.catalog_entries() if entry.in_paper]
    names = []
    for wanted in (part.strip() for part in only.split(",")):
        if not wanted:
            continue
        entry = networks.find(wanted)
        if not entry.in_paper:
            raise InvalidInputError(
                f"{entry.name} is not one of the paper's networks",
                hint=f"run it by itself: pibench run {entry.slug}",
            )
        if entry.name not in names:
            names.append(entry.name)
    if not names:
        raise InvalidInputError(
            f"--networks {only!r} names no network", hint="give names: --networks AlexNet,NIN"
        )
    return names


def _sweep(
    loaded: Sequence[Network],
    options: Options,
    store: RecordStore | None,
    made: list[Record] | None = None,
) -> list[Record]:
    options = chosen(options)
    request = options.request()
    made = made if made is not None else []
    with Progress(len(loaded), quiet=options.quiet) as progress:
        builder = Builder(progress.step)
        target = make_target(options, request.device, builder)

        def finished(record: Record) -> None:
            made.append(record)
            progress.finished(record)

        # Only where a kernel cuts peaks short is there something to look up.
        cuts = options.target in ("vm", "container", "sysroot")
        reference = Reference(builder) if cuts else None
        sweep = Sweep(
            target=target,
            request=request,
            store=store,
            reference=reference,
            finished=finished,
            watched=progress.watched,
        )
        return sweep.run(loaded)


def chosen(options: Options) -> Options:
    """The options with a target that works here for `auto`, and why it was taken."""
    if options.target != "auto":
        return options
    from pibench.diagnosis.choice import choose

    choice = choose(devices.load(options.device), options.compute)
    _say(f"target {choice.target}: {choice.reason}")
    return replace(options, target=choice.target)


def make_target(options: Options, device: Device, builder: Builder) -> Target:
    """The target of that name."""
    if options.machine is not None and options.target != "vm":
        raise InvalidInputError(
            f"--machine {options.machine} belongs to target vm, not to {options.target}",
            hint="leave one of the two out",
        )
    if options.target == "twin":
        return TwinTarget(builder)
    if options.target == "native":
        return NativeTarget()
    if options.target == "container":
        return ContainerTarget(device, builder, containers_at_once=options.jobs)
    if options.target == "sysroot":
        return SysrootTarget(device, builder, processes_at_once=options.jobs)
    machine = cast("Machine", options.machine or "virt")
    return VmTarget(device, builder, machine=machine, machines_at_once=options.jobs)


def _store(out: Path | None) -> RecordStore | None:
    if out is None:
        return None
    _make_folder(out.parent)
    store = RecordStore(out)
    store.prepare()
    return store


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError.at(
            folder,
            None,
            f"cannot be made a directory ({error.strerror})",
            hint="give another --out",
        ) from error
    return folder


def _say(line: str) -> None:
    print(f"pibench: {one_line(line)}", file=sys.stderr)
