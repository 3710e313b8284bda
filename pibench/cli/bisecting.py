"""`pibench bisect`: two sides of one network are run, and where they part is printed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pibench.cli.options import AsJson, Batch, DeviceName, ImageSize, Quiet, Repair, Seed

if TYPE_CHECKING:
    from pibench.errors import ExitCode
    from pibench.images.build import Builder
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.sweep.bisect import Side


def bisect(
    spec: Annotated[
        str, typer.Argument(metavar="NETWORK|PROTOTXT", help="A name or a prototxt file.")
    ],
    first: Annotated[
        str, typer.Argument(metavar="A", help="A target, TARGET:key=value,..., or a record file.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights of both. Default: seeded.", show_default=False),
    ] = None,
    atol: Annotated[
        float | None,
        typer.Option(metavar="X", min=0, help="Absolute tolerance.", show_default=False),
    ] = None,
    rtol: Annotated[
        float | None,
        typer.Option(metavar="X", min=0, help="Relative tolerance.", show_default=False),
    ] = None,
    seed: Seed = 0,
    device: DeviceName = "rpi3b",
    batch: Batch = None,
    size: ImageSize = None,
    repair: Repair = False,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="Seconds that one run may take.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Name the first layer whose values part on two sides, and whether it is at fault.

    Keys: weights=FILE, prototxt=FILE, blas=openblas|reference|atlas, threads=N,
    machine=virt|raspi3b. Blobs part where their Euclidean distance is more than
    atol x sqrt(size) + rtol x norm. Both sides have the same weights unless told otherwise.

    Exit codes: 0 no layer parts, 1 one does, 2 invalid input, 3 the environment, 4 a run
    did not come to its end.

    Example: pibench bisect "SqueezeNet V1.1" twin sysroot:blas=reference --rtol 0
    """
    wishes = Wishes(
        weights=weights,
        atol=atol,
        rtol=rtol,
        seed=seed,
        device=device,
        batch=batch,
        size=size,
        repair=repair,
        timeout_s=timeout,
        quiet=quiet,
        as_json=as_json,
    )
    raise typer.Exit(bisect_network(spec, first, second, wishes))


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The options of `pibench bisect` as the command line gives them."""

    weights: Path | None = None
    atol: float | None = None
    rtol: float | None = None
    seed: int = 0
    device: str = "rpi3b"
    batch: int | None = None
    size: str | None = None
    repair: bool = False
    timeout_s: float | None = None
    quiet: bool = False
    as_json: bool = False


def bisect_network(spec: str, first: str, second: str, wishes: Wishes) -> ExitCode:
    """Load the network, run both sides, compare, print."""
    from pibench.cli.loading import load_all
    from pibench.cli.streams import reader_may_leave, say
    from pibench.crosscheck.values import Tolerance
    from pibench.errors import ExitCode
    from pibench.images.build import Builder
    from pibench.report.bisected import as_json, print_bisection
    from pibench.sweep.bisect import LAYER_TOLERANCE
    from pibench.sweep.bisect import bisect as find

    def step(text: str) -> None:
        if not wishes.quiet:
            say(text)

    (network,) = load_all(
        [spec], weights=wishes.weights, batch=wishes.batch, size=wishes.size, repair=wishes.repair
    )
    tolerance = Tolerance(
        atol=LAYER_TOLERANCE.atol if wishes.atol is None else wishes.atol,
        rtol=LAYER_TOLERANCE.rtol if wishes.rtol is None else wishes.rtol,
    )
    builder = Builder(step)
    names = (first, second) if first != second else (f"{first} (A)", f"{second} (B)")
    preparing = [_prepared(text, network, wishes) for text in (first, second)]
    sides: list[Side] = []
    for name, prepared in zip(names, preparing, strict=True):
        step(f"{name}: {network.name}")
        sides.append(prepared.side(name, builder))
    found = find(sides[0], sides[1], tolerance, step)
    with reader_may_leave():
        if wishes.as_json:
            print(json.dumps(as_json(found), indent=2))
        else:
            print_bisection(found)
    return ExitCode.OK if found else ExitCode.DISAGREEMENT


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A side that has been checked, and is run only once the other has been too."""

    text: str
    network: Network
    wishes: Wishes

    def side(self, name: str, builder: Builder) -> Side:
        """Read the record, or run the network."""
        from pibench import devices
        from pibench.sweep.bisect import Recorded, Runnable
        from pibench.sweep.variants import parse
        from pibench.sweep.work import Request
        from pibench.targets.by_name import make_target

        if _is_record(self.text):
            return Recorded(name=name, record=_record(Path(self.text), self.network))
        variant = parse(self.text)
        device = devices.load(self.wishes.device)
        return Runnable(
            name=name,
            network=self.network,
            target=make_target(variant.target, device, builder, machine=variant.machine),
            request=Request(
                device=device,
                protocol="inference",
                compute="real",
                threads=variant.threads,
                repeats=0,
                seed=self.wishes.seed,
                timeout_s=self.wishes.timeout_s,
                blas=variant.blas,
            ),
        )


def _prepared(text: str, network: Network, wishes: Wishes) -> _Prepared:
    """The network as that side has it, its files checked before anything runs."""
    from pibench import devices
    from pibench.cli.loading import load_all
    from pibench.cli.options import target_spec
    from pibench.errors import InvalidInputError
    from pibench.networks.caffemodel import check_weights
    from pibench.sweep.variants import parse
    from pibench.sweep.work import seeded_weights

    devices.load(wishes.device)
    if _is_record(text):
        return _Prepared(text=text, network=network, wishes=wishes)
    variant = parse(text)
    try:
        target_spec(variant.target)
    except typer.BadParameter as error:
        raise InvalidInputError(
            f"{text}: {error}", hint="give a target, or a file of records that is there"
        ) from None
    weights = variant.weights or network.weights or seeded_weights(network, wishes.seed)
    own = network
    if variant.prototxt is not None:
        (own,) = load_all(
            [str(variant.prototxt)],
            batch=wishes.batch,
            size=wishes.size,
            repair=wishes.repair,
        )
    if variant.weights is not None or variant.prototxt is not None:
        check_weights(own.net, weights)
    return _Prepared(text=text, network=replace(own, weights=weights), wishes=wishes)


def _is_record(text: str) -> bool:
    return Path(text).is_file()


def _record(path: Path, network: Network) -> Record:
    """The last record of the network in a file. Raises InvalidInputError if there is none."""
    from pibench.errors import InvalidInputError
    from pibench.records.store import read

    found = [
        record
        for record in read(path)
        if record.network == network.name and record.protocol == "inference"
    ]
    if not found:
        raise InvalidInputError.at(
            path,
            None,
            f"no record of {network.name} under protocol inference",
            hint="make one: pibench run --protocol inference --out FILE",
        )
    return found[-1]
