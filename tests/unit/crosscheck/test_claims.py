"""The ledger against a whole run, and against runs where one network goes another way."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pibench.crosscheck.claims import (
    Claim,
    PredictedTime,
    check_claims,
    exit_code,
    is_the_papers_run,
    summary,
    write_claims_csv,
    write_claims_json,
)
from pibench.crosscheck.paper import Figure, load_paper
from pibench.errors import ExitCode, HostError, InvalidInputError
from pibench.records.schema import (
    Environment,
    Evidence,
    GuestEnvironment,
    Limits,
    LimitSet,
    Provenance,
)
from tests.limits import files_end_at
from tests.whole_records import of_the_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pibench.records.schema import Record

MIB = 2**20


def changed(record: Record, **changes: Any) -> Record:
    return type(record).model_validate(record.model_copy(update=changes).model_dump())


def test_a_ledger_is_of_one_set_up(paper_run: list[Record]) -> None:
    inferred = [changed(one, setup="paper-inferred") for one in paper_run]
    ids = {one.record_id for one in paper_run}
    for records in ([*paper_run, *inferred], [*inferred, *paper_run[:3]]):
        used = {claim.record_id for claim in check_claims(records) if claim.record_id}
        assert used <= ids
    assert all(claim.record_id for claim in check_claims(inferred))


def with_network(records: list[Record], network: str, **changes: Any) -> list[Record]:
    return [
        changed(record, **changes) if record.network == network else record for record in records
    ]


def cell(claims: list[Claim], key: str, column: str) -> Claim:
    (claim,) = [claim for claim in claims if (claim.key, claim.column) == (key, column)]
    return claim


def test_the_table_is_whole() -> None:
    paper = load_paper()
    assert len(paper.entries) == 26
    assert [entry.row for entry in paper.entries if entry.verdict == "fit"] == list(range(1, 16))
    assert not any(entry.row for entry in paper.entries if entry.verdict == "no-fit")
    assert len({entry.key for entry in paper.entries}) == 26
    printed = sum(figure.value for entry in paper.entries for figure in entry.figures.values())
    assert printed == pytest.approx(62350.4)


def test_every_explanation_belongs_to_a_printed_cell(paper_run: list[Record]) -> None:
    cells = {(claim.key, claim.column) for claim in check_claims(paper_run)}
    explained = load_paper().explanation
    assert {
        (key, column) for one in explained for key in one.keys for column in one.columns
    } <= cells


def test_a_claim_per_printed_cell(paper_run: list[Record]) -> None:
    claims = check_claims(paper_run)
    assert Counter(claim.column for claim in claims) == {
        "verdict": 26,
        "ram_mb": 15,
        "model_size_mb": 16,
        "latency_ms": 15,
    }


def test_the_whole_run_agrees(paper_run: list[Record]) -> None:
    claims = check_claims(paper_run)
    totals = summary(claims)
    assert (totals["verdict"].agreed, totals["verdict"].total) == (26, 26)
    assert totals["ram_mb"].agreed == totals["ram_mb"].compared == 15
    assert totals["ram_mb"].mean_absolute_error_pct == pytest.approx(2.3, abs=0.3)
    assert totals["ram_mb"].worst_network in ("SqueezeNet V1.0", "NIN")
    assert totals["ram_mb"].worst_error_pct == pytest.approx(-8.5, abs=0.5)
    assert (totals["model_size_mb"].agreed, totals["model_size_mb"].total) == (14, 16)
    assert totals["model_size_mb"].differing == ("GoogleNet", "ResNext50_32x4d")
    assert (totals["latency_ms"].compared, totals["latency_ms"].total) == (0, 15)
    assert exit_code(claims) == ExitCode.OK


def test_units_are_not_blurred(paper_run: list[Record]) -> None:
    claims = check_claims(paper_run)
    ram = cell(claims, "alexnet", "ram_mb")
    assert (ram.paper, ram.pibench, ram.unit, ram.error_pct) == (497, 497, "MiB", 0)
    size = cell(claims, "alexnet", "model_size_mb")
    assert (size.pibench, size.unit) == (pytest.approx(243.9), "MB")


@pytest.mark.parametrize(
    ("key", "column", "message"),
    [
        ("densenet-121", "ram_mb", "ceil_mode"),
        ("densenet-169", "ram_mb", "ceil_mode"),
        ("resnext-50", "ram_mb", "ceil_mode"),
        ("densenet-201", "verdict", "ceil_mode"),
        ("inception-v3", "ram_mb", "229 x 229"),
        ("resnext-50", "model_size_mb", "95.7"),
        ("googlenet", "model_size_mb", "auxiliary heads"),
        ("resnet-152-v2", "verdict", "soeaver/caffe-model"),
        ("xception", "model_size_mb", "did not run"),
    ],
)
def test_what_is_odd_is_explained(
    paper_run: list[Record], key: str, column: str, message: str
) -> None:
    explanation = cell(check_claims(paper_run), key, column).explanation
    assert explanation
    assert message in explanation


def test_one_flipped_verdict_is_a_disagreement(paper_run: list[Record]) -> None:
    flipped = with_network(paper_run, "NIN", verdict="no-fit")
    claims = check_claims(flipped)
    assert cell(claims, "nin", "verdict").agrees is False
    assert summary(claims)["verdict"].differing == ("NIN",)
    assert exit_code(claims) == ExitCode.DISAGREEMENT


@pytest.mark.parametrize("verdict", ["inconclusive", "borderline"])
def test_one_undecided_verdict_is_inconclusive(paper_run: list[Record], verdict: str) -> None:
    claims = check_claims(with_network(paper_run, "NIN", verdict=verdict))
    assert cell(claims, "nin", "verdict").pibench == verdict
    assert cell(claims, "nin", "verdict").agrees is None
    assert exit_code(claims) == ExitCode.INCONCLUSIVE


def test_one_missing_network_is_inconclusive(paper_run: list[Record]) -> None:
    claims = check_claims([record for record in paper_run if record.network != "AlexNet"])
    missing = cell(claims, "alexnet", "ram_mb")
    assert (missing.pibench, missing.agrees, missing.provenance.kind) == (None, None, "unavailable")
    assert "no record of this network" in missing.provenance.reason
    assert summary(claims)["verdict"].undecided == ("AlexNet",)
    assert exit_code(claims) == ExitCode.INCONCLUSIVE


def test_a_disagreement_weighs_more_than_a_missing_one(paper_run: list[Record]) -> None:
    claims = check_claims(with_network(paper_run, "NIN", verdict="no-fit")[1:])
    assert exit_code(claims) == ExitCode.DISAGREEMENT


def test_only_the_networks_asked_for_count(paper_run: list[Record]) -> None:
    flipped = with_network(paper_run, "NIN", verdict="no-fit")
    claims = check_claims(flipped, networks=["AlexNet", "vgg 16"])
    assert {claim.key for claim in claims} == {"alexnet", "vgg-16"}
    assert exit_code(claims) == ExitCode.OK
    with pytest.raises(InvalidInputError, match="the paper has no network 'LeNet'"):
        check_claims(paper_run, networks=["LeNet"])


def test_nothing_at_all_is_not_agreement() -> None:
    assert exit_code([]) == ExitCode.INCONCLUSIVE
    claims = check_claims([])
    assert exit_code(claims) == ExitCode.INCONCLUSIVE
    assert summary(claims)["ram_mb"].mean_absolute_error_pct is None


def test_a_printed_figure_is_met_at_its_own_precision() -> None:
    assert (Figure.parse("30").rounding, Figure.parse("2.3").rounding) == (0.5, 0.05)


@pytest.mark.parametrize(
    ("network_mib", "agrees"), [(546, True), (547, False), (448, True), (447, False)]
)
def test_the_tolerance_of_ram(paper_run: list[Record], network_mib: int, agrees: bool) -> None:
    sizes = {"peak_rss_bytes": (network_mib + 57) * MIB, "network_rss_bytes": network_mib * MIB}
    claims = check_claims(with_network(paper_run, "AlexNet", **sizes))
    assert cell(claims, "alexnet", "ram_mb").agrees is agrees


def test_the_peak_of_a_killed_process_is_not_compared(paper_run: list[Record]) -> None:
    killed = Evidence(summary="killed by the kernel", exit_status=-9, signal=9)
    claims = check_claims(with_network(paper_run, "NIN", verdict="no-fit", evidence=killed))
    ram = cell(claims, "nin", "ram_mb")
    assert (ram.pibench, ram.agrees) == (None, None)
    assert "lower bound" in ram.provenance.reason


@pytest.mark.parametrize(
    "change", [{"protocol": "inference"}, {"batch": 2}, {"device": "another-board"}]
)
def test_other_runs_do_not_count(paper_run: list[Record], change: dict[str, Any]) -> None:
    claims = check_claims(with_network(paper_run, "AlexNet", **change))
    assert cell(claims, "alexnet", "verdict").pibench is None


def test_the_run_closest_to_the_board_counts_and_of_these_the_latest(
    paper_run: list[Record], make_record: Callable[..., Record]
) -> None:
    first = paper_run[0]
    later = make_record()
    twin = changed(make_record(), target="twin", machine=None, verdict="no-fit", record_id="f" * 32)
    for records in ([first, later, twin], [twin, later, first]):
        verdict = cell(check_claims(records), "alexnet", "verdict")
        assert verdict.record_id == later.record_id
    assert cell(check_claims([twin]), "alexnet", "verdict").agrees is False


def latency_claim(record: Record, kind: str, **changes: Any) -> Claim:
    provenance = record.provenance | {"latency_ms": Provenance(kind=kind)}
    timed = changed(record, latency_ms=1700, provenance=provenance, **changes)
    return cell(check_claims([timed]), "alexnet", "latency_ms")


def test_only_a_time_of_the_board_is_compared(paper_run: list[Record]) -> None:
    record = paper_run[0]
    emulated = latency_claim(record, "emulated")
    assert (emulated.pibench, emulated.agrees) == (None, None)
    assert emulated.provenance.reason == "emulated time is never a Pi time"

    predicted = latency_claim(record, "predicted")
    assert (predicted.pibench, predicted.agrees) == (1700, True)
    assert predicted.error_pct == pytest.approx(-0.76, abs=0.01)

    here = latency_claim(record, "measured", target="native", machine=None)
    assert here.provenance.reason == "time on another processor is never a Pi time"
    board = Environment(
        host=record.environment.host, guest=GuestEnvironment(architecture="aarch64")
    )
    on_board = latency_claim(record, "measured", target="ssh", machine=None, environment=board)
    assert (on_board.pibench, on_board.provenance.kind) == (1700, "measured")


def test_the_ledger_as_json(paper_run: list[Record], tmp_path: Path) -> None:
    claims = check_claims(with_network(paper_run, "NIN", verdict="no-fit"))
    path = write_claims_json(claims, tmp_path / "out/claims.json")
    ledger = json.loads(path.read_text(encoding="utf-8"))
    assert ledger["exit_code"] == 1
    assert ledger["summary"]["verdict"]["differing"] == ["NIN"]
    assert len(ledger["claims"]) == len(claims)
    assert ledger["claims"][0]["provenance"]["kind"] == "emulated"
    assert "MiB (2^20 bytes)" in ledger["columns"]["ram_mb"]["doc"]
    assert list(path.parent.iterdir()) == [path]


def test_the_ledger_as_csv(paper_run: list[Record], tmp_path: Path) -> None:
    claims = check_claims(paper_run)
    path = write_claims_csv(claims, tmp_path / "claims.csv")
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(claims)
    assert lines[0]["paper_network"] == "AlexNet"
    assert lines[0]["agrees"] == "True"
    assert {line["provenance_kind"] for line in lines} >= {"emulated", "computed", "unavailable"}


def test_a_ledger_that_cannot_be_written_leaves_the_old_one(
    paper_run: list[Record], tmp_path: Path
) -> None:
    claims = check_claims(paper_run)
    path = write_claims_json(claims, tmp_path / "claims.json")
    before = path.read_bytes()
    with files_end_at(100), pytest.raises(HostError, match="File too large"):
        write_claims_json(claims[:1], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def predicted(latency_ms: float, *, independent: bool = True) -> PredictedTime:
    return PredictedTime(
        latency_ms=latency_ms,
        low_ms=0.9 * latency_ms,
        high_ms=1.1 * latency_ms,
        reason="counted work",
        independent=independent,
    )


def test_a_predicted_time_is_compared_and_keeps_its_interval(paper_run: list[Record]) -> None:
    claims = check_claims(paper_run, predicted={"AlexNet": predicted(1713 * 1.05)})
    claim = cell(claims, "alexnet", "latency_ms")
    assert claim.agrees is True
    assert claim.error_pct == pytest.approx(5)
    assert (claim.low, claim.high) == pytest.approx((1618.8, 1978.5), abs=0.1)
    assert claim.provenance == Provenance(kind="predicted", reason="counted work")
    assert summary(claims)["latency_ms"].compared == 1


def test_a_time_that_the_fit_has_seen_proves_nothing(paper_run: list[Record]) -> None:
    seen = {"ResNet-101": predicted(16145.0, independent=False)}
    claims = check_claims(paper_run, predicted=seen)
    claim = cell(claims, "resnet-101", "latency_ms")
    assert claim.pibench == 16145.0
    assert (claim.agrees, claim.error_pct) == (None, None)
    assert summary(claims)["latency_ms"].compared == 0


def test_a_prediction_needs_no_record() -> None:
    claims = check_claims([], predicted={"NIN": predicted(1485.0)})
    assert cell(claims, "nin", "latency_ms").agrees is True


def test_a_run_of_another_image_is_not_the_papers(paper_run: list[Record]) -> None:
    assert is_the_papers_run(paper_run[0], load_paper())
    assert not is_the_papers_run(changed(paper_run[0], input_size="256x256"), load_paper())


def test_a_file_with_the_name_of_a_network_of_the_paper_is_another_one(
    make_record: Callable[..., Record],
) -> None:
    """Its no-fit would be a disagreement with a claim that the paper never made."""
    own = make_record(network_source="mine/alexnet.prototxt", verdict="no-fit")
    assert cell(check_claims([own]), "alexnet", "verdict").record_id is None
    copy = of_the_zoo(own).model_copy(update={"record_id": "c" * 32})
    assert cell(check_claims([own, copy]), "alexnet", "verdict").record_id == copy.record_id


def test_the_usual_run_speaks_before_one_with_other_threads(
    make_record: Callable[..., Record],
) -> None:
    usual = make_record()
    later = make_record(
        limits=Limits(asked=LimitSet(threads=1)), created=usual.created + timedelta(hours=1)
    )
    assert cell(check_claims([usual, later]), "alexnet", "verdict").record_id == usual.record_id
