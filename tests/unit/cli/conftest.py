"""The command line, called in this process: to start one takes longer than most tests.

A process of its own is for what is about the process: closed streams, signals, pipes,
limits, and what is imported at start-up.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pibench import cli
from pibench.cli import interruption


class Result(NamedTuple):
    """How a call ended: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The error of a refused call: one line, and nothing on standard output."""
        (line,) = self.err.splitlines()
        assert self.out == ""
        assert line.startswith("pibench: ")
        return line


Pibench = Callable[..., Result]


@pytest.fixture
def pibench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Pibench]:
    """Runs `pibench ARGUMENTS` in an empty folder, with an empty cache, 80 columns wide.

    `code` is the exit code it must end with; None is for a test that looks itself.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("PIBENCH_TRACEBACK", raising=False)
    # What a command changes for the rest of its process.
    for name in ("accept", "close"):
        monkeypatch.setattr(interruption, name, lambda: None)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    thresholds = gc.get_threshold()

    def run(*arguments: object, code: int | None = 0) -> Result:
        monkeypatch.setattr(sys, "argv", ["pibench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        found = int(ended.value.code or 0)
        assert code is None or found == code, output.err
        return Result(found, output.out, output.err)

    yield run
    gc.set_threshold(*thresholds)
