"""What people read in a terminal: no line is wider, and no word is broken."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len

from pibench import cli
from pibench.report.tables import Column, Table, console
from tests.unit.cli.conftest import restored
from tests.unit.cli.test_checking import answer_of

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Pibench

NARROW, WIDE = 80, 120
LONG = "door/camera-7/a network with-a-long_name of its own.prototxt"
TEXT = """
input: "data" input_shape { dim: 1 dim: 3 dim: 32 dim: 32 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 } }
"""


UNSET = ("COLUMNS", "CI", "NO_COLOR", "FORCE_COLOR")


@contextlib.contextmanager
def a_terminal(columns: int) -> Iterator[tuple[int, list[str]]]:
    """Open a terminal, and return after the block what was printed there, without colours."""
    master, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    parts: list[bytes] = []
    shown: list[str] = []

    def read() -> None:
        # The end of a terminal is an error.
        with contextlib.suppress(OSError):
            while part := os.read(master, 1 << 16):
                parts.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield terminal, shown
    finally:
        os.close(terminal)
        reader.join()
        os.close(master)
    text = b"".join(parts).decode()
    shown.append(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n"))


def started_in_terminal(columns: int, *words: str) -> str:
    """Return what `pibench WORDS`, a process of its own, prints in a terminal on both streams."""
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    with a_terminal(columns) as (terminal, shown):
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
        command = [sys.executable, "-m", "pibench", *words]
        subprocess.run(command, env=environment, check=False, **streams)
    return shown[0]


@contextlib.contextmanager
def standard_streams(terminal: int) -> Iterator[None]:
    """Make a terminal the standard streams of this process, by their numbers and by name."""
    kept = {number: os.dup(number) for number in range(3)}
    try:
        for number in kept:
            os.dup2(terminal, number)
        with (
            open(terminal, "w", encoding="utf-8", closefd=False) as stream,
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
        ):
            yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


def in_terminal(columns: int, *words: str) -> str:
    """Return what `pibench WORDS` prints in a terminal, on both streams, without colours."""
    with pytest.MonkeyPatch.context() as patch, a_terminal(columns) as (terminal, shown):
        for name in UNSET:
            patch.delenv(name, raising=False)
        patch.setattr(sys, "argv", ["pibench", *words])
        with restored(), standard_streams(terminal), pytest.raises(SystemExit):
            cli.main()
    return shown[0]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["check", "ResNext101_32x4d", "--max-ms", "100"], 1),
        (["check", "VGG 16", "--reserve", "100.5", "--batch", "4"], 1),
        (["check", "SqueezeNet V1.1"], 0),
        (["check", "SqueezeNet"], 2),
        (["check", LONG, "--device", "rpi_zero2w", "--batch", "1000", "--input", "512x512"], 1),
        (["reconcile", "plan.json", "plan.json"], 2),
        (["sweep", "study.toml"], 2),
        (["networks", "fold-bn", "ResNet-152", "-o", "folded"], 0),
    ],
)
def test_a_terminal_shows_the_words_of_a_pipe_within_its_width(
    pibench: Pibench, words: list[str], code: int
) -> None:
    Path(LONG).parent.mkdir(parents=True)
    Path(LONG).write_text(TEXT)
    Path("study.toml").write_text('targets = ["twin"]')
    piped = pibench(*words, code=code)
    for columns in (NARROW, WIDE):
        shown = in_terminal(columns, *words, *(["--force"] if "-o" in words else []))
        assert max(map(cell_len, shown.splitlines())) <= columns
        # A change's note is beside its command in a pipe, and above it in a terminal.
        assert sorted(_words(shown)) == sorted(_words(piped.err + piped.out))


def _words(text: str) -> list[str]:
    return text.replace(" \\\n", "\n").split()


def test_the_commands_of_the_advice_can_be_pasted(pibench: Pibench) -> None:
    Path(LONG).parent.mkdir(parents=True)
    Path(LONG).write_text(TEXT)
    words = (LONG, "--device", "rpi_zero2w", "--batch", "1000", "--input", "512x512")
    answer = answer_of(pibench, *words, code=1)
    shown = started_in_terminal(NARROW, "check", *words).replace(" \\\n", " ")
    found = [shlex.split(line[line.index("pibench") :]) for line in shown.splitlines()[1:]
             if "pibench " in line]  # fmt: skip
    promised = [*(one["command"] for one in answer["fits_with"]), answer["prove"]]
    assert found == [shlex.split(command) for command in promised]


def test_a_name_is_broken_after_a_mark_and_only_where_it_must_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table(
        columns=[Column(heading="Network", fold=True), Column(heading="Peak", numeric=True)],
        rows=[["ResNext101_32x4d-floor", "1,081"], ["a net of b/c/deploy.prototxt", "7"]],
    )
    console(width=24).print(table)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert lines == [
        ["ResNext101_32x4d-", "1081"], ["floor"], ["a", "net", "of", "7"], ["b/c/deploy."],
        ["prototxt"],
    ]  # fmt: skip


def test_the_images_are_listed_within_a_terminal(pibench: Pibench) -> None:
    from pibench.images import store

    store.ensure("opencv-4.14.0.94-amd64", "ab" * 32, "cd" * 32, lambda _, __: None)
    lines = pibench("image", "list").out.splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= NARROW
    assert json.loads(pibench("image", "list", "--json").out)[0]["created"][:10] in lines[1]
