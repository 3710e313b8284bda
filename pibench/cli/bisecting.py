"""`pibench bisect`: run two sides of one network and print the first difference."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pibench.cli.options import (
    LONGEST_S,
    AsJson,
    Batch,
    DeviceName,
    EqualNan,
    ImageSize,
    Quiet,
    Repair,
    finite,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.bisect.bisection import Side
    from pibench.errors import ExitCode, InvalidInputError
    from pibench.images.build import Builder
    from pibench.networks.network import Network
    from pibench.records.schema import Record


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
        typer.Option(
            metavar="X", min=0, callback=finite, help="Absolute tolerance.", show_default=False
        ),
    ] = None,
    rtol: Annotated[
        float | None,
        typer.Option(
            metavar="X", min=0, callback=finite, help="Relative tolerance.", show_default=False
        ),
    ] = None,
    equal_nan: EqualNan = False,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=2**32 - 1,
            help="Of the input, and of weights not given. Default: 0.",
            show_default=False,
        ),
    ] = None,
    device: DeviceName = "rpi3b",
    batch: Batch = None,
    size: ImageSize = None,
    repair: Repair = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=1,
            max=LONGEST_S,
            callback=finite,
            help="Seconds that one run may take.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find the first layer whose output differs between two runs, and whether it is the cause.

    Keys: weights=FILE, prototxt=FILE, blas=openblas|reference|atlas, threads=N,
    machine=virt|raspi3b. Blobs differ if their Euclidean distance is more than
    atol x sqrt(size) + rtol x norm, or if a value is NaN or infinite. Both sides have
    the same weights unless a key gives others.

    Exit codes: 0 no layer differs, 1 one differs, 2 invalid input, 3 the environment, 4 a run
    did not complete.

    Example: pibench bisect "SqueezeNet V1.1" twin sysroot:blas=reference --rtol 0
    """
    wishes = Wishes(
        weights=weights,
        atol=atol,
        rtol=rtol,
        equal_nan=equal_nan,
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
    """The options of `pibench bisect` from the command line."""

    weights: Path | None = None
    atol: float | None = None
    rtol: float | None = None
    equal_nan: bool = False
    seed: int | None = None
    device: str = "rpi3b"
    batch: int | None = None
    size: str | None = None
    repair: bool = False
    timeout_s: float | None = None
    quiet: bool = False
    as_json: bool = False


def bisect_network(spec: str, first: str, second: str, wishes: Wishes) -> ExitCode:
    """Load the network, run both sides, compare, print."""
    from pibench.bisect.bisection import LAYER_TOLERANCE, Recorded
    from pibench.bisect.bisection import bisect as find
    from pibench.cli.loading import load_all
    from pibench.cli.streams import ignore_broken_pipe, say
    from pibench.crosscheck.values import Tolerance
    from pibench.errors import ExitCode
    from pibench.images.build import Builder
    from pibench.report.comparisons import bisection_json, print_bisection

    def step(text: str) -> None:
        if not wishes.quiet:
            say(text)

    (network,) = load_all(
        [spec], weights=wishes.weights, batch=wishes.batch, size=wishes.size, repair=wishes.repair
    )
    tolerance = Tolerance(
        atol=LAYER_TOLERANCE.atol if wishes.atol is None else wishes.atol,
        rtol=LAYER_TOLERANCE.rtol if wishes.rtol is None else wishes.rtol,
        equal_nan=wishes.equal_nan,
    )
    builder = Builder(step)
    names = (first, second) if first != second else (f"{first} (A)", f"{second} (B)")
    records = [_recorded(text, network, wishes) for text in (first, second)]
    for text, record in zip((first, second), records, strict=True):
        if record is not None:
            _check_record(text, record, network, wishes, other_runs=None in records)
    # Check everything before the runs, which take minutes.
    prepared = [
        _prepared(name, text, network, wishes, builder)
        if record is None
        else partial(Recorded, name=name, record=record)
        for name, text, record in zip(names, (first, second), records, strict=True)
    ]
    sides: list[Side] = []
    for name, side in zip(names, prepared, strict=True):
        step(f"{name}: {network.name}")
        sides.append(side())
    found = find(sides[0], sides[1], tolerance, step)
    with ignore_broken_pipe():
        if wishes.as_json:
            print(json.dumps(bisection_json(found), indent=2))
        else:
            print_bisection(found)
    return ExitCode.OK if found else ExitCode.DISAGREEMENT


def _prepared(
    name: str, text: str, network: Network, wishes: Wishes, builder: Builder
) -> Callable[[], Side]:
    """Check the target and files of a side that must run; return a function that runs it."""
    from pibench import devices
    from pibench.bisect.bisection import Runnable
    from pibench.bisect.variants import parse
    from pibench.cli.loading import load_all
    from pibench.cli.options import target_spec
    from pibench.errors import InvalidInputError
    from pibench.networks.caffemodel import check_weights
    from pibench.runner.work import Request, seeded_weights
    from pibench.targets.by_name import make_target

    device = devices.load(wishes.device)
    variant = parse(text)
    try:
        target_spec(variant.target)
    except typer.BadParameter as error:
        raise InvalidInputError(
            f"{text}: {error}", hint="give a target, or a file of records that is there"
        ) from None
    target = make_target(variant.target, device, builder, machine=variant.machine)
    seed = wishes.seed or 0
    weights = variant.weights or network.weights or seeded_weights(network, seed)
    own = network
    if variant.prototxt is not None:
        (own,) = load_all(
            [str(variant.prototxt)],
            batch=wishes.batch,
            size=wishes.size,
            repair=wishes.repair,
        )
    if variant.weights is not None or variant.prototxt is not None:
        try:
            check_weights(own.net, weights)
        except InvalidInputError:
            if weights in (variant.weights, network.weights):
                raise
            raise _unshared(text, network, own, variant.prototxt) from None
    return partial(
        Runnable,
        name=name,
        network=replace(own, weights=weights),
        target=target,
        request=Request(
            device=device,
            protocol="inference",
            compute="real",
            threads=variant.threads,
            repeats=0,
            seed=seed,
            timeout_s=wishes.timeout_s,
            blas=variant.blas,
        ),
    )


def _unshared(
    text: str, network: Network, own: Network, prototxt: Path | None
) -> InvalidInputError:
    """Explain that weights generated for one network do not fit the other."""
    from pibench.errors import InvalidInputError

    ours, theirs = network.shapes.params, own.shapes.params
    layer = next((name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)), "")
    return InvalidInputError(
        f"{text}: layer {layer!r} has other parameters in {prototxt} than in {network.name}, "
        "and both sides share seeded weights",
        hint="give each side its own: TARGET:weights=FILE",
    )


def _recorded(text: str, network: Network, wishes: Wishes) -> Record | None:
    """Return the record of the network in a file; None for a side that is not a file.

    A record of another network with the same name is used only if there is none of this one.

    Raises:
        InvalidInputError: if there is no record, or several that the options do not distinguish.
    """
    from pibench.bisect.bisection import no_values
    from pibench.crosscheck.reading import read_records
    from pibench.errors import InvalidInputError
    from pibench.records.identity import labels_of, latest

    path = Path(text)
    if not (path.is_file() or path.is_fifo()):
        return None
    found = [
        record
        for record in read_records(path)
        if record.protocol == "inference"
        and (record.network == network.name or record.network_sha256 == network.sha256)
    ]
    if not found:
        raise InvalidInputError.at(
            path,
            None,
            f"no record of {network.name} under protocol inference",
            hint="make one: pibench run --protocol inference --out FILE",
        )
    for is_meant in (
        lambda one: one.network_sha256 == network.sha256,
        lambda one: wishes.seed in (None, one.seed),
        lambda one: not no_values(one),
    ):
        found = list(filter(is_meant, found)) or found
    runs = latest(found)
    if len(runs) > 1:
        raise InvalidInputError.at(
            path,
            None,
            f"holds several runs of {network.name}: {'; '.join(labels_of(runs).values())}",
            hint="give a file with the record of one of them",
        )
    return runs[0]


def _check_record(
    text: str, record: Record, network: Network, wishes: Wishes, *, other_runs: bool
) -> None:
    """Check that a record matches the options, since a record cannot be run again.

    It is checked before the other side runs.

    Raises:
        InvalidInputError: if it does not match.
    """
    from pibench.bisect.bisection import no_values
    from pibench.errors import InvalidInputError
    from pibench.images.recipe import file_sha256

    hint = "give what it was made with, or another record"
    problem = no_values(record)
    if problem:
        hint = "make another: pibench run --protocol inference --compute real --out FILE"
    elif (wishes.seed is not None or other_runs) and record.seed not in (None, wishes.seed or 0):
        problem = f"its input is of seed {record.seed}, not {wishes.seed or 0}"
        hint = f"--seed {record.seed}"
    elif (wishes.batch is not None or other_runs) and record.batch != network.batch:
        problem = f"it is of batch {record.batch}, not {network.batch}"
        hint = f"--batch {record.batch}"
    elif wishes.size is not None and record.network_sha256 != network.sha256:
        problem = f"it is of another network than {network.name} at {wishes.size}"
    elif wishes.weights is not None and record.weights_sha256 != file_sha256(wishes.weights):
        problem = f"its weights are not {wishes.weights}"
        hint = "give them to the other side alone: TARGET:weights=FILE"
    if problem:
        raise InvalidInputError.at(Path(text), None, problem, hint=hint)
