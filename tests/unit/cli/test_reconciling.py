"""`pibench reconcile` and `pibench bisect` as they are started: files in, exit codes out."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from junitparser import JUnitXml

from pibench import cli
from pibench.records.store import RecordStore

if TYPE_CHECKING:
    from pibench.records.schema import Record

Said = Callable[..., "pytest.CaptureResult[str]"]


@pytest.fixture
def pibench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Said:
    """Runs the command line here; `code` is the exit code it must end with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_end_alike", lambda: None)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def run(*arguments: str, code: int = 0) -> pytest.CaptureResult[str]:
        monkeypatch.setattr(sys, "argv", ["pibench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert int(ended.value.code or 0) == code, said.err
        return said

    return run


@pytest.fixture
def records(tmp_path: Path, paper_run: list[Record]) -> Path:
    """The paper's networks as they came out of the VM."""
    path = tmp_path / "vm.jsonl"
    for record in paper_run:
        RecordStore(path).append(hashed(record))
    return path


def hashed(record: Record) -> Record:
    """The record with a hash of its own, as a network that was read has."""
    digest = hashlib.sha256(record.network.encode()).hexdigest()
    return record.model_copy(update={"network_sha256": digest})


def test_the_paper_against_records_and_a_prediction(
    pibench: Said, records: Path, tmp_path: Path
) -> None:
    printed = pibench("predict", "AlexNet", "nin", "--json").out
    (tmp_path / "predicted.json").write_text(printed)
    gate = ("--fail-on", "verdict,ram=10%,latency=20%")
    said = pibench("reconcile", "paper", str(records), "predicted.json", *gate, code=4).out
    # Of 24 networks there is no prediction: that is no pass.
    assert "Undecided: GoogleNet: latency" in said
    assert "AlexNet: latency" not in said
    found = json.loads(pibench("reconcile", "paper", "predicted.json", "--json").out)
    assert found["exit_code"] == 0
    (pair,) = found["pairs"]
    assert {one["network"] for one in pair["networks"]} == {"AlexNet", "NIN"}
    assert all(one["aspects"]["latency"]["agrees"] for one in pair["networks"])
    assert len(pair["only_first"]) == 24


def test_a_plan_is_a_side(pibench: Said, tmp_path: Path) -> None:
    (tmp_path / "planned.json").write_text(pibench("plan", "AlexNet", "vgg16", "--json").out)
    said = pibench("reconcile", "paper", "planned.json", "--fail-on", "verdict,ram=5%").out
    assert "planned: from a static model" in said
    assert "The gate (verdict, ram) passes." in said


def test_a_baseline_is_written_and_met_and_missed(
    pibench: Said, records: Path, paper_run: list[Record], tmp_path: Path
) -> None:
    said = pibench("reconcile", str(records), "--write-baseline", "accepted.json")
    assert "26 networks of vm" in said.err
    gate = ("--baseline", "accepted.json", "--fail-on", "verdict,ram=2%")
    pibench("reconcile", str(records), *gate)
    worse = hashed(paper_run[0]).model_copy(
        update={
            "peak_rss_bytes": 700 * 2**20,
            "network_rss_bytes": 643 * 2**20,
        }
    )
    RecordStore(records).append(worse)
    said = pibench("reconcile", str(records), *gate, code=1)
    assert f"Differs: {worse.network}: ram." in said.out
    few = tmp_path / "few.jsonl"
    RecordStore(few).append(hashed(paper_run[1]))
    assert "of the baseline, not run" in pibench("reconcile", "few.jsonl", *gate, code=4).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("paper",), "one side alone cannot be compared"),
        (("paper", "nothing.jsonl"), "nothing.jsonl: cannot be read"),
        (("paper", "paper", "--fail-on", "outputs"), "outputs: it could be compared for no"),
        (("paper", "paper", "--fail-on", "speed"), "'speed' is none of verdict"),
        (("paper", "paper", "--rtol", "-1"), "--rtol"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    arguments: tuple[str, ...], said: str, pibench: Said
) -> None:
    found = pibench("reconcile", *arguments, code=2)
    assert said in found.err
    assert len(found.err.splitlines()) == 1
    assert not found.out


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (("twin", "nowhere"), "nowhere"),
        (("twin:colour=red", "twin"), "twin:colour"),
        (("twin", "twin:prototxt=missing.prototxt"), "missing.prototxt"),
        (("twin", "twin:blas=mkl"), "no BLAS mkl"),
        (("empty.jsonl", "empty.jsonl"), "no record of SqueezeNet V1.1"),
    ],
)
def test_sides_that_cannot_be_run_are_refused_before_anything_runs(
    sides: tuple[str, str], said: str, pibench: Said, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "empty.jsonl").touch()
    found = pibench("bisect", "SqueezeNet V1.1", *sides, "-q", code=2)
    assert said in found.err
    assert len(found.err.splitlines()) == 1


def test_a_gate_is_test_cases_and_a_summary(pibench: Said, records: Path, tmp_path: Path) -> None:
    (tmp_path / "planned.json").write_text(pibench("plan", "AlexNet", "vgg16", "--json").out)
    sides = ("paper", str(records), "planned.json", "--fail-on", "verdict,ram=2%")
    pibench("reconcile", *sides, "-o", "gate.xml", "-o", "summary.md", code=1)
    suite = next(iter(JUnitXml.fromfile("gate.xml")))
    found = {case.name: [type(result).__name__ for result in case.result] for case in suite}
    assert len(found) == 2 * 26
    assert found["AlexNet: verdict"] == []
    assert found["GoogleNet: ram"] == ["Failure"]
    # It came to its end on no side: there was nothing to compare.
    assert found["VGG 16: ram"] == ["Skipped"]
    assert (suite.failures, suite.errors) == (
        sum(outcome == ["Failure"] for outcome in found.values()),
        0,
    )
    summary = Path("summary.md").read_text()
    assert "| GoogleNet | ram | **fails** | paper against vm virt: +" in summary
    assert "- The gate (verdict, ram) fails." in summary


def test_what_a_gate_could_not_decide_is_an_error(
    pibench: Said, records: Path, tmp_path: Path
) -> None:
    pibench("reconcile", str(records), "--write-baseline", "accepted.json")
    (kept, *_) = records.read_text().splitlines(keepends=True)
    (tmp_path / "fewer.jsonl").write_text(kept)
    gate = ("--baseline", "accepted.json", "--fail-on", "verdict", "-o", "gate.xml")
    pibench("reconcile", "fewer.jsonl", *gate, code=4)
    cases = list(next(iter(JUnitXml.fromfile("gate.xml"))))
    assert [type(result).__name__ for case in cases for result in case.result] == ["Error"] * 25
    assert cases[1].name.endswith(": was run")
