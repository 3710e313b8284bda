"""Render the report as JUnit XML: a test case per claim, and per network not in the paper.

A claim that agrees passes. One that differs fails, unless the ledger explains it: then it is
skipped, with the difference and the explanation. A claim that could not be compared is skipped
with its reason; a verdict that could not be reached is an error. A network that is not in the
paper passes if it fits.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from pibench.records.identity import labels_of
from pibench.report import facts, ledger_table
from pibench.report.numbers import signed_mib
from pibench.report.plain import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from junitparser.junitparser import FinalResult

    from pibench.records.schema import Record
    from pibench.report.content import Report
    from pibench.report.ledger_table import Cell, Row

_BESIDE: Final = ("device", "source", "protocol", "batch")
"""Shown in brackets after a case's name."""


def junit(report: Report) -> str:
    """Return the XML text; times are those of the runs, in seconds, from the records."""
    xml = JUnitXml("pibench")
    rows = ledger_table.rows(report)
    if rows:
        xml.add_testsuite(_paper(report, rows))
    in_ledger = {row.record.record_id for row in rows if row.record}
    others = [record for record in report.records if record.record_id not in in_ledger]
    if others:
        xml.add_testsuite(_others(others, labels_of(report.records, beside=_BESIDE)))
    xml.update_statistics()  # type: ignore[no-untyped-call]
    buffer = BytesIO()
    xml.write(buffer, pretty=True)
    return buffer.getvalue().decode("utf-8")


def _paper(report: Report, rows: list[Row]) -> TestSuite:
    suite = TestSuite(visible(report.paper.title))
    for row in rows:
        for column, cell in row.cells.items():
            title = ledger_table.TITLES[column]
            case = TestCase(visible(f"{row.name}: {title}"), f"paper.{column}")
            if column == "verdict":
                # All cells of a row come from one run: count its time once.
                case.time = _seconds(row.record)
            case.result = _claim(cell)
            case.system_out = _said(cell)
            suite.add_testcase(case)
    return suite


def _seconds(record: Record | None) -> float:
    """Return the run's time, rounded to the millisecond."""
    elapsed = record.evidence.elapsed_seconds if record else None
    return round(elapsed or 0.0, 3)


def _claim(cell: Cell) -> list[FinalResult]:
    claim = cell.claim
    said = f"printed {cell.paper}, ours {cell.ours} {claim.unit}".rstrip()
    reason = visible(claim.provenance.reason)
    if claim.agrees:
        return []
    if claim.agrees is None:
        if claim.column == "verdict":
            return [Error(visible(f"{said}: {reason}"), "undecided")]
        return [Skipped(visible(f"not compared: {reason}"))]
    if claim.explanation:
        return [Skipped(visible(f"differs, as explained: {said}. {claim.explanation}"))]
    return [Failure(visible(f"{said} ({cell.error} %)"), "differs")]


def _said(cell: Cell) -> str:
    claim = cell.claim
    error = "" if claim.error_pct is None else f", error {cell.error} %"
    interval = f", 90 % interval {cell.interval}" if cell.interval else ""
    figures = f"printed {cell.paper}, ours {cell.ours} {claim.unit}".rstrip()
    return visible(
        f"{figures}{error}{interval}; {claim.provenance.kind}: {claim.provenance.reason}"
    )


def _others(records: list[Record], labels: Mapping[str, str]) -> TestSuite:
    suite = TestSuite("networks")
    for record in records:
        where = ", ".join(
            [record.device, facts.target(record), record.protocol, f"batch {record.batch}"]
        )
        case = TestCase(
            visible(f"{labels[record.record_id]} fits ({where})"),
            "fits",
            _seconds(record),
        )
        said = visible(f"{record.verdict}: {record.evidence.summary}")
        if record.headroom_bytes is not None:
            said += f"; headroom {signed_mib(record.headroom_bytes)} MiB"
        if record.verdict == "inconclusive":
            case.result = [Error(said, record.verdict)]
        elif record.verdict != "fit":
            case.result = [Failure(said, record.verdict)]
        # Both are already visible text; only the line feed between them is added here.
        case.system_out = f"{said}\n{facts.command(record)}".rstrip()
        suite.add_testcase(case)
    return suite
