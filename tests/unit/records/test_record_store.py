"""The store: round trips, crashes in the middle of a line, several writers."""

from __future__ import annotations

import json
import multiprocessing
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pibench.errors import ExitCode, HostError, InvalidInputError
from pibench.records.store import RecordStore, TornLineWarning, to_json
from tests.limits import files_end_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.records.schema import Record

    MakeRecord = Callable[..., Record]

in_one_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)


def line_of(record: Record) -> bytes:
    return json.dumps(record.model_dump(mode="json")).encode("ascii")


def test_a_record_comes_back_as_it_was(tmp_path: Path, make_record: MakeRecord) -> None:
    store = RecordStore(tmp_path / "new" / "folder" / "records.jsonl")
    records = [make_record(), make_record(network="SqueezeNet v1.1")]
    for record in records:
        store.append(record)
    assert store.read() == records
    assert store.path.read_bytes().count(b"\n") == 2


texts_and_numbers = st.fixed_dictionaries(
    {
        "network": st.text(min_size=1),
        "repairs": st.lists(st.text(), max_size=3).map(tuple),
        "headroom_bytes": st.integers(min_value=1 - 2**63, max_value=2**63 - 1),
        "latency_ms": st.floats(min_value=0, max_value=1e12),
    }
)


@in_one_folder
@given(changes=texts_and_numbers)
def test_any_text_and_number_comes_back(tmp_path, make_record, changes) -> None:  # type: ignore[no-untyped-def]
    record = make_record(**{"verdict": "inconclusive"} | changes)
    store = RecordStore(tmp_path / "any.jsonl")
    store.path.unlink(missing_ok=True)
    store.append(record)
    assert store.read() == [record]


@in_one_folder
@given(data=st.data())
def test_a_crash_anywhere_in_a_line_costs_that_line_alone(tmp_path, make_record, data) -> None:  # type: ignore[no-untyped-def]
    before, cut, after = (make_record(network=name) for name in ("before", "cut", "after"))
    whole = line_of(cut)
    kept = whole[: data.draw(st.integers(min_value=1, max_value=len(whole) - 1))]
    store = RecordStore(tmp_path / "torn.jsonl")
    store.path.write_bytes(line_of(before) + b"\n" + kept)

    with pytest.warns(TornLineWarning, match="line 2"):
        assert store.read() == [before]
    store.append(after)
    with pytest.warns(TornLineWarning, match="line 2"):
        assert store.read() == [before, after]
    assert store.path.read_bytes().startswith(line_of(before) + b"\n" + kept + b"\n")


def test_a_line_that_lacks_only_its_end_is_a_record(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    store = RecordStore(tmp_path / "records.jsonl")
    first, second = make_record(network="first"), make_record(network="second")
    store.path.write_bytes(line_of(first))
    store.append(second)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.read() == [first, second]


def test_zeros_after_a_power_cut_are_a_torn_line(tmp_path: Path, make_record: MakeRecord) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(line_of(make_record()) + b"\n" + b'{"schema' + b"\0" * 64)
    with pytest.warns(TornLineWarning):
        assert len(RecordStore(path).read()) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"network,verdict", "not valid JSON"),
        (b'{"schema_version": "1.0"} {', "not valid JSON"),
        (b'{"schema_version": "1.0", {"schema_version": "1.0"}', "not valid JSON"),
        (b"[1, 2]", "schema_version is missing"),
        (b"{}", "schema_version is missing"),
        (b'{"schema_version": "2.0"}', "a record of version '2.0'; this pibench reads 1.10"),
        (b'{"schema_version": "1.0"}', "not a record: network: Field required (and "),
        (b'{"schema_version": "1.10", "later": 1}', "not a record: network: Field required (and "),
    ],
)
def test_what_is_not_a_record_is_named_with_its_line(
    tmp_path: Path, make_record: MakeRecord, line: bytes, message: str
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(line_of(make_record()) + b"\n\n" + line + b"\n")
    with pytest.raises(InvalidInputError) as caught:
        RecordStore(path).read()
    assert f"{path}: line 3: " in caught.value.line()
    assert message in caught.value.line()
    assert "\n" not in caught.value.line()
    assert caught.value.hint
    assert caught.value.exit_code == ExitCode.INVALID_INPUT


def test_a_field_that_1_1_does_not_have_is_an_error(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    path = tmp_path / "records.jsonl"
    data = make_record().model_dump(mode="json") | {"speed": 3}
    path.write_text(json.dumps(data))
    with pytest.raises(InvalidInputError, match="speed: Extra inputs are not permitted"):
        RecordStore(path).read()


def test_a_later_minor_version_is_read_less_its_new_fields(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    record = make_record()
    data = record.model_dump(mode="json") | {"schema_version": "1.99", "energy_j": 3.0}
    data["evidence"]["throttled"] = False
    data["layers"][0]["bytes"] = 12
    data["provenance"]["energy_j"] = {"kind": "measured", "reason": ""}
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(data) + "\n")
    assert RecordStore(path).read() == [record]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_record_of_an_earlier_version_is_upgraded(tmp_path: Path, version: str) -> None:
    old = json.loads((Path(__file__).parent / f"record-{version}.json").read_text())
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(old) + "\n")
    (record,) = RecordStore(path).read()
    assert record.schema_version == "1.10"
    assert record.peak_rss_bytes == old["peak_rss_bytes"]
    assert record.emulator_rss_bytes == old.get("emulator_rss_bytes")
    if version == "1.0":
        assert "version 1.0" in record.provenance["emulator_rss_bytes"].reason
    assert (record.samples, record.signatures, record.seed) == ((), (), None)


def test_a_record_of_1_6_has_no_tier_of_memory_only_compute(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    old = json.loads((Path(__file__).parent / "record-1.6.json").read_text())
    path.write_text(json.dumps(old) + "\n")
    (upgraded,) = RecordStore(path).read()
    assert upgraded.memory_only_tier is None


def test_a_missing_file_is_invalid_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read: No such file"):
        RecordStore(tmp_path / "none.jsonl").read()


def test_a_place_that_cannot_be_written_is_a_fault_of_the_environment(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    with pytest.raises(HostError, match="the record was not written"):
        RecordStore(tmp_path).append(make_record())


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, make_record: MakeRecord) -> None:
    store = RecordStore(tmp_path / "records.jsonl")
    store.append(make_record())
    before = store.path.read_bytes()
    # Half of the second record can be written.
    with (
        files_end_at(len(before) * 3 // 2),
        pytest.raises(HostError, match="File too large"),
    ):
        store.append(make_record())
    assert store.path.read_bytes() == before


def _append_many(path: Path, record: Record, count: int) -> None:
    for _ in range(count):
        RecordStore(path).append(record)


def test_two_writers_do_not_mix_their_lines(tmp_path: Path, make_record: MakeRecord) -> None:
    path = tmp_path / "records.jsonl"
    fork = multiprocessing.get_context("fork")
    writers = [
        fork.Process(target=_append_many, args=(path, make_record(network=name), 25))
        for name in ("a", "b")
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(record.network for record in RecordStore(path).read()) == ["a"] * 25 + ["b"] * 25


def _append_new(path: Path, records: list[Record], go: Any) -> None:
    go.wait()
    RecordStore(path).append_new(records)


def test_of_several_that_append_the_same_one_does(tmp_path: Path, make_record: MakeRecord) -> None:
    path = tmp_path / "records.jsonl"
    records = [make_record() for _ in range(20)]
    RecordStore(path).append(records[0])
    fork = multiprocessing.get_context("fork")
    go = fork.Event()
    writers = [fork.Process(target=_append_new, args=(path, records, go)) for _ in range(6)]
    for writer in writers:
        writer.start()
    go.set()
    for writer in writers:
        writer.join()
    assert [one.record_id for one in RecordStore(path).read()] == [one.record_id for one in records]
    assert RecordStore(path).append_new(records) == 0


def test_json_is_an_array(make_record: MakeRecord) -> None:
    first, second = make_record(), make_record()
    assert [item["record_id"] for item in json.loads(to_json([first, second]))] == [
        first.record_id,
        second.record_id,
    ]
    assert json.loads(to_json([])) == []
