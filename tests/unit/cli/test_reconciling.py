"""`pibench reconcile` and `pibench bisect` as they are started: files in, exit codes out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from junitparser import JUnitXml

from pibench import api, networks
from pibench.engines.caffe import caffemodel
from pibench.records.schema import (
    RESULT_FIELDS,
    GuestEnvironment,
    Limits,
    LimitSet,
    Provenance,
)
from pibench.records.store import RecordStore
from tests.whole_records import of_the_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.records.schema import Record
    from tests.unit.cli.conftest import Pibench

GOLDEN = Path(__file__).parents[1] / "crosscheck/golden"
SMALL = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 16, 24, 24] } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 4 } }
"""


@pytest.fixture
def records(tmp_path: Path, paper_run: list[Record]) -> Path:
    """The paper's networks as they came out of the VM."""
    path = tmp_path / "vm.jsonl"
    for record in paper_run:
        RecordStore(path).append(of_the_zoo(record))
    return path


def test_the_paper_against_records_and_a_prediction(
    pibench: Pibench, records: Path, tmp_path: Path
) -> None:
    printed = pibench("predict", "AlexNet", "nin", "--stack", "paper", "--json").out
    (tmp_path / "predicted.json").write_text(printed)
    gate = ("--fail-on", "verdict,ram=10%,latency=20%")
    output = pibench("reconcile", "paper", str(records), "predicted.json", *gate, code=4).out
    # Of 24 networks there is no prediction: that is no pass.
    assert "Undecided: GoogleNet: latency" in output
    assert "AlexNet: latency" not in output
    found = json.loads(pibench("reconcile", "paper", "predicted.json", "--json").out)
    assert found["exit_code"] == 0
    (pair,) = found["pairs"]
    assert {one["network"] for one in pair["networks"]} == {"AlexNet", "NIN"}
    assert all(one["metrics"]["latency"]["agrees"] for one in pair["networks"])
    assert len(pair["only_first"]) == 24


@pytest.fixture
def board_record(make_record: Callable[..., Record]) -> Callable[..., Record]:
    """A record of SqueezeNet V1.1 that a board measured with this BLAS."""

    def make(blas: str | None, latency_ms: float, *, core: str | None = None) -> Record:
        plain = of_the_zoo(make_record(network="SqueezeNet V1.1", target="native", machine=None))
        guest = GuestEnvironment(architecture="aarch64", blas_name=blas, blas_core_type=core)
        return plain.model_copy(
            update={
                "latency_ms": latency_ms,
                "layers": (),
                "limits": Limits(in_force=LimitSet(threads=4)),
                "environment": plain.environment.model_copy(update={"guest": guest}),
                "provenance": dict.fromkeys(RESULT_FIELDS, Provenance(kind="measured"))
                | dict.fromkeys(
                    ("layers", "outputs", "emulator_rss_bytes"), Provenance.missing("not kept")
                ),
            }
        )

    return make


def test_a_record_is_predicted_for_the_blas_that_it_names(
    pibench: Pibench, board_record: Callable[..., Record]
) -> None:
    RecordStore("a53.jsonl").append(board_record("OpenBLAS 0.3.13", 160, core="cortexa53"))
    RecordStore("16x4.jsonl").append(board_record("OpenBLAS 0.3.9", 250, core="cortexa53"))

    def compared(*arguments: str, code: int = 0) -> dict[str, Any]:
        done = pibench("reconcile", *arguments, "--json", code=code)
        (one,) = json.loads(done.out)["pairs"][0]["networks"]
        return {**one["metrics"]["latency"], **one["second"]}

    own = compared("a53.jsonl", "predicted")
    options = ("SqueezeNet V1.1", "--stack", "openblas-a53", "--json")
    (asked,) = json.loads(pibench("predict", *options).out)
    assert own["latency_ms"] == pytest.approx(asked["latency_ms"])
    assert "stack openblas-a53" in own["latency"]["reason"]
    assert own["agrees"] is True
    other = compared("16x4.jsonl", "predicted")
    assert "stack openblas-16x4" in other["latency"]["reason"]
    assert other["latency_ms"] > own["latency_ms"]
    overridden = compared("a53.jsonl", "predicted", "--stack", "paper", code=1)
    assert "fitted on" in overridden["latency"]["reason"]
    assert overridden["latency_ms"] == pytest.approx(682, rel=0.01)
    # The page of a report has the same prediction.
    page = api.report(["a53.jsonl"]).networks[0].prediction
    assert page is not None
    assert page.latency_ms == own["latency_ms"]


@pytest.mark.parametrize("blas", ["MKL 2020", None])
@pytest.mark.parametrize(("latency_ms", "agrees"), [(200, True), (9000, False)])
def test_a_blas_of_no_known_stack_is_predicted_as_the_range_of_all(
    blas: str | None,
    latency_ms: float,
    agrees: bool,
    pibench: Pibench,
    board_record: Callable[..., Record],
) -> None:
    RecordStore("pi.jsonl").append(board_record(blas, latency_ms))
    output = " ".join(
        pibench("reconcile", "pi.jsonl", "predicted", code=0 if agrees else 1).out.split()
    )
    assert (
        f"{blas or 'a BLAS that the record does not name'} is of no known stack: any of" in output
    )
    assert f"{latency_ms} ms is {'within' if agrees else 'not within'} the " in output


@pytest.mark.parametrize(("blas", "core"), [("reference", None), ("OpenBLAS 0.3.5", "cortexa72")])
def test_a_blas_is_not_compared_with_the_range_of_faster_ones(
    blas: str, core: str | None, pibench: Pibench, board_record: Callable[..., Record]
) -> None:
    """Of a Raspberry Pi 4 only fast kernels are known."""
    record = board_record(blas, 900, core=core).model_copy(update={"device": "rpi4b_2gb"})
    RecordStore("pi4.jsonl").append(record)
    assert (
        "nothing could be compared" in pibench("reconcile", "pi4.jsonl", "predicted", code=2).line
    )
    (shown,) = api.report(["pi4.jsonl"]).networks
    assert shown.prediction is None
    assert f"no latency is known for {blas} on a cortex-a72" in shown.not_predicted


def test_predictions_of_records_are_refused_where_there_is_no_single_one(
    pibench: Pibench, board_record: Callable[..., Record]
) -> None:
    RecordStore("a.jsonl").append(board_record("OpenBLAS 0.3.13", 160, core="cortexa53"))
    RecordStore("b.jsonl").append(board_record("OpenBLAS 0.3.9", 250, core="cortexa53"))
    for arguments, problem in (
        (("a.jsonl", "b.jsonl", "predicted"), "ran with two stacks"),
        (("paper", "predicted"), "predicted is for records"),
        (("a.jsonl", "b.jsonl", "--stack", "paper"), "name predicted among the sides"),
        (("a.jsonl", "predicted", "--stack", "mkl"), "unknown stack 'mkl'"),
    ):
        assert problem in pibench("reconcile", *arguments, code=2).line
    pibench("reconcile", "a.jsonl", "b.jsonl", "predicted", "--stack", "atlas-arm64", code=1)


def test_a_plan_is_a_side(pibench: Pibench, tmp_path: Path) -> None:
    (tmp_path / "planned.json").write_text(pibench("plan", "AlexNet", "vgg16", "--json").out)
    output = pibench("reconcile", "paper", "planned.json", "--fail-on", "verdict,ram=5%").out
    assert "planned: from a static model" in output
    assert "The gate (verdict, ram) passes." in output


def test_a_baseline_is_written_and_met_and_missed(
    pibench: Pibench, records: Path, paper_run: list[Record], tmp_path: Path
) -> None:
    output = pibench("reconcile", str(records), "--write-baseline", "accepted.json")
    assert "26 networks of vm" in output.err
    gate = ("--baseline", "accepted.json", "--fail-on", "verdict,ram=2%")
    pibench("reconcile", str(records), *gate)
    worse = of_the_zoo(paper_run[0]).model_copy(
        update={
            "peak_rss_bytes": 700 * 2**20,
            "network_rss_bytes": 643 * 2**20,
        }
    )
    RecordStore(records).append(worse)
    output = pibench("reconcile", str(records), *gate, code=1)
    assert f"Differs: {worse.network}: ram." in output.out
    few = tmp_path / "few.jsonl"
    RecordStore(few).append(of_the_zoo(paper_run[1]))
    assert "of the baseline, not run" in pibench("reconcile", "few.jsonl", *gate, code=4).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("paper",), "one side alone cannot be compared"),
        (("paper", "nothing.jsonl"), "nothing.jsonl: cannot be read"),
        (("paper", "paper", "--fail-on", "speed"), "'speed' is none of verdict"),
        (("paper", "paper", "--rtol", "-1"), "--rtol"),
        (("paper", "paper", "--rtol", "inf"), "inf is not a finite number"),
        (("paper", "paper", "--atol", "nan"), "--atol"),
        (("paper", "paper", "--fail-on", "ram=\u0665%"), "'\u0665%' is not a percentage of ram"),
        (("paper", "paper", "--fail-on", "latency=5%+1MiB"), "is not a percentage of latency"),
        (("paper", "paper", "--fail-on", "ram,ram=5%"), "ram twice"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    arguments: tuple[str, ...], message: str, pibench: Pibench
) -> None:
    found = pibench("reconcile", *arguments, code=2)
    assert message in found.err
    assert len(found.err.splitlines()) == 1
    assert not found.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "5"), "its input has seed 0, not 5; --seed 0"),
        (("--batch", "4"), "it has batch 1, not 4; --batch 1"),
        (("--input", "64x64"), "it is of another network than small at 64x64"),
        (("--weights", "other.caffemodel"), "its weights are not other.caffemodel"),
    ],
)
def test_a_record_is_what_the_options_ask_for_or_no_side(
    options: tuple[str, ...], message: str, pibench: Pibench, tmp_path: Path
) -> None:
    (tmp_path / "small.prototxt").write_text(SMALL)
    caffemodel.write_seeded(networks.load("small.prototxt").net, tmp_path / "other.caffemodel")
    sides = [str(GOLDEN / f"{name}.jsonl") for name in ("twin", "sysroot")]
    assert "no layer differs" in pibench("bisect", "small.prototxt", *sides, "-q").out
    for pair in (sides, [sides[0], "twin"]):
        found = pibench("bisect", "small.prototxt", *pair, *options, "-q", code=2)
        assert message in found.err
        assert len(found.err.splitlines()) == 1


def test_outputs_without_signatures_are_reported(pibench: Pibench, tmp_path: Path) -> None:
    (tmp_path / "small.prototxt").write_text(SMALL)
    old = json.loads((GOLDEN / "twin.jsonl").read_text().splitlines()[0])
    (tmp_path / "old.jsonl").write_text(json.dumps(old | {"signatures": []}))
    found = pibench("bisect", "small.prototxt", "twin", "old.jsonl", "-q", code=2)
    assert "old.jsonl: no layer values: it has outputs only, and no signatures" in found.err


def test_a_file_with_several_runs_of_the_network_names_no_side(
    pibench: Pibench, tmp_path: Path
) -> None:
    """The last one would be taken for what was meant, and be another seed's."""
    (tmp_path / "small.prototxt").write_text(SMALL)
    one = json.loads((GOLDEN / "twin.jsonl").read_text().splitlines()[0])
    other = one | {"seed": 7, "record_id": "7" * 32}
    (tmp_path / "two.jsonl").write_text(f"{json.dumps(one)}\n{json.dumps(other)}\n")
    sides = ("small.prototxt", "two.jsonl", "two.jsonl", "-q")
    found = pibench("bisect", *sides, code=2)
    assert "two.jsonl: has several runs of small: small; small, seed 7; give" in found.err
    assert "no layer differs" in pibench("bisect", *sides, "--seed", 7).out


def test_a_side_may_come_by_a_pipe(records: Path) -> None:
    """Read twice, there would be nothing the second time."""
    code = f"{sys.executable} -m pibench reconcile <(cat {records}) paper --fail-on verdict"
    ended = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_no_baseline_is_written_where_nothing_could_be_compared(
    pibench: Pibench, records: Path
) -> None:
    golden = str(GOLDEN / "twin.jsonl")
    pibench("reconcile", str(records), golden, "--write-baseline", "b.json", code=2)
    assert not Path("b.json").exists()


@pytest.mark.parametrize("name", ["", ".", "x" * 300])
def test_a_baseline_needs_a_name(name: str, pibench: Pibench, records: Path) -> None:
    pibench("reconcile", str(records), "--write-baseline", name, code=2)


def test_seeded_weights_for_two_prototxts_must_fit_both(pibench: Pibench) -> None:
    Path("small.prototxt").write_text(SMALL)
    Path("other.prototxt").write_text(SMALL.replace("num_output: 4", "num_output: 5"))
    found = pibench(
        "bisect", "small.prototxt", "twin", "twin:prototxt=other.prototxt", "-q", code=2
    )
    assert found.err == (
        "pibench: twin:prototxt=other.prototxt: layer 'fc' has other parameters in "
        "other.prototxt than in small, and both sides share seeded weights; "
        "give each side its own: TARGET:weights=FILE\n"
    )


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (("twin", "nowhere"), "nowhere"),
        (("twin:colour=red", "twin"), "twin:colour=red: key 'colour' is unknown; write"),
        (("twin", "twin:prototxt=missing.prototxt"), "missing.prototxt"),
        (("twin", "twin:blas=mkl"), "no BLAS mkl"),
        (("empty.jsonl", "empty.jsonl"), "no record of SqueezeNet V1.1"),
        (("twin", "empty.jsonl"), "no record of SqueezeNet V1.1"),
        (("twin", "native:machine=raspi3b"), "belongs to target vm"),
        (("twin", "x" * 300), "File name too long"),
        (("twin", "twin", "--rtol", "inf"), "inf is not a finite number"),
    ],
)
def test_sides_that_cannot_be_run_are_refused_before_anything_runs(
    sides: tuple[str, str], message: str, pibench: Pibench, tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").touch()
    found = pibench("bisect", "SqueezeNet V1.1", *sides, "-q", code=2)
    assert message in found.err
    assert len(found.err.splitlines()) == 1


def test_a_gate_is_test_cases_and_a_summary(
    pibench: Pibench, records: Path, tmp_path: Path
) -> None:
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


def test_an_aspect_that_cannot_be_compared_hides_no_other(
    pibench: Pibench, records: Path, paper_run: list[Record]
) -> None:
    pibench("reconcile", str(records), "--write-baseline", "accepted.json")
    accepted = Path("accepted.json").read_bytes()
    gate = ("--baseline", "accepted.json", "--fail-on", "ram=0.1%,outputs", "-o", "gate.xml")
    line = "--fail-on outputs: it could be compared for no network; outputs: "
    output = pibench("reconcile", str(records), *gate, "--write-baseline", "accepted.json", code=2)
    assert line in output.err.splitlines()[-1]
    assert "The gate (ram, outputs) cannot be decided." in output.out
    suite = next(iter(JUnitXml.fromfile("gate.xml")))
    assert (suite.tests, suite.failures, suite.errors) == (52, 0, 26)
    worse = {"peak_rss_bytes": 700 * 2**20, "network_rss_bytes": 643 * 2**20}
    RecordStore(records).append(of_the_zoo(paper_run[0]).model_copy(update=worse))
    output = pibench("reconcile", str(records), *gate, code=1)
    assert f"Differs: {paper_run[0].network}: ram." in output.out
    assert line in " ".join(output.out.split())
    suite = next(iter(JUnitXml.fromfile("gate.xml")))
    assert (suite.failures, suite.errors) == (1, 26)
    assert Path("accepted.json").read_bytes() == accepted


def test_what_a_gate_could_not_decide_is_an_error(
    pibench: Pibench, records: Path, tmp_path: Path
) -> None:
    pibench("reconcile", str(records), "--write-baseline", "accepted.json")
    (kept, *_) = records.read_text().splitlines(keepends=True)
    (tmp_path / "fewer.jsonl").write_text(kept)
    gate = ("--baseline", "accepted.json", "--fail-on", "verdict", "-o", "gate.xml")
    pibench("reconcile", "fewer.jsonl", *gate, code=4)
    cases = list(next(iter(JUnitXml.fromfile("gate.xml"))))
    assert [type(result).__name__ for case in cases for result in case.result] == ["Error"] * 25
    assert cases[1].name.endswith(": was run")
