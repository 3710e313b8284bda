"""The commands about time and work: `predict`, `calibrate`, `count`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def predict(
    specs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NETWORK|PROTOTXT...", help="Names or prototxt files.", show_default=False
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="The device to predict for. Default: the calibration's, rpi3b.",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Rates that `calibrate` wrote. Default: those of the paper's board.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Images per pass.", show_default=False)] = None,
    size: Annotated[
        str | None,
        typer.Option("--input", metavar="HxW", help="Another image size.", show_default=False),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what stock Caffe would refuse, and say so.")
    ] = False,
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Each layer's time too.")] = False,
    counted: Annotated[
        bool,
        typer.Option("--counted", help="From counts (pibench count), not from layer shapes."),
    ] = False,
    validate: Annotated[
        bool,
        typer.Option("--validate", help="Each known network, predicted by the others alone."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Write an SVG: a roofline, or predicted against measured with --validate.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Predict the time of a forward pass on the board; nothing is run.

    Example: pibench predict MobileNet my/deploy.prototxt --per-layer
    """
    from pibench.cli.predicting import Wishes, predict_networks, validate_calibration

    wishes = Wishes(
        device=device,
        calibration=calibration,
        batch=batch,
        size=size,
        repair=repair,
        per_layer=per_layer,
        counted=counted,
        plot=plot,
        quiet=quiet,
        as_json=as_json,
    )
    if validate:
        validate_calibration(specs or [], wishes)
    else:
        predict_networks(specs or [], wishes)


def calibrate(
    records: Annotated[
        Path, typer.Option("--from", metavar="RECORDS", help="Records that the board made.")
    ],
    out: Annotated[Path, typer.Option(help="The file of rates to write.")] = Path(
        "latency-calibration.json"
    ),
) -> None:
    """Fit the rates of predictions anew on what a board measured of itself.

    Example: pibench calibrate --from out/records.jsonl --out my-pi.json
    """
    from pibench.cli.predicting import calibrate_from

    calibrate_from(records, out)


def count(
    specs: Annotated[
        list[str], typer.Argument(metavar="NETWORK|PROTOTXT...", help="Names or prototxt files.")
    ],
    device: Annotated[str, typer.Option(help="The device whose CPU executes.")] = "rpi3b",
    batch: Annotated[int | None, typer.Option(help="Images per pass.", show_default=False)] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what stock Caffe would refuse, and say so.")
    ] = False,
    cache_model: Annotated[
        bool, typer.Option(help="Model the core's data caches too, which takes longer.")
    ] = True,
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="Each layer's counts too.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Count the instructions of a forward pass, executed by real Caffe in QEMU.

    Takes seconds to minutes a network, once: counts never change, and are kept.

    Example: pibench count "SqueezeNet V1.1" --per-layer
    """
    from pibench.cli.counting import Wishes, count_networks

    wishes = Wishes(
        device=device,
        batch=batch,
        repair=repair,
        cache_model=cache_model,
        per_layer=per_layer,
        quiet=quiet,
        as_json=as_json,
    )
    count_networks(specs, wishes)
