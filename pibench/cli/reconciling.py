"""`pibench reconcile`: read sides, compare them, print the result, set the exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pibench.cli.options import AsJson, CasesOut, EqualNan, finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.crosscheck.sides import Side
    from pibench.errors import ExitCode


def reconcile(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|paper...",
            help="Records, or the JSON of plan, predict or run; paper: the printed table.",
        ),
    ],
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="METRICS",
            help="Decide by these alone, each to be compared: verdict,ram=5%,latency=15%,outputs",
            show_default=False,
        ),
    ] = None,
    atol: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            min=0,
            callback=finite,
            help="Absolute tolerance of outputs.",
            show_default=False,
        ),
    ] = None,
    rtol: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            min=0,
            callback=finite,
            help="Relative tolerance of outputs.",
            show_default=False,
        ),
    ] = None,
    equal_nan: EqualNan = False,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="One more side, before the others: accepted figures."),
    ] = None,
    write_baseline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Accept the last side's figures: write them here."),
    ] = None,
    out: CasesOut = None,
    as_json: AsJson = False,
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
    wishes = Wishes(
        fail_on=fail_on,
        atol=atol,
        rtol=rtol,
        equal_nan=equal_nan,
        baseline=baseline,
        write_baseline=write_baseline,
        out=tuple(out or ()),
        as_json=as_json,
    )
    raise typer.Exit(reconcile_files(sources, wishes))


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The options of `pibench reconcile` from the command line."""

    fail_on: str | None = None
    atol: float | None = None
    rtol: float | None = None
    equal_nan: bool = False
    baseline: Path | None = None
    write_baseline: Path | None = None
    out: tuple[Path, ...] = ()
    as_json: bool = False


def reconcile_files(sources: Sequence[str], wishes: Wishes) -> ExitCode:
    """Read all sides, compare them, print, and write the baseline if requested.

    Raises:
        InvalidInputError: as `read_sides` and `reconcile` do. Also if nothing differs but a gated
            metric could not be compared; this is raised after all output except the baseline.
    """
    from pibench import api
    from pibench.cli.streams import ignore_broken_pipe, say
    from pibench.crosscheck import baseline, gate
    from pibench.crosscheck.outputs import non_finite_outputs
    from pibench.crosscheck.reading import read_sides
    from pibench.crosscheck.reconcile import Tolerances
    from pibench.errors import ExitCode, InvalidInputError
    from pibench.report import cases
    from pibench.report.comparisons import print_reconciliation, reconciliation_json

    gate.parse(wishes.fail_on, Tolerances())
    read = [Path(source) for source in sources]
    cases.writable(wishes.out, [*read, *([wishes.baseline] if wishes.baseline else [])])

    def accept(side: Side) -> None:
        if wishes.write_baseline is not None:
            written = baseline.write(side, wishes.write_baseline)
            count = len(side.entries)
            what = f"{count} network{'' if count == 1 else 's'} of {side.name}"
            say(f"written: {written}: {what}")
            for entry in () if wishes.equal_nan else side.entries:
                for sentence in non_finite_outputs(entry.outputs):
                    say(f"{entry.network}: {sentence}: no run agrees without --equal-nan")

    if wishes.write_baseline is not None and wishes.baseline is None and len(sources) == 1:
        accept(read_sides(sources)[0])
        return ExitCode.OK
    found, passed = api.reconcile(
        sources,
        fail_on=wishes.fail_on,
        baseline=wishes.baseline,
        atol=wishes.atol,
        rtol=wishes.rtol,
        equal_nan=wishes.equal_nan,
    )
    if passed.incomparable and wishes.write_baseline is not None:
        # It could overwrite a baseline that contains what these records lack.
        say(f"not written: {wishes.write_baseline}: an metric of --fail-on could not be compared")
    else:
        accept(found.sides[-1])
    cases.write(cases.of_gate(found, passed), wishes.out)
    with ignore_broken_pipe():
        if wishes.as_json:
            print(json.dumps(reconciliation_json(found, passed), indent=2))
        else:
            print_reconciliation(found, passed)
    if passed.code == ExitCode.INVALID_INPUT:
        raise InvalidInputError(passed.incomparable[0], hint="gate on what both sides tell")
    return passed.code
