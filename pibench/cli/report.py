"""`pibench report`: read and merge records, and write a report in one or several formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pibench.cli import options as opt
from pibench.cli.output import ignore_broken_pipe, print_json, print_line, say
from pibench.errors import ExitCode, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.latency.model import Prediction
    from pibench.networks.network import Network
    from pibench.records.schema import Record, Verdict
    from pibench.report.content import Report
    from pibench.report.files import Form


def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RECORDS...", help="Files that run wrote or printed.")
    ],
    out: Annotated[
        list[Path] | None,
        opt.option(
            "Output: .html, .md, .csv, .xml (JUnit), .png, .svg; may be repeated. "
            "Default: Markdown on standard output.",
            "--out",
            "-o",
        ),
    ] = None,
    form: Annotated[
        str | None,
        opt.option(
            "html, markdown, csv, junit, png or svg, if not by the file's name.",
            "--format",
            metavar="FORM",
        ),
    ] = None,
    network: Annotated[
        list[Path] | None,
        opt.option(
            "A network of your own in the records, to plan it; may be repeated.",
            "--network",
            metavar="PROTOTXT",
        ),
    ] = None,
    require_fit: Annotated[
        bool,
        opt.flag(
            "--require-fit",
            help="Report only whether every network fits, nothing of the paper; "
            "exit with 1 unless all do.",
        ),
    ] = False,
    table: Annotated[
        str | None,
        opt.option(
            "The published table to compare with, built in or in a folder. Default: the paper's.",
            "--table",
            metavar="ID|FOLDER",
        ),
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show the latest record of each run as a page, a table, a picture or test cases.

    Example: pibench report out/records.jsonl -o report.html
    """  # fmt: skip
    from pibench.file_io import is_standard_output
    from pibench.report import files

    wanted = files.named(form) if form is not None else None
    if wanted is not None and out is not None and len(out) > 1:
        raise InvalidInputError(
            f"--format {wanted} would apply to {len(out)} files",
            hint="omit it: the files' names determine their formats",
        )
    if as_json and wanted is not None and not out:
        raise InvalidInputError(
            f"both --json and --format {wanted} are for standard output", hint="give -o FILE too"
        )
    if as_json and any(map(is_standard_output, out or ())):
        raise InvalidInputError(
            "both --json and -o are for standard output", hint="name a file: -o FILE"
        )
    if wanted in ("png", "svg") and not out:
        raise InvalidInputError(
            f"a picture cannot go to standard output: --format {wanted}",
            hint=f"-o overview.{wanted}",
        )
    forms = [(path, wanted or files.form_of(path)) for path in out or ()]
    made = _make(
        paths,
        network or (),
        forms,
        wanted or "markdown",
        only=() if require_fit else None,
        table=table,
        as_json=as_json,
    )
    if require_fit:
        raise typer.Exit(_gate({record.verdict for record in made.records}))


def _make(
    paths: Sequence[Path],
    given: Sequence[Path],
    forms: Sequence[tuple[Path, Form]],
    shown: Form,
    *,
    only: Sequence[str] | None,
    table: str | None,
    as_json: bool,
) -> Report:
    from pibench import api
    from pibench.file_io import is_standard_output
    from pibench.report.files import rendered
    from pibench.report.sources import Networks

    made = api.report(paths, dict(forms), networks=given, only=only, table=table)
    for path in Networks(given).without_record(made.records):
        say(f"--network {path}: no record is of this network")
    sources = [path.name for path in paths]
    written = [str(path) for path, _ in forms]
    if made.superseded:
        say(f"{made.superseded} records were superseded by later ones of the same runs")
    if as_json:
        print_json(_answer(made, written))
    elif not forms:
        with ignore_broken_pipe():
            print(str(rendered(made, shown, sources=sources)).rstrip("\n"))
    else:
        log = say if any(is_standard_output(path) for path, _ in forms) else print_line
        for line in (made.headline, *(f"written: {path}" for path in written)):
            log(line)
    return made


def _gate(verdicts: set[Verdict]) -> ExitCode:
    """Return the exit code by the rules of `run --require-fit`."""
    if "inconclusive" in verdicts:
        return ExitCode.INCONCLUSIVE
    return ExitCode.OK if verdicts == {"fit"} else ExitCode.DISAGREEMENT


def write_page(
    path: Path,
    records: Sequence[Record],
    loaded: Sequence[Network],
    *,
    only: Sequence[str] | None,
    predictions: Sequence[Prediction],
) -> None:
    """Write the HTML report of one call's records.

    `loaded` are the networks that ran, `predictions` their predictions, `only` the selected
    networks of the paper.
    """
    from pibench.file_io import write_whole
    from pibench.report.content import build, without_collecting
    from pibench.report.files import rendered
    from pibench.report.sources import Networks, merge

    by_hash = {network.sha256: one for network, one in zip(loaded, predictions, strict=True)}
    with without_collecting():
        made = build(merge(records), Networks(at_hand=loaded), only=only, predictions=by_hash)
        write_whole(path, rendered(made, "html", sources=["records.jsonl"]))


def _answer(made: Report, written: Sequence[str]) -> dict[str, Any]:
    """Return the report as JSON: the ledger as in claims.json, and each network."""
    from pibench.crosscheck.claims import as_dict

    return {
        "headline": made.headline,
        "records": len(made.records),
        "superseded": made.superseded,
        "written": list(written),
        "ledger": as_dict(made.claims, made.paper) if made.claims else None,
        "networks": [
            {
                "network": one.name,
                "device": one.device.id,
                # Of the run whose figures are shown here; `runs` has the verdict of each run.
                "verdict": one.record.verdict,
                "peak_rss_bytes": one.peak.size_bytes if one.peak else None,
                "peak_is_lower_bound": one.peak.is_lower_bound if one.peak else None,
                "peak_provenance": one.peak.provenance.model_dump() if one.peak else None,
                "headroom_bytes": one.record.headroom_bytes,
                "planned_peak_rss_bytes": one.planned.peak_rss_bytes if one.planned else None,
                "not_planned": one.not_planned or None,
                "predicted_latency_ms": one.prediction.latency_ms if one.prediction else None,
                "records": [record.record_id for record in one.records],
                "runs": [
                    {"run": made.labels[record.record_id], "verdict": record.verdict}
                    for record in one.records
                ],
            }
            for one in made.networks
        ],
    }
