"""Reports and reconciliations from Python, as the commands make them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pibench import api
from pibench.errors import InvalidInputError
from pibench.records.store import RecordStore
from tests import whole_records


@pytest.fixture
def records(tmp_path: Path) -> Path:
    store = RecordStore(tmp_path / "records.jsonl")
    for record in whole_records.paper_run()[:3]:
        store.append(record)
    return store.path


def test_a_report_goes_into_every_file_by_its_ending(records: Path, tmp_path: Path) -> None:
    made = api.report([records], [tmp_path / "r.md", str(tmp_path / "r.csv")])
    assert len(made.records) == 3
    assert (tmp_path / "r.md").read_text().startswith("#")
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 4


def test_what_is_read_is_not_written_over(records: Path) -> None:
    with pytest.raises(InvalidInputError, match="is an input of this command"):
        api.report([records], {records: "markdown"})


def test_sides_are_reconciled_and_gated(records: Path) -> None:
    found, result = api.reconcile(["paper", records], fail_on="verdict")
    assert len(found.networks) == 3
    assert result.code == 0
