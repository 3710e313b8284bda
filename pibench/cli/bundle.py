"""`pibench bundle` and `pibench import`, for a board without a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pibench.cli.options import (
    AsJson,
    Batch,
    DeviceName,
    ImageSize,
    ProtocolName,
    Quiet,
    Repair,
    Specs,
    flag,
)


def bundle(
    specs: Specs,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The archive to write.")
    ] = Path("pi-kit.tar.gz"),
    with_caffe: Annotated[
        bool, flag("--with-caffe", help="Put Caffe in, for a board that has none (64-bit kernel).")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The network's .caffemodel (one network only)."),
    ] = None,
    device: DeviceName = "rpi3b",
    protocol: ProtocolName = "caffe-time",
    batch: Batch = None,
    size: ImageSize = None,
    repeats: Annotated[
        int, typer.Option(metavar="N", min=1, max=10000, help="Timed inference passes.")
    ] = 5,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=64, help="BLAS threads. Default: the device's cores."),
    ] = None,
    repair: Repair = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Pack networks for a board that has no connection; it runs them with python3 run.py.

    The board needs Python 3.5 but no part of pibench. Read its results with pibench import.

    Example: pibench bundle NIN "SqueezeNet V1.1" --with-caffe -o pi-kit.tar.gz
    """
    from pibench.cli.bundling import write_bundle
    from pibench.runner.options import Options

    write_bundle(
        specs,
        Options(
            device=device,
            target="native",
            protocol=protocol,
            repeats=repeats,
            threads=threads,
        ),
        out=out,
        with_caffe=with_caffe,
        weights=weights,
        batch=batch,
        size=size,
        repair=repair,
        quiet=quiet,
        as_json=as_json,
    )


def import_(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="The board's pi-results.jsonl.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Append the records to this file (JSON lines)."
        ),
    ] = None,
    kit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The kit, where it was not made on this machine."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make records of what a kit measured on a board.

    Results that were cut off, altered or come from another kit are rejected.
    Exit codes: 0 imported, 2 rejected, 4 a verdict is inconclusive.

    Example: pibench import pi-results.jsonl -o records.jsonl
    """
    from pibench.cli.bundling import import_file

    raise typer.Exit(import_file(results, out=out, kit=kit, as_json=as_json))
