"""Records of several files: the latest of each run, and what no report can show."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench.errors import InvalidInputError
from pibench.records.schema import SCHEMA_VERSION
from pibench.records.store import RecordStore
from pibench.report.sources import merge, read_all
from pibench.sweeps.journal import sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.records.schema import Record

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_the_latest_of_each_run_counts(make_record: Callable[..., Record]) -> None:
    late = make_record(created=NOON, verdict="no-fit")
    early = make_record(created=NOON - timedelta(hours=1))
    other_protocol = make_record(created=NOON, protocol="inference")
    other_batch = make_record(created=NOON, batch=4)
    other_machine = make_record(created=NOON, machine="raspi3b")
    merged = merge([late, early, other_protocol, other_batch, other_machine])
    assert merged.records == (late, other_protocol, other_batch, other_machine)
    assert merged.superseded == 1


def test_what_a_study_asks_for_side_by_side_is_not_a_later_try(
    make_record: Callable[..., Record],
) -> None:
    cells = [
        sealed(make_record(seed=seed, input_size=size), digit * 64, 1)
        for digit, seed, size in (("1", 0, None), ("2", 0, "96x96"), ("3", 7, "96x96"))
    ]
    again = sealed(make_record(seed=0, created=cells[0].created + timedelta(hours=1)), "4" * 64, 1)
    merged = merge([*cells, again])
    assert merged.records == (again, *cells[1:])


def test_a_record_read_twice_supersedes_nothing(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    RecordStore(tmp_path / "a.jsonl").append(make_record())
    merged = read_all([tmp_path / "a.jsonl", tmp_path / "a.jsonl"])
    assert (len(merged.records), merged.superseded) == (1, 0)


def test_an_older_version_is_read_beside_a_newer_one(tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "records"
    lines = [
        json.dumps(json.loads(one.read_text()) | {"record_id": f"{number:032x}"})
        for number, one in enumerate(sorted(folder.glob("record-*.json")))
    ]
    assert len(lines) >= 3
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(lines))
    merged = read_all([path])
    assert {record.schema_version for record in merged.records} == {SCHEMA_VERSION}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "commodore64"}, "record [0-9a-f]{32}: unknown device 'commodore64'"),
        ({"parameter_count": 10**400}, "line 1: parameter_count: .*beyond 64 bits"),
    ],
)
def test_what_no_report_can_show_is_refused(
    changes: dict[str, object], message: str, tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    path = tmp_path / "r.jsonl"
    one = make_record()
    path.write_text(json.dumps(one.model_dump(mode="json") | changes))
    with pytest.raises(InvalidInputError, match=message) as refused:
        read_all([path])
    assert refused.value.line().startswith(f"{path}: ")


def test_an_empty_file_is_not_a_report(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("\n\n")
    with pytest.raises(InvalidInputError, match="has no record"):
        read_all([tmp_path / "r.jsonl"])


def test_two_records_of_one_id_are_refused(make_record: Callable[..., Record]) -> None:
    one = make_record()
    assert merge([one, one]).records == (one,)
    with pytest.raises(InvalidInputError, match=f"have the id {one.record_id}"):
        merge([one, one.model_copy(update={"verdict": "inconclusive"})])
