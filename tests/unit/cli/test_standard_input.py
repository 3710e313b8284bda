"""A network from standard input or a pipe, wherever a file is taken; no command waits forever."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest

from pibench import file_io
from pibench.sweeps import matrix
from tests.wild.older import OLDER

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Pibench

TEXT = OLDER["2014"]
Feed = Callable[[TextIO | bytes], None]


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    """Makes bytes, or a file, the standard input."""

    def give(content: TextIO | bytes) -> None:
        of_bytes = isinstance(content, bytes)
        stream = io.TextIOWrapper(io.BytesIO(content)) if of_bytes else content
        monkeypatch.setattr("sys.stdin", stream)
        file_io.contents_of_stream.cache_clear()

    yield give
    file_io.contents_of_stream.cache_clear()


@pytest.fixture
def pipe() -> Iterator[str]:
    """The path of a pipe with the network, as `<(...)` gives it."""
    reading, writing = os.pipe()
    os.write(writing, TEXT.encode())
    os.close(writing)
    yield f"/dev/fd/{reading}"
    os.close(reading)


@pytest.mark.parametrize("command", ["plan", "predict"])
def test_standard_input(pibench: Pibench, feed: Feed, command: str) -> None:
    feed(TEXT.encode())
    first, second = json.loads(pibench(command, "-", "-", "--json").out)
    assert first == second
    assert (first["network"], first["network_source"]) == ("standard input", "-")


@pytest.mark.parametrize("command", ["plan", "predict"])
def test_a_pipe_of_the_shell(pibench: Pibench, pipe: str, command: str) -> None:
    (answer,) = json.loads(pibench(command, pipe, "--json").out)
    assert answer["network_source"] == pipe


def test_the_cells_of_a_sweep_have_the_text(feed: Feed, pipe: str) -> None:
    feed(TEXT.encode())
    study = matrix.of({"networks": ["-", pipe], "batch": [1, 2]}, "here")
    cells = [cell for cell, _, _ in matrix.cells(study)]
    assert {cell.prototxt for cell in cells} == {TEXT}
    assert [cell.source for cell in cells] == ["-", "-", pipe, pipe]


def test_faults_name_standard_input(pibench: Pibench, feed: Feed) -> None:
    feed(b"layer { foo: 1 }")
    assert pibench("plan", "-", code=2).line.startswith("pibench: standard input: line 1: stock")
    feed(b'layer { type: "Convolution" bottom: "x" }')
    assert "standard input: an unnamed Convolution: " in pibench("predict", "-", code=2).line
    feed(b"")
    assert "standard input: is empty" in pibench("run", "-", code=2).line


def test_a_terminal_is_not_waited_for(pibench: Pibench, feed: Feed) -> None:
    master, terminal = os.openpty()
    path = Path(os.ttyname(terminal))
    with open(terminal, encoding="utf-8") as stream:  # noqa: PTH123  (a descriptor)
        feed(stream)
        assert pibench("plan", "-", code=2).line == (
            "pibench: standard input: is a terminal; pipe a file into it"
        )
        assert "is not a regular file" in pibench("plan", str(path), code=2).line
    os.close(master)


def test_a_folder_in_a_sweep_has_its_weights(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "deploy.prototxt").write_text(TEXT)
    (folder / "trained.caffemodel").write_bytes(b"")
    study = matrix.beside(matrix.of({"networks": "model"}, "here"), tmp_path)
    network = str(folder / "deploy.prototxt")
    assert study.networks == (network,)
    assert study.weights == {network: str(folder / "trained.caffemodel")}
