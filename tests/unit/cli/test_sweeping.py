"""`pibench sweep` where nothing runs: what is refused, and a study that is over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench.sweeps.journal import Journal, sealed
from tests import whole_records

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Pibench

KEY = "cd" * 32


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of three cells: one recorded, one missing, one left out."""
    journal = Journal(tmp_path / "study")
    journal.store.append(sealed(whole_records.record(), KEY, 1))
    cells = [{"key": KEY, "label": "a"}, {"key": "0" * 64, "label": "b\x1b[2J"}]
    journal.write_cells(iter([*cells, {"key": "1" * 64, "label": "c", "left_out": "too large"}]))
    journal.study_file.write_text('{"networks": ["NIN"], "target": "twin"}')
    return journal.folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--networks", "NIN"], "add --out DIR"),
        (["--out", "new"], "no study is given"),
        (["--batch", "1", "--out", "new"], "needs networks"),
        (["--networks", "NIN", "--batch", "1,x", "--out", "new"], "--batch 1,x"),
        (["--networks", "NIN", "--devices", "pdp11", "--out", "new"], "pdp11"),
        (["--networks", "NIN", "--target", "moon", "--out", "new"], "moon"),
        (["--networks", "NIN", "--compute", "fast", "--out", "new"], "compute"),
        (["--resume", "--out", "new"], "has no study to continue"),
        (["nowhere.toml", "--out", "new"], "nowhere.toml"),
        (["--networks", "NIN", "--input", "0x0", "--out", "new"], "0x0"),
        (["--networks", "NIN", "--batch", "999999999", "--out", "new"], "out of range"),
        (["--networks", "NIN", "--budget", "0", "--out", "new"], "budget_s"),
        (["--networks", "NIN", "--batch", ",", "--out", "new"], "batch"),
        (["status", "nowhere"], "has no study"),
        (["export", "nowhere", "-o", "x.csv"], "has no study"),
    ],
)
def test_what_cannot_be_is_reported_in_one_line(
    words: list[str], message: str, pibench: Pibench, tmp_path: Path
) -> None:
    assert message in pibench("sweep", *words, code=2).line
    assert not list(tmp_path.iterdir())


def test_a_study_is_not_begun_twice(pibench: Pibench, study: Path) -> None:
    result = pibench("sweep", "--networks", "NIN", "--out", study, code=2)
    assert "has a study already" in result.line


def test_status_says_how_it_stands(pibench: Pibench, study: Path) -> None:
    status = pibench("sweep", "status", study).out
    assert "3 cells: 1 fit; no sweep is running" in status
    assert "left out: 1\n  c: too large" in status
    assert "missing: 1, next b" in status
    assert "\x1b" not in status
    assert json.loads(pibench("sweep", "status", study, "--json").out)["verdicts"] == {"fit": 1}


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_records_leave_as_one_table(pibench: Pibench, study: Path, form: str) -> None:
    import pandas as pd

    pibench("sweep", "export", study, "-o", f"out.{form}")
    frame = {"parquet": pd.read_parquet, "csv": pd.read_csv}[form](f"out.{form}")
    assert list(frame["cell.key"]) == [KEY]


def test_a_table_of_another_kind_is_refused(pibench: Pibench, study: Path) -> None:
    output = pibench("sweep", "export", study, "-o", "out.xlsx", code=2)
    assert "neither .parquet nor .csv" in output.line


@pytest.mark.parametrize("words", [["--prune", "-5"], ["--prune", "nan"], ["--budget", "inf"]])
def test_amounts_are_finite_and_not_negative(pibench: Pibench, words: list[str]) -> None:
    output = pibench("sweep", "--networks", "NIN", "--out", "new", *words, code=2)
    assert f"Invalid value for '{words[0]}'" in output.line


@pytest.mark.parametrize("line", ["{", "{}", "[]", '{"key": 1}'])
def test_a_damaged_list_of_cells_is_reported(pibench: Pibench, study: Path, line: str) -> None:
    Journal(study).cells_file.write_text(line + "\n")
    assert "line 1: is damaged" in pibench("sweep", "status", study, code=2).line


@pytest.mark.parametrize("text", ["", "[]", "[" * 200_000, '{"networks": ["NIN"], "seed": 1e999}'])
def test_a_damaged_study_is_reported_and_can_be_given_again(
    pibench: Pibench, study: Path, text: str
) -> None:
    Journal(study).study_file.write_text(text)
    assert "study.json" in pibench("sweep", "--resume", "--out", study, code=2).line


def test_a_table_contains_what_the_study_now_asks_for(pibench: Pibench, study: Path) -> None:
    import pandas as pd

    earlier = whole_records.record(record_id="e" * 32, network="=earlier")
    Journal(study).store.append(sealed(earlier, "ef" * 32, 1))
    pibench("sweep", "export", study, "-o", "out.csv")
    assert list(pd.read_csv("out.csv")["cell.key"]) == [KEY]


def test_going_on_changes_the_given_options_and_keeps_the_rest(
    pibench: Pibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("my.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" '
        "input_param { shape: { dim: 1 dim: 3 dim: 8 dim: 8 } } }"
    )
    dry = ["--dry-run", "--fresh", "--quiet", "--out", tmp_path / "new"]
    pibench("sweep", "--networks", "my.prototxt", "--target", "twin", "--prune", "25", *dry)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    pibench("sweep", "--resume", "--budget", "60", "--device", "rpi3b,rpi4b_2gb", *dry)
    study = json.loads((tmp_path / "new" / "study.json").read_text())
    assert study["networks"] == [str(tmp_path / "my.prototxt")]
    assert (study["prune"], study["budget_s"], study["target"]) == (25, 60, ["twin"])
    assert study["device"] == ["rpi3b", "rpi4b_2gb"]


def test_a_study_of_which_nothing_can_run_is_a_mistake(pibench: Pibench, tmp_path: Path) -> None:
    words = ["--networks", "NIN", "--engine", "ncnn", "--protocol", "caffe-time"]
    result = pibench("sweep", *words, "--target", "twin", "--out", tmp_path / "study", code=2)
    assert "no protocol caffe-time" in result.out
    assert "nothing of this study can be run" in result.err
