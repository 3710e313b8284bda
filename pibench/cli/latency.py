"""The commands for time and work: `predict`, `calibrate`, `count`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pibench import devices
from pibench.cli.options import AsJson, Batch, ImageSize, Quiet, Repair, Specs, flag


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
            metavar="NAME",
            help=f"The device to predict for: {', '.join(devices.names())}. "
            "Default: the calibration's, rpi3b.",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rates that `calibrate` wrote. Default: those of the paper's board.",
            show_default=False,
        ),
    ] = None,
    batch: Batch = None,
    size: ImageSize = None,
    repair: Repair = False,
    per_layer: Annotated[bool, flag("--per-layer", help="Each layer's time too.")] = False,
    counted: Annotated[
        bool,
        flag("--counted", help="From counts (pibench count), not from layer shapes."),
    ] = False,
    validate: Annotated[
        bool,
        flag("--validate", help="Each known network, predicted by the others alone."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write an SVG: a roofline, or predicted against measured with --validate.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Predict the time of a forward pass on the board, without running the network.

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
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file of rates to write.")] = Path(
        "latency-calibration.json"
    ),
) -> None:
    """Fit the rates for predictions to a board's own measurements.

    Example: pibench calibrate --from out/records.jsonl --out my-pi.json
    """
    from pibench.cli.predicting import calibrate_from

    calibrate_from(records, out)


def count(
    specs: Specs,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="The device whose CPU executes.")
    ] = "rpi3b",
    batch: Batch = None,
    repair: Repair = False,
    cache_model: Annotated[
        bool,
        flag(
            "--cache-model/--no-cache-model",
            help="Model the core's data caches too, which takes longer.",
        ),
    ] = True,
    per_layer: Annotated[bool, flag("--per-layer", help="Each layer's counts too.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Count the instructions of a forward pass, executed by real Caffe in QEMU.

    Takes seconds to minutes per network, once: counts never change and are cached.

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
