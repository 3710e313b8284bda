"""`pibench bisect`: run two sides of one network and print the first difference."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pibench.cli import options as opt
from pibench.cli.output import ignore_broken_pipe, print_json, say
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.bisect import Side, Variant
    from pibench.images.build import Builder
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.runner.options import RunOptions


def bisect(
    spec: opt.Spec,
    first: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A target, TARGET:key=value,..., an engine, or a record file."
        ),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="As A.")],
    weights: Path | None = opt.value("Weights of both sides. Default: seeded."),
    atol: opt.Absolute = None,
    rtol: opt.Relative = None,
    equal_nan: opt.EqualNan = False,
    seed: int | None = opt.amount(
        None, "--seed", "N", "Seed of the input, and of weights. Default: 0.", 0, 2**32 - 1
    ),
    device: opt.DeviceName = "rpi3b",
    batch: opt.Batch = None,
    input_size: opt.ImageSize = None,
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
    timeout_s: opt.Timeout = None,
    quiet: opt.Quiet = False,
    as_json: opt.AsJson = False,
) -> None:
    """Find the first layer whose output differs between two runs, and whether it is the cause.

    Keys: engine=SPEC, weights=FILE, prototxt=FILE, blas=openblas|reference|atlas, threads=N,
    machine=virt|raspi3b. An engine alone (caffe, opencv==4.6, ncnn) runs on the twin, or on the
    default target. Blobs differ if their Euclidean distance is more than
    atol x sqrt(size) + rtol x norm, or if a value is NaN or infinite. Both sides have
    the same weights unless a key gives others.

    Exit codes: 0 no layer differs, 1 one differs, 2 invalid input, 3 the environment, 4 a run
    did not complete.

    Example: pibench bisect "SqueezeNet V1.1" twin sysroot:blas=reference --rtol 0
    """
    from pibench.bisect import Recorded, Variant, tolerance_for
    from pibench.bisect import bisect as find
    from pibench.errors import ExitCode
    from pibench.images.build import Builder
    from pibench.report.comparisons import bisection_json, print_bisection

    log = (lambda _: None) if quiet else say
    fixed = {"protocol": "inference", "compute": "real", "repeats": 0, "layer_values": True}
    options = opt.run_options(locals() | {"seed": seed or 0, **fixed})
    (network,) = opt.load_networks([spec], options)
    given = {name: x for name, x in (("atol", atol), ("rtol", rtol)) if x is not None}
    builder = Builder(log)
    texts = (first, second)
    records = [_recorded(text, network, seed) for text in texts]
    for text, record in zip(texts, records, strict=True):
        if record is not None:
            checked_seed = options.seed if None in records else seed
            checked_batch = network.batch if None in records or batch is not None else None
            _check_record(text, record, network, options, checked_seed, checked_batch)
    meant = [
        _variant(text) if record is None else record
        for text, record in zip(texts, records, strict=True)
    ]
    names = [
        one.name if isinstance(one, Variant) else text
        for one, text in zip(meant, texts, strict=True)
    ]
    if names[0] == names[1]:
        names = [f"{names[0]} (A)", f"{names[1]} (B)"]
    # Check everything before the runs, which take minutes.
    prepared = [
        _prepared(name, one, network, options, builder)
        if isinstance(one, Variant)
        else partial(Recorded, name=name, record=one)
        for name, one in zip(names, meant, strict=True)
    ]
    sides: list[Side] = []
    for name, side in zip(names, prepared, strict=True):
        log(f"{name}: {network.name}")
        sides.append(side())
    tolerance = replace(tolerance_for(*sides), **given, equal_nan=equal_nan)
    found = find(sides[0], sides[1], tolerance, log)
    if as_json:
        print_json(bisection_json(found))
    else:
        with ignore_broken_pipe():
            print_bisection(found)
    raise typer.Exit(ExitCode.OK if found else ExitCode.DISAGREEMENT)


def _variant(text: str) -> Variant:
    """Parse a side that must run, and check its target."""
    from pibench.bisect import parse_variant

    target = opt.default_target() or "twin"
    variant = parse_variant(text, target)
    try:
        opt.target_spec(variant.target)
    except typer.BadParameter as error:
        raise InvalidInputError(
            f"{text}: {error}", hint="give a target, an engine, or an existing file of records"
        ) from None
    return variant


def _prepared(
    name: str, variant: Variant, network: Network, options: RunOptions, builder: Builder
) -> Callable[[], Side]:
    """Check the files of a side that must run; return a function that runs it."""
    from pibench.bisect import Runnable
    from pibench.engines.caffe.caffemodel import check_weights
    from pibench.runner.jobs import job_of
    from pibench.runner.model_files import seeded_weights

    changed = ("target", "machine", "threads", "blas", "engine")
    options = replace(options, **{field: getattr(variant, field) for field in changed})
    weights = variant.weights or network.weights or seeded_weights(network, options.seed)
    own = network
    if variant.prototxt is not None:
        (own,) = opt.load_networks([str(variant.prototxt)], replace(options, weights=None))
    if variant.weights is not None or variant.prototxt is not None:
        try:
            check_weights(own.net, weights)
        except InvalidInputError:
            if weights in (variant.weights, network.weights):
                raise
            raise _unshared(variant.text, network, own, variant.prototxt) from None
    own = replace(own, weights=weights)
    options.check(own)
    # An engine may be unable to read a layer: that is known from its files.
    job_of(0, own, options)
    target = options.make_target(builder)
    return partial(Runnable, name=name, network=own, target=target, options=options)


def _unshared(
    text: str, network: Network, own: Network, prototxt: Path | None
) -> InvalidInputError:
    """Explain that weights generated for one network do not fit the other."""
    shared, needed = network.shapes.params, own.shapes.params
    names = {**needed, **shared}
    layer = next((name for name in names if needed.get(name) != shared.get(name)), "")
    return InvalidInputError(
        f"{text}: layer {layer!r} has other parameters in {prototxt} than in {network.name}, "
        "and both sides share seeded weights",
        hint="give each side its own: TARGET:weights=FILE",
    )


def _recorded(text: str, network: Network, seed: int | None) -> Record | None:
    """Return the record of the network in a file; None for a side that is not a file.

    A record of another network with the same name is used only if there is none of this one.
    """
    from pibench.bisect import no_values
    from pibench.crosscheck.sides import read_records
    from pibench.records.identity import labels_of, latest

    file = Path(text)
    if not (file.is_file() or file.is_fifo()):
        return None
    found = [
        record
        for record in read_records(file)
        if record.protocol == "inference"
        and (record.network == network.name or record.network_sha256 == network.sha256)
    ]
    if not found:
        raise InvalidInputError.at(
            file,
            None,
            f"no record of {network.name} under protocol inference",
            hint="make one: pibench run --protocol inference --out FILE",
        )
    for is_meant in (
        lambda one: one.network_sha256 == network.sha256,
        lambda one: seed in (None, one.seed),
        lambda one: not no_values(one),
    ):
        found = list(filter(is_meant, found)) or found
    runs = latest(found)
    if len(runs) > 1:
        raise InvalidInputError.at(
            file,
            None,
            f"has several runs of {network.name}: {'; '.join(labels_of(runs).values())}",
            hint="give a file with the record of one of them",
        )
    return runs[0]


def _check_record(
    text: str,
    record: Record,
    network: Network,
    options: RunOptions,
    seed: int | None,
    batch: int | None,
) -> None:
    """Reject a record that does not match the options; `seed` and `batch` must be equal."""
    from pibench.bisect import no_values
    from pibench.images.recipe import file_sha256

    hint = "give the options it was made with, or another record"
    problem = no_values(record)
    if problem:
        hint = "make another: pibench run --protocol inference --compute real --out FILE"
    elif seed is not None and record.seed not in (None, seed):
        problem = f"its input has seed {record.seed}, not {seed}"
        hint = f"--seed {record.seed}"
    elif batch is not None and record.batch != batch:
        problem = f"it has batch {record.batch}, not {batch}"
        hint = f"--batch {record.batch}"
    elif options.input_size is not None and record.network_sha256 != network.sha256:
        problem = f"it is of another network than {network.name} at {options.input_size}"
    elif options.weights is not None and record.weights_sha256 != file_sha256(options.weights):
        problem = f"its weights are not {options.weights}"
        hint = "give them to the other side only: TARGET:weights=FILE"
    if problem:
        raise InvalidInputError.at(Path(text), None, problem, hint=hint)
