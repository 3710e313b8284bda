"""README, the Start page and the first model: what they show of commands that run nothing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scripts import page_commands
from tests.unit.cli.conftest import Pibench

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("README.md", "docs/index.md", "docs/first-model.md")
_FIRST = re.compile(r"pibench (check|plan|networks) ")


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_shows_is_what_is_printed(name: str, pibench: Pibench, tmp_path: Path) -> None:
    # With the runs, and from a wheel: tests/emulation/test_pages.py.
    page = (ROOT / name).read_text()
    page_commands.write_files(page, tmp_path)
    compared = 0
    for command in page_commands.commands(page):
        line = command.line.split(" #")[0]
        if command.not_run or not _FIRST.match(line) or "my/" in line or "|" in line:
            continue
        done = pibench(*shlex.split(line)[1:], code=command.code)
        assert not command.differs(done.err + done.out), f"{line} prints\n{done.err}{done.out}"
        compared += command.shown is not None
    assert compared >= 1


def test_the_start_page_is_not_the_readme() -> None:
    readme, start = (
        {
            " ".join(sentence.split())
            for sentence in re.split(r"[.:?]\s", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
            if len(sentence.split()) > 5
        }
        for text in ((ROOT / name).read_text() for name in PAGES[:2])
    )
    assert start
    assert not readme & start


def test_reasons_not_to_run_a_command_are_needed() -> None:
    lines = "\n".join((ROOT / name).read_text() for name in PAGES)
    assert all(part in lines for part in page_commands.NOT_RUN)


def test_commands_of_a_page_are_found() -> None:
    page = (
        "# Page\n\n```console\n$ first    # exit code 2: bad\n$ second\npi$ third\n```\n\n"
        "<!-- numbers vary -->\n```text\nmade in 12.5 s\n```\n\n```console\n$ make x\n```\n"
    )
    first, second, made = page_commands.commands(page)
    assert (first.line, first.code, first.shown) == ("first    # exit code 2: bad", 2, None)
    assert not second.differs("made in 1,300 s\n")
    assert second.differs("made of 1,300 s\n")
    assert not second.not_run
    assert made.not_run
