"""`pibench sweep` where nothing runs: what is refused, and a study that is over."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import typer

from pibench.cli.app import app
from pibench.errors import InvalidInputError
from pibench.study.journal import Journal, sealed
from tests import whole_records

KEY = "cd" * 32


def pibench(*words: object) -> object:
    return app(list(map(str, words)), standalone_mode=False)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of three cells: one recorded, one missing, one left out."""
    journal = Journal(tmp_path / "study")
    journal.append(sealed(whole_records.record(), KEY, 1))
    cells = [{"key": KEY, "label": "a"}, {"key": "0" * 64, "label": "b\x1b[2J"}]
    journal.write_cells(iter([*cells, {"key": "1" * 64, "label": "c", "left_out": "too large"}]))
    journal.study_file.write_text('{"networks": ["NIN"], "target": "twin"}')
    return journal.folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--networks", "NIN"], "add --out DIR"),
        (["--out", "new"], "no study is given"),
        (["--batch", "1", "--out", "new"], "needs networks"),
        (["--networks", "NIN", "--batch", "1,x", "--out", "new"], "--batch 1,x"),
        (["--networks", "NIN", "--devices", "pdp11", "--out", "new"], "pdp11"),
        (["--networks", "NIN", "--target", "moon", "--out", "new"], "moon"),
        (["--networks", "NIN", "--compute", "fast", "--out", "new"], "compute"),
        (["--resume", "--out", "new"], "holds no study to go on with"),
        (["nowhere.toml", "--out", "new"], "nowhere.toml"),
        (["--networks", "NIN", "--input", "0x0", "--out", "new"], "0x0"),
        (["--networks", "NIN", "--batch", "999999999", "--out", "new"], "out of range"),
        (["--networks", "NIN", "--budget", "0", "--out", "new"], "budget_s"),
        (["--networks", "NIN", "--batch", ",", "--out", "new"], "batch"),
        (["status", "nowhere"], "holds no study"),
        (["export", "nowhere", "-o", "x.csv"], "holds no study"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError) as caught:
        pibench("sweep", *words)
    assert said in caught.value.line()
    assert "\n" not in caught.value.line()
    assert not list(tmp_path.iterdir())


def test_a_study_is_not_begun_twice(study: Path) -> None:
    with pytest.raises(InvalidInputError, match="holds a study already"):
        pibench("sweep", "--networks", "NIN", "--out", study)


def test_status_says_how_it_stands(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pibench("sweep", "status", study)
    said = capsys.readouterr().out
    assert "3 cells: 1 fit; no sweep is at work" in said
    assert "left out: 1\n  c: too large" in said
    assert "missing: 1, next b" in said
    assert "\x1b" not in said
    pibench("sweep", "status", study, "--json")
    assert json.loads(capsys.readouterr().out)["verdicts"] == {"fit": 1}


@pytest.mark.parametrize(
    ("name", "read"), [("out.parquet", pd.read_parquet), ("out.csv", pd.read_csv)]
)
def test_records_leave_as_one_table(study: Path, tmp_path: Path, name: str, read) -> None:
    pibench("sweep", "export", study, "-o", tmp_path / name)
    frame = read(tmp_path / name)
    assert list(frame["cell.key"]) == [KEY]


def test_a_table_of_another_kind_is_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"neither \.parquet nor \.csv"):
        pibench("sweep", "export", study, "-o", tmp_path / "out.xlsx")


@pytest.mark.parametrize("words", [["--prune", "-5"], ["--prune", "nan"], ["--budget", "inf"]])
def test_amounts_are_finite_and_not_negative(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter):
        pibench("sweep", "--networks", "NIN", "--out", tmp_path / "new", *words)


@pytest.mark.parametrize("line", ["{", "{}", "[]", '{"key": 1}'])
def test_a_damaged_list_of_cells_is_told(study: Path, line: str) -> None:
    Journal(study).cells_file.write_text(line + "\n")
    with pytest.raises(InvalidInputError, match="line 1: is damaged"):
        pibench("sweep", "status", study)


@pytest.mark.parametrize("text", ["", "[]", "[" * 200_000, '{"networks": ["NIN"], "seed": 1e999}'])
def test_a_damaged_study_is_told_and_can_be_given_again(study: Path, text: str) -> None:
    Journal(study).study_file.write_text(text)
    with pytest.raises(InvalidInputError, match=r"study\.json"):
        pibench("sweep", "--resume", "--out", study)


def test_a_table_holds_what_the_study_asks_for_now(study: Path, tmp_path: Path) -> None:
    earlier = whole_records.record(record_id="e" * 32, network="=earlier")
    Journal(study).append(sealed(earlier, "ef" * 32, 1))
    pibench("sweep", "export", study, "-o", tmp_path / "out.csv")
    assert list(pd.read_csv(tmp_path / "out.csv")["cell.key"]) == [KEY]


def test_going_on_changes_what_options_say_and_keeps_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
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
