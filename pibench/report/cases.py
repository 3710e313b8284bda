"""Cases of plans, comparisons and reports, written as JUnit XML; gates also as Markdown.

In a report, each claim of the paper is a case, and each run outside the paper. A claim that agrees
passes. One that differs fails, unless the ledger explains it: then it is skipped, with the
difference and the explanation. A claim that could not be compared is skipped with its reason; a
verdict that could not be reached is an error. A network that is not in the paper passes if it fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from pibench.engines.caffe import CAFFE
from pibench.engines.registry import engine_of
from pibench.errors import InvalidInputError
from pibench.file_io import keep_inputs, write_whole
from pibench.records.identity import labels_of
from pibench.report.comparisons import closing, described
from pibench.report.runs import command, target
from pibench.report.tables import Cell, Table, numeric, plain, to_markdown
from pibench.report.tables import escape_markdown as text
from pibench.report.text import NOTHING, mib, milliseconds, signed_mib, usable_memory, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from junitparser.junitparser import FinalResult

    from pibench.checks import Check as Checked
    from pibench.crosscheck.gate import Check, GateResult
    from pibench.crosscheck.reconcile import Reconciliation
    from pibench.devices import Device
    from pibench.judgements import TimeJudgement
    from pibench.records.schema import Record
    from pibench.report.content import Report
    from pibench.report.ledger import LedgerCell, Row

_RESULTS: Final[dict[str, type[FinalResult]]] = {
    "differs": Failure,
    "fails": Failure,
    "no-fit": Failure,
    "borderline": Failure,
    "inconclusive": Error,
    "undecided": Error,
    "is undecided": Error,
    "could not be compared": Error,
    "was not planned": Error,
    "was not compared": Skipped,
    "skipped": Skipped,
}
"""The JUnit element of each outcome; all other cases pass."""
_STATES: Final = {
    "agrees": "passes",
    "differs": "fails",
    "undecided": "is undecided",
    "incomparable": "could not be compared",
    "not compared": "was not compared",
}
_BY_ENDING: Final = {".md": "markdown", ".xml": "junit"}
_BESIDE: Final = ("device", "source", "protocol", "batch")
"""Shown in brackets after a run's name."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One requirement on one network, its outcome, and why; `output` replaces `why` as details."""

    subject: str
    claim: str
    outcome: str
    why: str
    classname: str = ""
    output: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The name of the test case."""
        return f"{self.subject}: {self.claim}" if self.claim else self.subject


def junit_text(suites: Mapping[str, Iterable[Case]]) -> str:
    """Return JUnit XML with these suites: a failure is something wrong, an error is undecided."""
    xml = JUnitXml("pibench")
    for name, cases in suites.items():
        suite = TestSuite(visible(name))
        for one in cases:
            classname = one.classname or f"pibench.{one.claim}"
            case = TestCase(visible(one.name), classname, one.seconds)
            if one.outcome in _RESULTS:
                kind = None if one.outcome == "skipped" else one.outcome
                case.result = [_RESULTS[one.outcome](visible(one.why), kind)]
            # Only the line feeds between lines are kept.
            case.system_out = "\n".join(map(visible, (one.output or one.why).split("\n")))
            suite.add_testcase(case)
        if len(suite):
            xml.add_testsuite(suite)
    xml.update_statistics()  # type: ignore[no-untyped-call]
    buffer = BytesIO()
    xml.write(buffer, pretty=True)
    return buffer.getvalue().decode("utf-8")


@dataclass(frozen=True, kw_only=True)
class Cases:
    """All decisions of a gate: a headline, the cases, their table and notes."""

    command: str
    headline: str
    cases: tuple[Case, ...]
    table: Table
    notes: tuple[str, ...] = ()

    def junit(self) -> str:
        """Return one test case each."""
        return junit_text({f"pibench {self.command}": self.cases})

    def markdown(self) -> str:
        """Return the headline, the table, and the notes; all untrusted text is escaped."""
        lines = [f"# {text(self.headline)}", "", *to_markdown(self.table)]
        return "\n".join([*lines, "", *(f"- {text(note)}" for note in self.notes), ""])


def writable(paths: Sequence[Path], inputs: Iterable[Path], others: Collection[str] = ()) -> None:
    """Raise InvalidInputError for an unsupported output format, or an output that is an input.

    `others` are ends of names of files that the command writes too, such as "badge.svg".
    """
    for path in paths:
        if _other(path, others) is None and _BY_ENDING.get(path.suffix.lower()) is None:
            endings = [*_BY_ENDING, *others]
            raise InvalidInputError.at(
                path, None, "no format that this command writes has this ending",
                hint=f"end it in {', '.join(endings[:-1])} or {endings[-1]}",
            )  # fmt: skip
    keep_inputs(paths, inputs)


def write(
    cases: Cases, paths: Sequence[Path], others: Mapping[str, Callable[[], str]] | None = None
) -> None:
    """Write the cases to each file, in the format of its name's ending.

    `others` have the content of other files by the ends of their names.
    """
    for path in paths:
        ending = _other(path, others or ())
        if others and ending is not None:
            write_whole(path, others[ending]())
        elif _BY_ENDING[path.suffix.lower()] == "junit":
            write_whole(path, cases.junit())
        else:
            write_whole(path, cases.markdown())


def _other(path: Path, others: Iterable[str]) -> str | None:
    """Return which of the endings the file's name has, None if none."""
    return next((ending for ending in others if path.name.lower().endswith(ending)), None)


def of_plans(
    answers: Sequence[dict[str, Any]], device: Device, protocol: str, refused: Mapping[str, str]
) -> Cases:
    """Return one case per network, passed if the plan is `fit`: the gate of `plan --require-fit`.

    `refused` gives the reason for each network that could not be planned; these are errors.
    """
    claim = f"fits {device.id}"
    cases: list[Case] = []
    rows: list[tuple[Cell | str, ...]] = []
    for answer in answers:
        verdict, subject, at = answer["verdict"], _subject(answer), _at_the_peak(answer)
        sizes = [
            mib(answer["peak_rss_bytes"]),
            mib(answer["band_bytes"]),
            signed_mib(answer["headroom_bytes"]),
        ]
        why = (
            f"{verdict} (planned, {answer['protocol']}, batch {answer['batch']}): "
            f"peak {sizes[0]} MiB of {mib(answer['usable_bytes'])} MiB usable, at {at}"
        )
        outcome = "passes" if verdict == "fit" else "fails"
        cases.append(Case(subject=subject, claim=claim, outcome=outcome, why=why))
        rows.append((subject, Cell(text=verdict, chip="verdict"), *sizes, at))
    for spec, why in refused.items():
        cases.append(Case(subject=spec, claim=claim, outcome="was not planned", why=why))
        rows.append((spec, Cell(text="error", chip="verdict"), *3 * [NOTHING], why))
    fitting = sum(answer["verdict"] == "fit" for answer in answers)
    engines = {answer["environment"]["engine"] for answer in answers} - {CAFFE.id}
    made = "".join(f", {engine_of(engine).title}" for engine in sorted(engines))
    how = f"Planned for {device.id}, {protocol}{made}; nothing was run"
    sizes_mib = numeric("Peak MiB", "Band ±MiB", "Headroom MiB")
    return Cases(
        command="plan",
        headline=f"{fitting} of {len(cases)} networks fit {device.id}",
        cases=tuple(cases),
        table=Table(
            columns=(*plain("Network", "Verdict"), *sizes_mib, *plain("At the peak")), rows=rows
        ),
        notes=(
            f"{how}. Usable there: {usable_memory(device.usable_bytes, device.reserve_bytes)}.",
        ),
    )


def of_check(answer: dict[str, Any], found: Checked) -> Cases:
    """Return the cases of `pibench check`: whether it fits, and is within a time limit if any."""
    fits = of_plans([answer], found.device, found.planned.protocol, {})
    if found.judged_time is None:
        return fits
    timed = _timed(_subject(answer), found.device.id, found.judged_time)
    note = f"Time: {timed.why}."
    return replace(fits, cases=(*fits.cases, timed), notes=(*fits.notes, note))


def of_times(
    judged: Sequence[tuple[str, TimeJudgement | None]],
    device: Device,
    max_ms: float,
    refused: Mapping[str, str],
) -> Cases:
    """Return one case per network, passed if its predicted time is within the limit.

    `judged` has the name of each network, and its time compared with the limit; `refused` why
    others could not be predicted, which are errors.
    """
    known = [(subject, one) for subject, one in judged if one is not None]
    cases = [_timed(subject, device.id, one) for subject, one in known]
    rows: list[tuple[Cell | str, ...]] = [
        (
            subject,
            Cell(text=one.verdict, chip="verdict"),
            milliseconds(one.low_ms),
            milliseconds(one.high_ms),
            one.source,
        )
        for subject, one in known
    ]
    claim = _limit(max_ms, device.id)
    for spec, why in refused.items():
        cases.append(Case(subject=spec, claim=claim, outcome="is undecided", why=why))
        rows.append((spec, Cell(text="error", chip="verdict"), *2 * [NOTHING], why))
    within = sum(one.verdict == "within" for _, one in known)
    return Cases(
        command="predict",
        headline=f"{within} of {len(cases)} networks take {claim}",
        cases=tuple(cases),
        table=Table(
            columns=(
                *plain("Network", "Verdict"),
                *numeric("Low ms", "High ms"),
                *plain("How it is known"),
            ),
            rows=rows,
        ),
        notes=("Times of a forward pass; nothing was run.",),
    )


def _limit(max_ms: float, device: str) -> str:
    return f"at most {max_ms:g} ms on {device}"


def _timed(subject: str, device: str, judged: TimeJudgement) -> Case:
    """Return the case of a time limit: a borderline time is not decided, and an error."""
    outcome = {"within": "passes", "over": "fails"}.get(judged.verdict, "undecided")
    return Case(
        subject=subject, claim=_limit(judged.max_ms, device), outcome=outcome, why=str(judged)
    )


def _subject(answer: dict[str, Any]) -> str:
    """Return the names of the network and its file: two files may have networks of one name."""
    source = answer["network_source"]
    return f"{answer['network']}" + ("" if source == "zoo" else f" ({source})")


def _at_the_peak(answer: dict[str, Any]) -> str:
    at = f"{answer['peak_at']['phase']} {answer['peak_at']['layer']}".rstrip()
    allocation = next((one for one in answer["allocations"] if one["layer"]), None)
    if allocation is None:
        return at
    size = mib(allocation["bytes"])
    return f"{at}, where {allocation['layer']} has {size} MiB ({allocation['kind']})"


def of_gate(found: Reconciliation, result: GateResult) -> Cases:
    """Return one case per network and metric, as the gate decided it over every pair of sides."""
    cases = tuple(
        Case(
            subject=check.network,
            claim=check.metric or "was run",
            outcome=_STATES[check.state],
            why=_why(check),
        )
        for check in result.checks
    )
    passed = sum(case.outcome == "passes" for case in cases)
    sides = " against ".join(side.name for side in found.sides)
    return Cases(
        command="reconcile",
        headline=f"{passed} of {len(cases)} comparisons agree: {sides}",
        cases=cases,
        table=Table(
            columns=plain("Network", "Metric", "Outcome", "Why"),
            rows=tuple(
                (case.subject, case.claim, Cell(text=case.outcome, chip="verdict"), case.why)
                for case in cases
            ),
        ),
        notes=tuple(closing(found, result)),
    )


def _why(check: Check) -> str:
    """Return the result of each pair of sides."""
    if check.metric is None:
        return "of the baseline, and on no other side"
    results = [
        f"{one.first.source} against {one.second.source}: {described(one.metrics[check.metric])}"
        for one in check.networks
    ]
    return "; ".join(results)


def junit(report: Report) -> str:
    """Return the report as JUnit XML; times are those of the runs, in seconds."""
    names = labels_of(report.records, beside=_BESIDE)
    return junit_text(
        {
            report.paper.title: [
                _of_claim(row, cell, report.paper.columns[name].title)
                for row in report.ledger
                for name, cell in row.cells.items()
            ],
            "networks": [_of_run(record, names[record.record_id]) for record in report.others],
        }
    )


def _seconds(record: Record | None) -> float:
    """Return the run's time, rounded to the millisecond."""
    elapsed = record.evidence.elapsed_seconds if record else None
    return round(elapsed or 0.0, 3)


def _of_claim(row: Row, cell: LedgerCell, title: str) -> Case:
    claim = cell.claim
    figures = f"printed {cell.paper}, pibench {cell.pibench} {claim.unit}".rstrip()
    outcome, why = "", ""
    if claim.agrees is None:
        undecided = claim.field == "verdict"
        outcome = "undecided" if undecided else "skipped"
        why = f"{figures if undecided else 'not compared'}: {claim.provenance.reason}"
    elif not claim.agrees and claim.explanation:
        outcome, why = "skipped", f"differs, as explained: {figures}. {claim.explanation}"
    elif not claim.agrees:
        outcome, why = "differs", f"{figures} ({cell.error} %)"
    error = "" if claim.error_pct is None else f", error {cell.error} %"
    interval = f", 90 % interval {cell.interval}" if cell.interval else ""
    known = f"{claim.provenance.kind}: {claim.provenance.reason}"
    return Case(
        subject=row.name,
        claim=title,
        outcome=outcome,
        why=why,
        classname=f"paper.{claim.column}",
        output=f"{figures}{error}{interval}; {known}",
        # All cells of a row come from one run: count its time once.
        seconds=_seconds(row.record) if claim.field == "verdict" else 0.0,
    )


def _of_run(record: Record, name: str) -> Case:
    where = f"{record.device}, {target(record)}, {record.protocol}, batch {record.batch}"
    why = visible(f"{record.verdict}: {record.evidence.summary}")
    if record.headroom_bytes is not None:
        why += f"; headroom {signed_mib(record.headroom_bytes)} MiB"
    return Case(
        subject=f"{name} fits ({where})",
        claim="",
        outcome=record.verdict,
        why=why,
        classname="fits",
        output=f"{why}\n{command(record)}".rstrip(),
        seconds=_seconds(record),
    )
