"""Records as CSV and as a DataFrame: types, units, older versions, and cells that try things."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pibench
from pibench.errors import InvalidInputError
from pibench.records.schema import SCHEMA_VERSION, Sample
from pibench.records.store import RecordStore
from pibench.report.frames import csv_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.records.schema import Record

OLDER = Path(__file__).parents[1] / "records" / "record-1.0.json"


def stored(folder: Path, *records: Record) -> Path:
    store = RecordStore(folder / "records.jsonl")
    for record in records:
        store.append(record)
    return store.path


def test_a_row_per_record_with_types_and_units(tmp_path: Path, paper_run: list[Record]) -> None:
    import pandas as pd

    frame = pibench.load(stored(tmp_path, *paper_run))
    assert len(frame) == 26
    assert frame["peak_rss_bytes"].dtype == "Int64"
    assert isinstance(frame["created"].dtype, pd.DatetimeTZDtype)
    assert frame.attrs["units"]["peak_rss_bytes"] == "byte"
    assert frame.attrs["units"]["evidence.elapsed_seconds"] == "s"
    killed = frame[frame["evidence.exit_status"] == -9]
    assert len(killed) == 11
    assert set(killed["provenance.headroom_bytes.kind"]) == {"twin"}


def test_whole_numbers_stay_whole_beside_missing_ones(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    import pandas as pd

    odd = 2**53 + 1
    path = stored(
        tmp_path,
        make_record(parameter_count=odd),
        make_record(network="NIN", evidence=make_record().evidence.model_copy(
            update={"oom_counter": odd})),
    )  # fmt: skip
    frame = pibench.load(path)
    assert frame["parameter_count"][0] == odd
    assert frame["evidence.oom_counter"].dtype == "Int64"
    assert frame["evidence.oom_counter"].tolist() == [pd.NA, odd]


def test_layers_and_samples_have_rows_of_their_own(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    samples = (Sample(latency_ms=2.0), Sample(latency_ms=3.0, outlier=True))
    path = stored(tmp_path, make_record(samples=samples))
    layers = pibench.load(path, rows="layers")
    assert layers[["network", "provenance", "name", "forward_ms"]].to_numpy().tolist() == [
        ["AlexNet", "emulated", "conv1", 12.5]
    ]
    timed = pibench.load(path, rows="samples")
    assert timed["latency_ms"].tolist() == [2.0, 3.0]
    assert timed.attrs["units"]["latency_ms"] == "ms"


def test_an_older_version_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text(" ".join(OLDER.read_text().split("\n")))
    frame = pibench.load(path)
    assert frame["schema_version"].tolist() == [SCHEMA_VERSION]
    assert frame["provenance.emulator_rss_bytes.kind"].tolist() == ["unavailable"]


def test_later_records_supersede(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    frame = pibench.load(stored(tmp_path, make_record(), make_record(verdict="no-fit")))
    assert frame["verdict"].tolist() == ["no-fit"]
    assert frame.attrs["superseded"] == 1


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.jsonl: cannot be read"):
        pibench.load(tmp_path / "none.jsonl")
    with pytest.raises(InvalidInputError, match="no file"):
        pibench.load()
    with pytest.raises(InvalidInputError, match="rows 'blobs' is none of"):
        pibench.load(tmp_path, rows="blobs")  # type: ignore[arg-type]


def test_importing_pibench_does_not_import_pandas() -> None:
    program = (
        "import sys, pibench; assert 'load' in pibench.__all__; print('pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_csv_is_what_pandas_loads(paper_run: list[Record], tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.read_csv(io.StringIO(csv_of(rows_of(paper_run))))
    loaded = pibench.load(stored(tmp_path, *paper_run))
    assert list(frame.columns) == list(loaded.columns)
    assert frame["peak_rss_bytes"].tolist() == loaded["peak_rss_bytes"].tolist()


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_no_cell_is_a_formula(name: str, make_record: Callable[..., Record]) -> None:
    rows = rows_of([make_record(network=name, verdict="no-fit", headroom_bytes=-5)])
    (row,) = csv.DictReader(io.StringIO(csv_of(rows)))
    assert row["network"] == f"'{name}"
    assert row["headroom_bytes"] == "-5"


def test_each_row_states_which_run_it_is_of(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    store = RecordStore(tmp_path / "r.jsonl")
    for folder, digit in (("a", "4"), ("b", "5")):
        source = f"{folder}/deploy.prototxt"
        store.append(
            make_record(network="deploy", network_source=source, network_sha256=digit * 64)
        )
    names = ["a/deploy.prototxt", "b/deploy.prototxt"]
    assert pibench.load(store.path)["run"].tolist() == names
    assert pibench.load(store.path, rows="layers")["run"].tolist() == names
