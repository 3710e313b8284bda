"""The journal: what is written is there, and what is damaged is seen."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pibench.errors import HostError, InvalidInputError
from pibench.images.recipe import fingerprint
from pibench.records.store import RecordStore
from pibench.sweeps.journal import Journal, mark_of, sealed
from tests import whole_records

KEY = "ab" * 32
LINE = json.dumps(sealed(whole_records.record(), KEY, 1).model_dump(mode="json")).encode()


def test_a_sealed_record_is_a_record_and_reports_its_cell(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.store.append(sealed(whole_records.record(), KEY, 2))
    assert journal.read().verdicts == {KEY: whole_records.record().verdict}
    (record,) = RecordStore(journal.store.path).read()
    assert record.cell is not None
    assert record.cell.attempt == 2


@given(st.integers(0, len(LINE) - 1), st.integers(0, 7))
def test_no_flipped_bit_goes_unseen(place: int, bit: int) -> None:
    flipped = bytearray(LINE)
    flipped[place] ^= 1 << bit
    assert mark_of(LINE) is not None
    mark = mark_of(bytes(flipped))
    # A bit of the seal's own spelling (`a` or `A`) and blanks between words mean the same.
    assert mark is None or json.loads(flipped) == json.loads(LINE)


def test_a_cut_line_is_set_aside_and_the_rest_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    first = sealed(whole_records.record(), KEY, 1)
    journal.store.append(first)
    whole = journal.store.path.read_bytes()
    journal.store.path.write_bytes(whole + b"\xff\xfe\n" + whole[:200])
    kept = journal.read()
    assert (kept.verdicts, kept.damaged) == ({KEY: first.verdict}, (2, 3))
    aside = journal.set_aside(kept.damaged)
    assert aside.read_bytes() == b"\xff\xfe\n" + whole[:200] + b"\n"
    assert journal.store.path.read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "value"), [("verdict", ["fit"]), ("verdict", "\x1b[2J"), ("key", ["x"])]
)
def test_a_sealed_line_of_another_shape_is_damaged(name: str, value: object) -> None:
    data = json.loads(LINE)
    (data if name in data else data["cell"])[name] = value
    data["cell"]["seal"] = "0" * 64
    data["cell"]["seal"] = fingerprint(data)
    assert mark_of(json.dumps(data).encode()) is None


@pytest.mark.parametrize("name", ["journal.jsonl", "damaged.jsonl"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    journal = Journal(tmp_path)
    journal.store.append(sealed(whole_records.record(), KEY, 1))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InvalidInputError, match=name):
        journal.set_aside((1,))


def test_a_later_record_of_a_cell_stands(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for verdict in ("inconclusive", "fit"):
        journal.store.append(sealed(whole_records.record(verdict=verdict), KEY, 1))
    journal.write_cells(iter([{"key": KEY, "label": "a"}]))
    assert journal.read().verdicts == {KEY: "fit"}
    assert [record.verdict for record in journal.records()] == ["fit"]


def test_one_sweep_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path).locked():
        assert Journal(tmp_path).at_work
        with pytest.raises(HostError, match="another sweep"), Journal(tmp_path).locked():
            pass
    assert not Journal(tmp_path).at_work
