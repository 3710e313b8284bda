"""The file of results as a board writes and reads it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pibench.probe.results import Busy, Damaged, OtherKit, ResultsFile, entries
from tests.limits import files_end_at

KIT = "a" * 64


def lines(path: Path) -> list[str]:
    with path.open("rb") as stream:
        return [entry["event"] for _, _, entry in entries(stream)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pi-results.jsonl"


def test_it_goes_on_where_an_earlier_run_stopped(path: Path) -> None:
    first = ResultsFile(str(path), KIT)
    first.append("start", id="0")
    first.append("result", id="0", result={})
    first.append("start", id="1")
    first.close()
    second = ResultsFile(str(path), KIT)
    assert (second.finished, second.unended) == (["0"], {"1": 1})
    second.append("start", id="1")
    second.append("interrupted", id="1")
    assert second.unended == {}
    second.end()
    second.end()
    second.close()
    assert lines(path) == ["begin", "start", "result", "start", "start", "interrupted", "end"]


@pytest.mark.parametrize("cut", [1, 30, 100])
def test_a_line_that_a_fall_of_power_cut_is_taken_out(path: Path, cut: int) -> None:
    first = ResultsFile(str(path), KIT)
    first.append("start", id="0")
    size = path.stat().st_size
    first.append("result", id="0", result={"a": "b" * 100})
    first.close()
    os.truncate(path, path.stat().st_size - cut)
    second = ResultsFile(str(path), KIT)
    assert (path.stat().st_size, second.finished, second.unended) == (size, [], {"0": 1})
    second.append("died", id="0", why="x")
    second.close()
    assert lines(path) == ["begin", "start", "died"]


def test_an_empty_or_incomplete_file_is_started_again(path: Path) -> None:
    path.write_bytes(b'{"digest":"')
    ResultsFile(str(path), KIT).close()
    assert lines(path) == ["begin"]


@pytest.mark.parametrize("content", [b"notes", b'{"digest":"1', b"{}", b"\xff" * 50, b"\0" * 5000])
def test_what_another_wrote_stays_as_it_is(path: Path, content: bytes) -> None:
    foreign = path.with_name("diary.txt")
    path.symlink_to(foreign)
    foreign.write_bytes(content)
    with pytest.raises(Damaged, match="line 1: not written by a bundle"):
        ResultsFile(str(path), KIT)
    assert foreign.read_bytes() == content


def test_what_another_wrote_behind_results_stays_as_it_is(path: Path) -> None:
    ResultsFile(str(path), KIT).close()
    content = path.read_bytes() + b"notes"
    path.write_bytes(content)
    with pytest.raises(Damaged, match="line 2: not written by a bundle"):
        ResultsFile(str(path), KIT)
    assert path.read_bytes() == content


def test_results_are_only_written_to_regular_files(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(Damaged, match="not a regular file"):
        ResultsFile(str(path), KIT)


def test_a_changed_file_is_not_gone_on_with(path: Path) -> None:
    first = ResultsFile(str(path), KIT)
    first.append("result", id="0", result={"peak": 1})
    first.append("end", finished=["0"])
    first.close()
    path.write_bytes(path.read_bytes().replace(b'"peak":1', b'"peak":2'))
    with pytest.raises(Damaged) as caught:
        ResultsFile(str(path), KIT)
    assert (caught.value.number, caught.value.torn) == (2, False)


def test_another_kits_file_and_a_running_one_are_refused(path: Path) -> None:
    first = ResultsFile(str(path), KIT)
    with pytest.raises(Busy):
        ResultsFile(str(path), KIT)
    first.close()
    with pytest.raises(OtherKit):
        ResultsFile(str(path), "b" * 64)


def test_a_full_disk_leaves_what_was_there(path: Path) -> None:
    file = ResultsFile(str(path), KIT)
    before = path.read_bytes()
    # A part of the next line can be written.
    with files_end_at(len(before) + 20), pytest.raises(OSError, match="File too large"):
        file.append("start", id="0")
    assert path.read_bytes() == before
    file.append("start", id="0")
    file.close()
    assert lines(path) == ["begin", "start"]


def test_ctrl_c_leaves_whole_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ResultsFile(str(path), KIT)
    write = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        # Here and at once; one to the process may be taken late, by another thread.
        signal.raise_signal(signal.SIGINT)
        return write(descriptor, data[:10])

    monkeypatch.setattr("pibench.probe.results.os.write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.append("start", id="0")
    monkeypatch.undo()
    file.append("interrupted", id="0")
    file.close()
    # Where another thread takes the signal, the line is taken back.
    assert lines(path) in (["begin", "start", "interrupted"], ["begin", "interrupted"])
