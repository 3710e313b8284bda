"""Compare and report records that were made before."""

# ruff: noqa: PLC0415  (start-up time: see pibench/api/__init__.py)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pibench.crosscheck.gate import GateResult
    from pibench.crosscheck.reconcile import Reconciliation
    from pibench.report.content import Report
    from pibench.report.files import Form


def reconcile(
    sides: Sequence[Path | str],
    *,
    fail_on: str | None = None,
    baseline: Path | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    equal_nan: bool = False,
    networks: Sequence[Path] = (),
    stack: str | None = None,
) -> tuple[Reconciliation, GateResult]:
    """Compare two or more sides of the same networks and evaluate the gate.

    Args:
        sides: Files of records, plans or predictions, or the words "paper" and "predicted", which
            stands for predictions of the records' runs, each for the stack that the record states.
        fail_on: A gate such as "verdict,ram=5%,outputs".
        baseline: The side that the others are compared with.
        atol: Absolute tolerance of outputs.
        rtol: Relative tolerance of outputs.
        equal_nan: Treat two NaN outputs as equal; by default NaN differs from everything.
        networks: Your own prototxts that records refer to, for `predicted`.
        stack: The stack for all of `predicted`, in place of those that the records state.

    Returns:
        The comparison, and the gate's result, whose `code` is the command's exit code.
    """
    from pibench.crosscheck import gate
    from pibench.crosscheck.blobs import OUTPUT_TOLERANCE
    from pibench.crosscheck.predicted import PREDICTED, predicted_side
    from pibench.crosscheck.reconcile import Tolerances
    from pibench.crosscheck.reconcile import reconcile as compared
    from pibench.crosscheck.sides import read_side, read_sides
    from pibench.errors import InvalidInputError
    from pibench.report.sources import Networks

    given = {name: x for name, x in (("atol", atol), ("rtol", rtol)) if x is not None}
    outputs = replace(OUTPUT_TOLERANCE, **given, equal_nan=equal_nan)
    gated, tolerances = gate.parse(fail_on, Tolerances(outputs=outputs))
    sources = [str(side) for side in sides]
    named = PREDICTED in sources and not Path(PREDICTED).exists()
    place = sources.index(PREDICTED) if named else None
    if place is None and (stack is not None or networks):
        raise InvalidInputError(
            "a stack and networks are for predictions of the records' runs",
            hint="name predicted among the sides: pibench reconcile RECORDS predicted",
        )
    if place is not None:
        del sources[place]
    read = read_sides(sources)
    if place is not None:
        records = [record for side in read for record in side.records]
        read.insert(place, predicted_side(records, Networks(networks).of, stack))
    if baseline is not None:
        read.insert(0, read_side(str(baseline)))
    found = compared(read, tolerances)
    return found, gate.decide(found, gated)


def report(
    records: Sequence[Path | str],
    out: Mapping[Path, Form] | Sequence[Path | str] = (),
    *,
    networks: Sequence[Path] = (),
    only: Sequence[str] | None = None,
    table: str | None = None,
) -> Report:
    """Build the report of record files and write it to `out`.

    Of each run the latest record counts.

    Args:
        records: The record files.
        out: Files to write. A mapping gives each file's form (html, markdown, csv, junit, bencher,
            png, svg or badge); for a sequence the file name's ending decides.
        networks: Your own prototxts that records refer to; they are planned and predicted.
        only: The paper's networks to list in the ledger. None lists all if the records are of the
            paper's networks; an empty sequence omits the ledger.
        table: The published table to compare with: an id of one of pibench's, or the folder of
            another. None is the paper's.
    """
    from pibench.crosscheck.paper import DEFAULT
    from pibench.file_io import keep_inputs, write_whole
    from pibench.report import files
    from pibench.report.content import build, without_collecting
    from pibench.report.sources import Networks, read_all

    paths = [Path(path) for path in records]
    if not isinstance(out, Mapping):
        out = {Path(path): files.form_of(Path(path)) for path in out}
    keep_inputs(out, [*paths, *networks])
    with without_collecting():
        made = build(read_all(paths), Networks(networks), only=only, table=table or DEFAULT)
    for path, form in out.items():
        write_whole(path, files.rendered(made, form, sources=[path.name for path in paths]))
    return made
