"""The report for CI: a summary in Markdown, test cases as JUnit XML, and a picture."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from junitparser import JUnitXml

from pibench.errors import InvalidInputError
from pibench.records.schema import Evidence, LatencyInterval, Provenance
from pibench.report.cases import junit
from pibench.report.content import build
from pibench.report.files import bencher, markdown
from pibench.report.sources import merge
from pibench.report.tables import escape_markdown
from tests.whole_records import of_the_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pibench.records.schema import Record
    from pibench.report.content import Report

PNG = b"\x89PNG\r\n"


def cases(records: Sequence[Record]) -> dict[str, str]:
    """The outcome of each test case: "", or the element that is not a success."""
    xml = JUnitXml.fromstring(junit(build(merge(records))).encode())
    return {
        case.name: "".join(type(result).__name__ for result in case.result)
        for suite in xml
        for case in suite
    }


def test_the_ledger_is_a_markdown_table(paper_report: Report) -> None:
    shown = markdown(paper_report)
    assert shown.startswith("# 26 of 26 verdicts agree with the paper\n")
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 26
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    (row,) = [line for line in table if "ResNext50" in line]
    assert "ResNext50\\_32x4d<sup>" in row
    assert "| **≠ 191/100.4** | \N{MINUS SIGN}47.4 |" in row
    assert "- RAM: mean absolute error 2.4 % over 15 of 15 rows" in shown


def test_runs_that_the_ledger_does_not_contain_follow_it(
    make_record: Callable[..., Record],
) -> None:
    twin = make_record(target="twin", machine=None, protocol="inference")
    shown = markdown(build(merge([make_record(), twin])))
    assert "## Other runs" in shown
    assert (
        "| AlexNet | Caffe | not recorded | rpi3b | twin | inference | real | 1 | **fit** |"
        in shown
    )


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("a|b", "a\\|b"),
        ("<img src=x>&amp;", "&lt;img src=x&gt;&amp;amp;"),
        ("*b* _i_ `c` [l](u)", "\\*b\\* \\_i\\_ \\`c\\` \\[l\\](u)"),
        ("see https://x.test www.x.test", "see https\\://x.test www\\.x.test"),
        ("two\nlines\x1b[31m", "two\\\\nlines\\\\x1b\\[31m"),
    ],
)
def test_names_are_text_in_markdown(name: str, escaped: str) -> None:
    assert escape_markdown(name) == escaped


def test_a_case_per_claim(paper_run: list[Record]) -> None:
    found = cases([of_the_zoo(record) for record in paper_run[:2]] + paper_run[2:])
    assert len(found) == 26 + 15 + 15 + 16
    assert found["AlexNet: verdict"] == ""
    assert found["AlexNet: RAM"] == ""
    assert found["AlexNet: latency"] == ""
    assert found["NIN: latency"] == "Skipped"
    assert found["ResNext50_32x4d: model size"] == "Skipped"
    assert "Failure" not in found.values()


def test_what_differs_fails_and_what_is_undecided_is_an_error(paper_run: list[Record]) -> None:
    changed = [
        paper_run[0].model_copy(update={"verdict": "no-fit"}),
        paper_run[9].model_copy(update={"verdict": "inconclusive", "network_rss_bytes": 200 << 20}),
    ]
    found = cases(changed)
    assert found["AlexNet: verdict"] == "Failure"
    assert found["NIN: verdict"] == "Error"
    assert found["NIN: RAM"] == "Failure"


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [("fit", ""), ("no-fit", "Failure"), ("borderline", "Failure"), ("inconclusive", "Error")],
)
def test_a_network_of_ones_own_passes_if_it_fits(
    verdict: str, outcome: str, make_record: Callable[..., Record]
) -> None:
    found = cases([make_record(network="mine", network_source="mine.prototxt", verdict=verdict)])
    assert list(found.values()) == [outcome]


def test_a_case_has_its_command_on_a_line_and_its_time_in_milliseconds(
    make_record: Callable[..., Record],
) -> None:
    seen = Evidence(summary="ended with 0", exit_status=0, elapsed_seconds=0.22983741)
    record = make_record(network="mine", network_source="mine.prototxt", evidence=seen)
    (suite,) = JUnitXml.fromstring(junit(build(merge([record]))).encode())
    (case,) = suite
    assert case.time == 0.23
    first, second = case.system_out.splitlines()
    assert first.startswith("fit: ended with 0")
    assert second.startswith("pibench run mine.prototxt")


def test_what_xml_cannot_contain_is_written_out(make_record: Callable[..., Record]) -> None:
    name = "\x1b]0;x\x07\x00<&\ud7ff"
    record = make_record(network=name, network_source="x.prototxt")
    tree = ET.fromstring(junit(build(merge([record]))))  # noqa: S314  (our own)
    (case,) = tree.iter("testcase")
    assert case.attrib["name"].startswith("\\x1b]0;x\\x07\\x00<&")


@pytest.fixture(scope="module")
def oddly_named(paper_run: list[Record]) -> Report:
    records = [paper_run[0].model_copy(update={"network": "$\\frac{$<b>"}), *paper_run[1:4]]
    return build(merge(records))


@pytest.mark.parametrize(("form", "start"), [("png", PNG), ("svg", b"<?xml")])
def test_the_picture(form: str, start: bytes, oddly_named: Report) -> None:
    from pibench.report.plots import COLOURS, DARK, overview

    first, again = (overview(oddly_named, form) for _ in range(2))  # type: ignore[arg-type]
    assert first.startswith(start)
    assert first == again
    # An SVG is dark on a dark page; all of its colours are the page's.
    assert (form == "svg") == (b"prefers-color-scheme: dark" in first)
    colours = {found.decode() for found in re.findall(rb"(?:fill|stroke): (#[0-9a-f]{6})", first)}
    assert colours <= {*COLOURS.values(), *DARK.values()}


def test_no_picture_without_a_peak(make_record: Callable[..., Record]) -> None:
    from pibench.report.plots import overview

    missing = Provenance(kind="unavailable", reason="not read")
    names = ("peak_rss_bytes", "network_rss_bytes", "headroom_bytes")
    record = make_record(
        **dict.fromkeys(names),
        provenance=make_record().provenance | dict.fromkeys(names, missing),
    )
    with pytest.raises(InvalidInputError, match="no record has a peak"):
        overview(build(merge([record])), "png")


def test_bencher_gets_figures_by_their_source(make_record: Callable[..., Record]) -> None:
    killed = make_record(network="killed", evidence=Evidence(summary="killed", signal=9))
    ended = make_record(network="ended", evidence=Evidence(summary="ended", exit_status=0))
    measures = json.loads(bencher(build(merge([killed, ended]))))
    ((name, of_ended),) = measures.items()
    assert name.startswith("ended")
    kind = ended.provenance["peak_rss_bytes"].kind
    assert of_ended[f"peak-rss-bytes-{kind}"] == {"value": ended.peak_rss_bytes}
    assert ended.latency_ms is not None
    assert ended.latency_interval is None
    kind = ended.provenance["latency_ms"].kind
    assert of_ended[f"latency-ms-{kind}"] == {"value": ended.latency_ms}


def test_bencher_has_a_name_and_an_interval_for_each_run(
    make_record: Callable[..., Record],
) -> None:
    evidence = Evidence(summary="ended", exit_status=0)
    times_ms = {"rpi3b": 100.0, "rpi3b_plus": 80.0}
    records = [
        make_record(
            device=device,
            latency_ms=time_ms,
            latency_interval=LatencyInterval(
                low_ms=time_ms - 1, high_ms=time_ms + 1, confidence=0.95
            ),
            evidence=evidence,
        )
        for device, time_ms in times_ms.items()
    ]
    found = [
        one["latency-ms-emulated"] for one in json.loads(bencher(build(merge(records)))).values()
    ]
    assert [[*one.values()] for one in found] == [
        [one, one - 1, one + 1] for one in times_ms.values()
    ]
