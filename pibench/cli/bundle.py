"""`pibench bundle` and `pibench import`, for a board without a connection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pibench.cli import options as opt
from pibench.cli.output import ignore_broken_pipe, print_json, print_line, say
from pibench.cli.run import show_records

if TYPE_CHECKING:
    from pibench.bundle.kit import Kit

MB = 10**6


def bundle(
    context: typer.Context,
    specs: opt.Specs,
    out: Path = typer.Option(
        Path("pi-kit.tar.gz"), "--out", "-o", metavar="FILE", help="The archive to write."
    ),
    with_caffe: bool = typer.Option(
        False,
        "--with-caffe",
        "--with-engine",
        metavar="",
        help="Include Caffe, or the engine, for a board without it (64-bit kernel).",
    ),
    engine: opt.EngineName = None,
    weights: opt.Weights = None,
    device: opt.DeviceName = "rpi3b",
    protocol: opt.EngineProtocol = None,
    batch: opt.Batch = None,
    input_size: opt.ImageSize = None,
    repeats: int = opt.amount(5, "--repeats", "N", "Timed passes of inference.", 1, 10000),
    threads: opt.Threads = None,
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
    quiet: opt.Quiet = False,
    as_json: opt.AsJson = False,
) -> None:
    """Pack networks for a board that has no connection; it runs them with python3 run.py.

    The board needs Python 3.5 but no part of pibench. Read its results with pibench import.

    Example: pibench bundle NIN "SqueezeNet V1.1" --with-caffe -o pi-kit.tar.gz
    """
    from pibench.bundle.kit import write_kit
    from pibench.images.build import Builder

    specs, weights = opt.with_weights(specs, weights)
    engine, protocol = opt.engine_and_protocol(locals(), specs)
    options = opt.run_options(locals() | {"target": "native"})
    loaded = opt.load_networks(specs, options, hint="make a bundle for each")
    builder = Builder((lambda _: None) if quiet else say)
    root = builder.carried() if with_caffe else None
    kit = write_kit(loaded, options, out, root=root, builder=builder)
    if as_json:
        fields = {"name", "sha256", "weights_sha256"}
        print_json(
            {
                "path": str(kit.path),
                "size_bytes": kit.size_bytes,
                "sha256": kit.sha256,
                "kit": kit.digest,
                "device": options.profile.id,
                "protocol": options.protocol,
                "engine": options.engine,
                "with_caffe": kit.manifest.caffe is not None,
                "networks": [one.model_dump(include=fields) for one in kit.manifest.networks],
            }
        )
    else:
        with ignore_broken_pipe():
            _print_kit(kit)


def _print_kit(kit: Kit) -> None:
    from pibench.engines.registry import label_of
    from pibench.report.text import visible

    count, size_mb = len(kit.manifest.networks), max(kit.size_bytes / MB, 0.1)
    label = label_of(kit.manifest.options.engine)
    caffe = f"with {label}" if kit.manifest.caffe else f"for a board that has {label}"
    networks = f"{count} network{'s' if count > 1 else ''}, {kit.manifest.options.protocol}"
    path, name = visible(str(kit.path)), visible(kit.path.name)
    print_line(f"{path}: {networks}, {caffe}, {size_mb:.1f} MB, SHA-256 {kit.sha256[:16]}...")
    print(f"On the board: tar xf {name} && cd pi-kit && python3 run.py")
    print("Back here:    pibench import pi-results.jsonl -o records.jsonl")


def import_(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="The board's pi-results.jsonl.")
    ],
    out: opt.RecordsOut = None,
    kit: Path | None = opt.value(
        "The bundle, if it was not made on this machine.", "--bundle", "--kit"
    ),
    as_json: opt.AsJson = False,
) -> None:
    """Make records of what a bundle measured on a board.

    Results that were cut off, altered or come from another bundle are rejected.
    Exit codes: 0 imported, 2 rejected, 4 a verdict is inconclusive.

    Example: pibench import pi-results.jsonl -o records.jsonl
    """
    from pibench.bundle.results import import_results
    from pibench.errors import ExitCode
    from pibench.records.store import RecordStore

    imported = import_results(results, kit=kit, store=RecordStore(out) if out else None)
    show_records(imported.records, as_json=as_json)
    count = len(imported.records)
    if out is None:
        say(f"{count} results are valid; none was recorded (use -o records.jsonl)")
    else:
        before = f", {imported.known} were there already" if imported.known else ""
        say(f"{count - imported.known} of {count} records were appended to {out}{before}")
    if any(record.verdict == "inconclusive" for record in imported.records):
        raise typer.Exit(ExitCode.INCONCLUSIVE)
