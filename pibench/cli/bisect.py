"""`pibench bisect`: run two sides of one network and print the first difference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pibench.cli import options as opt
from pibench.cli.output import ignore_broken_pipe, print_json, say


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
    from pibench.bisection.search import bisect_runs
    from pibench.errors import ExitCode
    from pibench.report.comparisons import bisection_json, print_bisection

    fixed = {"protocol": "inference", "compute": "real", "repeats": 0, "layer_values": True}
    options = opt.run_options(locals() | {"seed": seed or 0, **fixed})
    (network,) = opt.load_networks([spec], options)
    found = bisect_runs(
        network,
        (first, second),
        options,
        seed=seed,
        batch=batch,
        atol=atol,
        rtol=rtol,
        equal_nan=equal_nan,
        default_target=opt.default_target() or "twin",
        load=lambda own, options: opt.load_networks([own], options)[0],
        log=(lambda _: None) if quiet else say,
    )
    if as_json:
        print_json(bisection_json(found))
    else:
        with ignore_broken_pipe():
            print_bisection(found)
    raise typer.Exit(ExitCode.OK if found else ExitCode.DISAGREEMENT)
