"""A time compared with a limit: by the whole of its interval, and only by the board's own."""

from __future__ import annotations

from typing import Any

import pytest

from pibench.errors import InvalidInputError
from pibench.judgements import judge_measured_time
from pibench.records.schema import LatencyInterval, Provenance, Record
from tests import whole_records


def board(**changes: Any) -> Record:
    """A record that a board measured."""
    fields = {"target": "ssh", "machine": None, "latency_ms": 200.0, **changes}
    known = whole_records.record().provenance
    measured = {
        name: Provenance(kind="measured") for name, one in known.items() if one.kind == "emulated"
    }
    provenance = known | measured | changes.get("provenance", {})
    return whole_records.record(**{**fields, "provenance": provenance})


def test_a_measured_time_counts_by_its_interval_or_its_median() -> None:
    assert judge_measured_time(board(), 200)
    assert judge_measured_time(board(), 199).verdict == "over"
    interval = LatencyInterval(low_ms=190, high_ms=215, confidence=0.95)
    measured = board(latency_interval=interval)
    for limit, verdict in (
        (215, "within"),
        (214, "borderline"),
        (190, "borderline"),
        (189, "over"),
    ):
        assert judge_measured_time(measured, limit).verdict == verdict
    text = str(judge_measured_time(measured, 200))
    assert text.startswith(
        "borderline at 200 ms: 190 to 215 ms, measured on target ssh, 95% interv"
    )


def test_a_time_that_is_not_measured_decides_nothing() -> None:
    killed = board(
        latency_ms=None,
        provenance={"latency_ms": Provenance(kind="unavailable", reason="it was killed")},
    )
    emulated = board(provenance={"latency_ms": Provenance(kind="emulated")})
    for record, reason in ((killed, "target ssh: it was killed"), (emulated, "it is emulated")):
        judged = judge_measured_time(record, 200)
        assert (judged.verdict, bool(judged), judged.exit_code) == ("unavailable", False, 4)
        assert reason in str(judged)
    with pytest.raises(InvalidInputError, match="a time limit of 0 ms"):
        judge_measured_time(board(), 0)
