"""The command line, called in this process: to start one takes longer than most tests.

A process of its own is for what is about the process: closed streams, signals, pipes,
limits, and what is imported at start-up.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pibench import cli

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Restore what a command changes for the rest of its process."""
    thresholds, shown, hook = gc.get_threshold(), warnings.showwarning, sys.unraisablehook
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    collects = gc.isenabled()
    try:
        yield
    finally:
        (gc.enable if collects else gc.disable)()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.unraisablehook, warnings.showwarning = hook, shown
        gc.set_threshold(*thresholds)


@pytest.fixture
def pibench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Pibench:
    """Runs `pibench ARGUMENTS` in an empty folder, with an empty cache, 80 columns wide.

    `code` is the exit code it must end with; None is for a test that looks itself.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("PIBENCH_TRACEBACK", raising=False)

    def run(*arguments: object, code: int | None = 0) -> Result:
        monkeypatch.setattr(sys, "argv", ["pibench", *map(str, arguments)])
        with restored(), pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        found = int(ended.value.code or 0)
        assert code is None or found == code, output.err
        return Result(found, output.out, output.err)

    return run
