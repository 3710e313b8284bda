"""`pibench report`: read and merge records, and write a report in one or several formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pibench.cli import options as opt
from pibench.cli.output import ignore_broken_pipe, print_json, print_line, say
from pibench.cli.run import fit_code
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.latency.model import Prediction
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.report.content import Report
    from pibench.report.files import Form


_OUT = (
    "Output: .html, .md, .csv, .xml (JUnit), .bmf, .png, .svg, badge.svg; may be repeated. "
    "Default: Markdown on standard output."
)
_FORM = "html, markdown, csv, junit, bencher, png, svg or badge, if not by the file's name."
_NETWORK = "A network of your own in the records, to plan it; may be repeated."
_REQUIRE_FIT = (
    "Report only whether every network fits, nothing of the paper; exit with 1 unless all do."
)
_TABLE = "The published table to compare with, built in or in a folder. Default: the paper's."


def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RECORDS...", help="Files that run wrote or printed.")
    ],
    out: list[Path] | None = opt.value(_OUT, "--out", "-o"),
    form: str | None = opt.value(_FORM, "--format", metavar="FORM"),
    network: list[Path] | None = opt.value(_NETWORK, metavar="PROTOTXT"),
    require_fit: bool = opt.switch("--require-fit", _REQUIRE_FIT),
    table: str | None = opt.value(_TABLE, metavar="ID|FOLDER"),
    as_json: opt.AsJson = False,
) -> None:
    """Show the latest record of each run as a page, a table, a picture or test cases.

    Example: pibench report out/records.jsonl -o report.html
    """  # fmt: skip
    import gc

    from pibench.api.comparison import report as build_report
    from pibench.file_io import is_standard_output
    from pibench.report import files
    from pibench.report.sources import Networks

    # See `content.without_collecting`; the process ends with this command.
    gc.disable()
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
    forms = {path: wanted or files.form_of(path) for path in out or ()}
    only = () if require_fit else None
    made = build_report(paths, forms, networks=network or (), only=only, table=table)
    for path in Networks(network or ()).without_record(made.records):
        say(f"--network {path}: no record is of this network")
    _show(made, wanted or "markdown", sources=paths, written=[*(out or ())], as_json=as_json)
    if require_fit:
        raise typer.Exit(fit_code(made.records))


def _show(
    made: Report, form: Form, *, sources: Sequence[Path], written: Sequence[Path], as_json: bool
) -> None:
    """Print the report, or what was written."""
    from pibench.file_io import is_standard_output
    from pibench.report.files import rendered

    if made.superseded:
        say(f"{made.superseded} records were superseded by later ones of the same runs")
    if as_json:
        print_json(_answer(made, [str(path) for path in written]))
    elif not written:
        with ignore_broken_pipe():
            names = [path.name for path in sources]
            print(str(rendered(made, form, sources=names)).rstrip("\n"))
    else:
        log = say if any(map(is_standard_output, written)) else print_line
        for line in (made.headline, *(f"written: {path}" for path in written)):
            log(line)


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
