"""What a record must contain, and what it rejects."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from pibench.records.schema import (
    RESULT_FIELDS,
    UNITS,
    BlobSummary,
    Evidence,
    Provenance,
    Record,
    json_schema,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeRecord = Callable[..., Record]

GOLDEN = Path(__file__).parent / "record-1.10.json"
UNAVAILABLE = Provenance(kind="unavailable", reason="killed before the end")


def test_the_golden_record_is_read_and_written_alike() -> None:
    """Version 1.10 as it lies in files: if this fails, the schema's version must change."""
    text = GOLDEN.read_text(encoding="utf-8")
    record = Record.model_validate_json(text)
    assert record.model_dump(mode="json") == json.loads(text)


def test_defaults_name_the_record(make_record: MakeRecord) -> None:
    first, second = make_record(), make_record()
    assert first.record_id != second.record_id
    assert first.created.tzinfo is UTC
    assert first.schema_version == "1.10"


def test_created_is_kept_in_utc(make_record: MakeRecord) -> None:
    local = datetime(2024, 5, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    dumped = make_record(created=local).model_dump(mode="json")
    assert dumped["created"] == "2024-05-01T12:00:00Z"
    with pytest.raises(ValidationError, match="timezone"):
        make_record(created=datetime(2024, 5, 1))


def test_a_record_does_not_change(make_record: MakeRecord) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_record().verdict = "no-fit"


BLOB = {"name": "prob", "shape": (1, 8), "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (10**18, 200)}, "more than 2147483647 values"),
        ({"shape": (2**31, 0)}, ""),
        ({"shape": (1,) * 33}, "at most 32 items"),
        ({"projection": (1e200,)}, "less than or equal"),
        ({"l2_norm": 1e200}, "less than or equal"),
        ({"minimum": -1e39}, "greater than or equal"),
        ({"maximum": 3.4028235e38, "l2_norm": 1e40, "projection": (-1e40,)}, ""),
    ],
)
def test_a_blob_is_one_that_caffe_can_store(changes: dict[str, Any], message: str) -> None:
    if not message:
        assert BlobSummary.model_validate(BLOB | changes).name == "prob"
        return
    with pytest.raises(ValidationError, match=message):
        BlobSummary.model_validate(BLOB | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"parameter_count": 2**63},
        {"headroom_bytes": -(2**63)},
        {"latency_ms": 1e13},
        {"batch": 2**31},
        {"seed": 10**400},
    ],
)
def test_a_figure_is_within_bounds(make_record: MakeRecord, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="equal to"):
        make_record(**changes)


@pytest.mark.parametrize("name", RESULT_FIELDS)
def test_each_result_needs_a_provenance(make_record: MakeRecord, name: str) -> None:
    provenance = {key: value for key, value in make_record().provenance.items() if key != name}
    with pytest.raises(ValidationError, match=f"{name} has no provenance"):
        make_record(provenance=provenance)


@pytest.mark.parametrize("name", RESULT_FIELDS)
def test_a_number_and_unavailable_exclude_each_other(make_record: MakeRecord, name: str) -> None:
    whole = make_record()
    # network_rss_bytes follows from the two others, so it goes where they go.
    missing: dict[str, Any] = {name: () if name in ("layers", "outputs") else None}
    without_reason = whole.provenance | {name: Provenance(kind="computed")}
    with pytest.raises(ValidationError, match=f"{name} is missing but its provenance is"):
        make_record(**missing, provenance=without_reason)
    if name not in ("outputs", "emulator_rss_bytes"):
        with pytest.raises(ValidationError, match=f"{name} has a value but"):
            make_record(provenance=whole.provenance | {name: UNAVAILABLE})
    assert make_record(**missing, provenance=whole.provenance | {name: UNAVAILABLE})


def test_unavailable_needs_a_reason() -> None:
    with pytest.raises(ValidationError, match="needs a reason"):
        Provenance(kind="unavailable", reason=" ")


def test_provenance_for_something_else_is_refused(make_record: MakeRecord) -> None:
    extra = make_record().provenance | {"verdict": Provenance(kind="computed")}
    with pytest.raises(ValidationError, match="not results: verdict"):
        make_record(provenance=extra)


def test_nothing_is_measured_in_an_emulator(make_record: MakeRecord) -> None:
    provenance = make_record().provenance | {"latency_ms": Provenance(kind="measured")}
    with pytest.raises(ValidationError, match="cannot be 'measured' on target 'vm'"):
        make_record(provenance=provenance)
    assert make_record(provenance=provenance, target="native", machine=None)


def test_memory_only_compute_gives_no_time(make_record: MakeRecord) -> None:
    with pytest.raises(ValidationError, match="memory-only compute"):
        make_record(compute="memory-only")
    provenance = make_record().provenance | {"latency_ms": UNAVAILABLE, "layers": UNAVAILABLE}
    assert make_record(compute="memory-only", latency_ms=None, layers=(), provenance=provenance)


def test_only_memory_only_compute_has_a_tier(make_record: MakeRecord) -> None:
    with pytest.raises(ValidationError, match="memory_only_tier of a run with real compute"):
        make_record(memory_only_tier="loops")


def test_network_rss_is_the_difference(make_record: MakeRecord) -> None:
    with pytest.raises(ValidationError, match="is not peak_rss_bytes less baseline_rss_bytes"):
        make_record(network_rss_bytes=1)


@pytest.mark.parametrize("change", [{"machine": None}, {"target": "twin"}])
def test_a_machine_goes_with_a_vm(make_record: MakeRecord, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="only target 'vm' has a machine"):
        make_record(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "maybe"},
        {"latency_ms": float("nan")},
        {"peak_rss_bytes": -1},
        {"network": ""},
        {"network_sha256": "abc"},
        {"batch": 0},
        {"later": 1},
    ],
)
def test_values_out_of_range_are_refused(make_record: MakeRecord, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_record(**change)


def test_every_quantity_has_its_unit() -> None:
    expected = {"bytes": "byte", "ms": "ms", "seconds": "s"}
    assert UNITS["peak_rss_bytes"] == "byte"
    assert UNITS["layers.forward_ms"] == "ms"
    assert UNITS["limits.in_force.cores"] == "core"
    for path, unit in UNITS.items():
        suffix = path.rsplit("_", maxsplit=1)[-1]
        assert unit == expected.get(suffix, unit), path


def test_the_schema_is_exported_with_units() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert '"unit": "byte"' in json.dumps(schema["properties"]["peak_rss_bytes"])
    assert set(RESULT_FIELDS) <= set(schema["properties"])
    json.dumps(schema)


@pytest.mark.parametrize(
    "changes",
    [
        {"evidence": Evidence(summary="killed", exit_status=-9, signal=9)},
        {"evidence": Evidence(summary="late", exit_status=0, timed_out=True)},
        {"evidence": Evidence(summary="lost", guest_died=True)},
        {"headroom_bytes": -1},
    ],
)
def test_what_did_not_end_with_0_never_fits(
    changes: dict[str, Any], make_record: Callable[..., Record]
) -> None:
    with pytest.raises(ValidationError, match="verdict 'fit'"):
        make_record(verdict="fit", **changes)


@pytest.mark.parametrize("created", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_date_beyond_the_calendar_is_an_error_of_the_record(
    created: str, make_record: Callable[..., Record]
) -> None:
    data = make_record().model_dump(mode="json") | {"created": created}
    with pytest.raises(ValidationError, match="created"):
        Record.model_validate(data)
