"""`pibench reconcile`: read sides, compare them, print the result, set the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pibench.cli import options as opt
from pibench.cli.output import ignore_broken_pipe, print_json, say

if TYPE_CHECKING:
    from pibench.crosscheck.sides import Side


def reconcile(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|paper|predicted...",
            help="Records, or the JSON of plan, predict or run; paper: the printed table; "
            "predicted: the records' runs, predicted for the software that each names.",
        ),
    ],
    fail_on: str | None = opt.value(
        "Metrics that decide, each required: verdict,ram=5%,latency=15%,outputs", metavar="METRICS"
    ),
    atol: opt.Absolute = None,
    rtol: opt.Relative = None,
    equal_nan: opt.EqualNan = False,
    baseline: Path | None = opt.value("One more side, before the others: accepted figures."),
    write_baseline: Path | None = opt.value(
        "Accept the last side's figures: write them to this file."
    ),
    stack: str | None = opt.value(
        "The software that `predicted` is for, in place of the records' own; see predict --stack.",
        metavar="NAME",
    ),
    network: list[Path] | None = opt.value(
        "A network of your own in the records, to predict it; may be repeated.", metavar="PROTOTXT"
    ),
    out: opt.CasesOut = None,
    as_json: opt.AsJson = False,
) -> None:
    """Compare runs, plans, predictions and the paper pairwise.

    Networks are matched by the hash of their prototxt, batch and protocol. Differences between
    the environments are printed first. Times are compared on one clock only: the board's, measured,
    predicted or printed. Outputs are compared if input and weights are the same; a NaN or an
    infinity in them differs from everything, unless --equal-nan is given.

    Exit codes: 0 all that was compared agrees; 1 something differs; 2 no network in common,
    or nothing that could be compared; 4 a verdict is undecided. With --fail-on only the named
    metrics decide: 1 if one differs, else 2 if one was not compared for any network, else
    4 if one was not compared for some network or a network of the baseline was not run.

    Example: pibench reconcile twin.jsonl pi.jsonl --fail-on verdict,ram=5%,outputs
    """
    from pibench.api.comparison import reconcile as compare
    from pibench.crosscheck import gate
    from pibench.crosscheck.blobs import non_finite_outputs
    from pibench.crosscheck.reconcile import Tolerances
    from pibench.crosscheck.sides import read_sides
    from pibench.crosscheck.sides import write_baseline as write
    from pibench.errors import ExitCode, InvalidInputError
    from pibench.report import cases
    from pibench.report.comparisons import print_reconciliation, reconciliation_json

    gate.parse(fail_on, Tolerances())
    read = [Path(source) for source in sources]
    cases.writable(out or (), [*read, *([baseline] if baseline else [])])

    def accept(side: Side) -> None:
        if write_baseline is None:
            return
        written = write(side, write_baseline)
        count = len(side.entries)
        say(f"written: {written}: {count} network{'' if count == 1 else 's'} of {side.name}")
        for entry in () if equal_nan else side.entries:
            for sentence in non_finite_outputs(entry.outputs):
                say(f"{entry.network}: {sentence}: no run can agree without --equal-nan")

    if write_baseline is not None and baseline is None and len(sources) == 1:
        accept(read_sides(sources)[0])
        return
    found, passed = compare(
        sources, fail_on=fail_on, baseline=baseline, atol=atol, rtol=rtol, equal_nan=equal_nan,
        networks=network or (), stack=stack,
    )  # fmt: skip
    if passed.incomparable and write_baseline is not None:
        # It could overwrite a baseline that contains what these records lack.
        say(f"not written: {write_baseline}: a metric of --fail-on could not be compared")
    else:
        accept(found.sides[-1])
    cases.write(cases.of_gate(found, passed), out or ())
    if as_json:
        print_json(reconciliation_json(found, passed))
    else:
        with ignore_broken_pipe():
            print_reconciliation(found, passed)
    if passed.code == ExitCode.INVALID_INPUT:
        raise InvalidInputError(passed.incomparable[0], hint="gate on aspects that both sides have")
    raise typer.Exit(passed.code)
