"""Report a gate's decisions case by case: JUnit XML and Markdown for `-o` of plan and reconcile."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from pibench.atomic_write import keep_inputs, write_whole
from pibench.errors import InvalidInputError
from pibench.report.files import form_of
from pibench.report.markdown import table, text
from pibench.report.numbers import NOTHING, mib, signed_mib
from pibench.report.plain import visible
from pibench.report.reconciled import closing, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pibench.crosscheck.gate import Check, Passage
    from pibench.crosscheck.reconcile import Reconciliation
    from pibench.devices import Device

Outcome = Literal[
    "passes",
    "fails",
    "is undecided",
    "could not be compared",
    "was not compared",
    "was not planned",
]
_ELEMENTS: Final = {
    "fails": Failure,
    "is undecided": Error,
    "could not be compared": Error,
    "was not compared": Skipped,
    "was not planned": Error,
}
_STATES: Final[dict[str, Outcome]] = {
    "agrees": "passes",
    "differs": "fails",
    "undecided": "is undecided",
    "incomparable": "could not be compared",
    "left out": "was not compared",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One requirement on one network, whether it is met, and why."""

    subject: str
    claim: str
    outcome: Outcome
    why: str


@dataclass(frozen=True, kw_only=True)
class Cases:
    """All decisions of a gate: a headline, the cases, and their table in Markdown."""

    command: str
    headline: str
    cases: tuple[Case, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def junit(self) -> str:
        """Return one test case each: a failure if something is wrong, an error if undecided."""
        suite = TestSuite(f"pibench {self.command}")
        for one in self.cases:
            case = TestCase(visible(f"{one.subject}: {one.claim}"), f"pibench.{one.claim}", 0.0)
            if one.outcome in _ELEMENTS:
                case.result = [_ELEMENTS[one.outcome](visible(one.why), one.outcome)]
            case.system_out = visible(one.why)
            suite.add_testcase(case)
        xml = JUnitXml("pibench")
        xml.add_testsuite(suite)
        xml.update_statistics()  # type: ignore[no-untyped-call]
        buffer = BytesIO()
        xml.write(buffer, pretty=True)
        return buffer.getvalue().decode("utf-8")

    def markdown(self) -> str:
        """Return the headline, the table, and the notes; all untrusted text is escaped."""
        lines = [f"# {text(self.headline)}", "", *table(self.heads, self.rows, right=self.right)]
        return "\n".join([*lines, "", *(f"- {text(note)}" for note in self.notes), ""])


def writable(paths: Sequence[Path], inputs: Iterable[Path]) -> None:
    """Raise InvalidInputError for an unsupported output format, or an output that is an input."""
    for path in paths:
        if form_of(path) not in ("markdown", "junit"):
            raise InvalidInputError.at(
                path, None, "this command writes Markdown and JUnit XML",
                hint="end it in .md or .xml",
            )  # fmt: skip
    keep_inputs(paths, inputs)


def write(cases: Cases, paths: Sequence[Path]) -> None:
    """Write the cases to each file, in the format of its name's ending."""
    for path in paths:
        write_whole(path, cases.junit() if form_of(path) == "junit" else cases.markdown())


def of_plans(
    answers: Sequence[dict[str, Any]], device: Device, protocol: str, refused: Mapping[str, str]
) -> Cases:
    """Return one case per network, passed if the plan is `fit`: the gate of `plan --require-fit`.

    `refused` gives the reason for each network that could not be planned; these are errors.
    """
    fitting = sum(answer["verdict"] == "fit" for answer in answers)
    how = f"Planned for {device.id}, {protocol}; nothing was run"
    return Cases(
        command="plan",
        headline=f"{fitting} of {len(answers) + len(refused)} networks fit {device.id}",
        cases=(
            *(_planned(answer) for answer in answers),
            *(
                Case(subject=spec, claim=f"fits {device.id}", outcome="was not planned", why=why)
                for spec, why in refused.items()
            ),
        ),
        heads=("Network", "Verdict", "Peak MiB", "Band ±MiB", "Headroom MiB", "At the peak"),
        rows=(
            *(_row(answer) for answer in answers),
            *(
                (text(spec), "**error**", NOTHING, NOTHING, NOTHING, text(why))
                for spec, why in refused.items()
            ),
        ),
        right=(2, 3, 4),
        notes=(f"{how}. Usable there: {mib(device.usable_bytes)} MiB.",),
    )


def _row(answer: dict[str, Any]) -> tuple[str, ...]:
    return (
        text(_subject(answer)),
        f"**{answer['verdict']}**",
        mib(answer["peak_rss_bytes"]),
        mib(answer["band_bytes"]),
        signed_mib(answer["headroom_bytes"]),
        text(_at_the_peak(answer)),
    )


def _planned(answer: dict[str, Any]) -> Case:
    why = (
        f"{answer['verdict']} (planned, {answer['protocol']}, batch {answer['batch']}): "
        f"peak {mib(answer['peak_rss_bytes'])} MiB of {mib(answer['usable_bytes'])} MiB usable, "
        f"at {_at_the_peak(answer)}"
    )
    outcome: Outcome = "passes" if answer["verdict"] == "fit" else "fails"
    return Case(
        subject=_subject(answer), claim=f"fits {answer['device']}", outcome=outcome, why=why
    )


def _subject(answer: dict[str, Any]) -> str:
    """Return the names of the network and its file: two files may have networks of one name."""
    source = answer["network_source"]
    return f"{answer['network']}" + ("" if source == "zoo" else f" ({source})")


def _at_the_peak(answer: dict[str, Any]) -> str:
    at = f"{answer['peak_at']['phase']} {answer['peak_at']['layer']}".rstrip()
    holder = next((one for one in answer["holders"] if one["layer"]), None)
    if holder is None:
        return at
    return f"{at}, where {holder['layer']} holds {mib(holder['bytes'])} MiB ({holder['kind']})"


def of_passage(found: Reconciliation, passage: Passage) -> Cases:
    """Return one case per network and aspect, as the gate decided it over every pair of sides."""
    cases = tuple(
        Case(
            subject=check.network,
            claim=check.aspect or "was run",
            outcome=_STATES[check.state],
            why=_why(check),
        )
        for check in passage.checks
    )
    passed = sum(case.outcome == "passes" for case in cases)
    sides = " against ".join(side.name for side in found.sides)
    return Cases(
        command="reconcile",
        headline=f"{passed} of {len(cases)} comparisons agree: {sides}",
        cases=cases,
        heads=("Network", "Aspect", "Outcome", "Why"),
        rows=tuple(
            (text(case.subject), case.claim, f"**{case.outcome}**", text(case.why))
            for case in cases
        ),
        notes=tuple(closing(found, passage)),
    )


def _why(check: Check) -> str:
    """Return the result of each pair of sides."""
    if check.aspect is None:
        return "of the baseline, and on no other side"
    said = [
        f"{one.first.source} against {one.second.source}: {told(one.aspects[check.aspect])}"
        for one in check.networks
    ]
    return "; ".join(said)
