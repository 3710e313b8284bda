"""One cell in a process of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pibench.sweeps import matrix
from pibench.sweeps.execute import run_cell
from pibench.sweeps.matrix import Cell, CellRequest


def cell(**axes: object) -> Cell:
    ((found, _, _),) = matrix.cells(matrix.of({"target": "twin", **axes}, "here"))
    return found


def with_options(one: Cell, **changes: Any) -> Cell:
    return replace(one, options=replace(one.options, **changes))


def test_over_its_time_it_is_stopped_tried_again_and_inconclusive() -> None:
    ran = run_cell(cell(networks="NIN", budget_s=0.1))
    assert (ran.record, ran.exit_code, ran.attempt) == (None, 4, 2)
    assert ran.message == "beyond its budget of 0.1 s; allow more: --budget SECONDS"


def test_what_pibench_refuses_is_not_tried_again() -> None:
    ran = run_cell(with_options(cell(networks="NIN"), weights=Path("nowhere.caffemodel")))
    assert (ran.record, ran.exit_code, ran.attempt) == (None, 2, 1)
    assert ran.message.startswith("pibench: ")


def test_a_file_travels_under_its_own_name(tmp_path: Path) -> None:
    text = 'name: "tiny" input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }'
    (tmp_path / "tiny.prototxt").write_text(text)
    there = tmp_path / "there"
    there.mkdir()
    wanted = cell(networks=str(tmp_path / "tiny.prototxt"), batch=2, threads=1)
    request = CellRequest.read(wanted.write(there))
    assert request == CellRequest(network=str(there / "tiny.prototxt"), options=wanted.options)
    assert (there / "tiny.prototxt").read_text() == text


def test_files_of_one_name_are_two_in_a_studys_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, size in (("a", 8), ("b", 9)):
        (tmp_path / folder).mkdir()
        text = f'input: "data" input_shape {{ dim: 1 dim: 3 dim: {size} dim: {size} }}'
        (tmp_path / folder / "deploy.prototxt").write_text(text)
    axes = {"target": "twin", "networks": ["a/deploy.prototxt", "b/deploy.prototxt"]}
    study = matrix.beside(matrix.of(axes, "here"), tmp_path)
    found = [one for one, _, _ in matrix.cells(study)]
    assert [one.label.split()[0] for one in found] == axes["networks"]
    assert [one.source for one in found] == axes["networks"]
