"""Implement `pibench bundle` and `pibench import`, and their output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pibench.bundle.importing import Imported, import_results
from pibench.bundle.packing import Kit, write_kit
from pibench.cli.loading import load_to_run
from pibench.cli.streams import ignore_broken_pipe, say
from pibench.errors import ExitCode
from pibench.records.store import RecordStore, to_json
from pibench.report.plain import visible
from pibench.report.terminal import print_records

if TYPE_CHECKING:
    from pibench.runner.options import Options

MB = 10**6


def write_bundle(
    specs: Sequence[str],
    options: Options,
    *,
    out: Path,
    with_caffe: bool,
    weights: Path | None,
    batch: int | None,
    size: str | None,
    repair: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run `pibench bundle`: read and check all networks before packing anything."""
    loaded = load_to_run(
        specs,
        options.protocol,
        weights=weights,
        batch=batch,
        size=size,
        repair=repair,
        otherwise="make a kit for each",
    )
    root = None
    if with_caffe:
        from pibench.images.build import Builder

        root = Builder((lambda _: None) if quiet else say).carried()
    kit = write_kit(loaded, options.request(), out, root=root)
    with ignore_broken_pipe():
        if as_json:
            print(json.dumps(_as_json(kit), indent=2))
        else:
            _print_kit(kit)


def _as_json(kit: Kit) -> dict[str, object]:
    return {
        "path": str(kit.path),
        "size_bytes": kit.size_bytes,
        "sha256": kit.sha256,
        "kit": kit.digest,
        "device": kit.manifest.device,
        "protocol": kit.manifest.protocol,
        "with_caffe": kit.manifest.caffe is not None,
        "networks": [
            {"name": one.name, "sha256": one.sha256, "weights_sha256": one.weights_sha256}
            for one in kit.manifest.networks
        ],
    }


def _print_kit(kit: Kit) -> None:
    count = len(kit.manifest.networks)
    caffe = "with Caffe" if kit.manifest.caffe else "for a board that has Caffe"
    path, name = visible(str(kit.path)), visible(kit.path.name)
    print(
        f"{path}: {count} network{'s' if count > 1 else ''}, {kit.manifest.protocol}, {caffe}, "
        f"{max(kit.size_bytes / MB, 0.1):.1f} MB, SHA-256 {kit.sha256[:16]}..."
    )
    print(f"On the board: tar xf {name} && cd pi-kit && python3 run.py")
    print("Back here:    pibench import pi-results.jsonl -o records.jsonl")


def import_file(results: Path, *, out: Path | None, kit: Path | None, as_json: bool) -> ExitCode:
    """Run `pibench import`: nothing is written unless the whole file is valid."""
    imported = import_results(results, kit=kit, store=RecordStore(out) if out else None)
    with ignore_broken_pipe():
        if as_json:
            print(to_json(imported.records))
        else:
            print_records(imported.records)
    say(_counted(imported, out))
    inconclusive = any(record.verdict == "inconclusive" for record in imported.records)
    return ExitCode.INCONCLUSIVE if inconclusive else ExitCode.OK


def _counted(imported: Imported, out: Path | None) -> str:
    count = len(imported.records)
    if out is None:
        return f"{count} results are well; none was recorded (-o records.jsonl does)"
    before = f", {imported.known} were there already" if imported.known else ""
    return f"{count - imported.known} of {count} records were appended to {out}{before}"
