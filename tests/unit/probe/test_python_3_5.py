"""What runs on a board is Python 3.5: read by a parser of that grammar, its calls looked up too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import parso
import pytest

import pibench

FOLDER = Path(pibench.__file__).parent / "probe"
SOURCES = sorted(FOLDER.rglob("*.py"))
GRAMMAR: Any = parso.load_grammar(version="3.5")


def complaints(source: str) -> list[str]:
    """Return what Python 3.5 would report about the source, with places."""
    found = GRAMMAR.iter_errors(GRAMMAR.parse(source))
    return [f"line {one.start_pos[0]}: {one.message}" for one in found]


def newer_calls(path: Path) -> str:
    """What of a file or folder is newer than Python 3.5 in vermin's tables of calls."""
    vermin = [sys.executable, "-c", "import vermin; vermin.main()"]
    checked = subprocess.run(
        [*vermin, "--no-tips", "-t=3.5-", "--violations", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_parser_of_python_3_5_reads_it(path: Path) -> None:
    assert complaints(path.read_text(encoding="utf-8")) == []


def test_no_call_is_newer_than_python_3_5() -> None:
    assert newer_calls(FOLDER) == ""


@pytest.mark.parametrize(
    "newer",
    [
        "f'{1}'",
        "x: int = 1",
        "1_000",
        "(y := 1)",
        "def f(a, /): pass",
        "def f(*a,): pass",
        "def f(**a,): pass",
        "async def f(): [x async for x in y]",
        "async def f(): yield 1",
        "with (a as b, c as d): pass",
        "match x:\n    case 1: pass",
        "def f(): return *a, b",
        "@a[0].b\ndef f(): pass",
        "from __future__ import annotations",
        "for x in y:\n    try: pass\n    finally: continue",
    ],
)
def test_the_parser_refuses_what_is_newer(newer: str) -> None:
    assert complaints(newer + "\n")


@pytest.mark.parametrize("old", ["f(*a, **b)", "{**a, **b}", "f(*a,)", "a @ b", "rb'x'"])
def test_the_parser_takes_what_python_3_5_knows(old: str) -> None:
    assert complaints(old + "\n") == []


NEWER_CALLS = (
    "import secrets",
    "import os\nos.fspath('x')",
    "import subprocess\nsubprocess.run(['x'], capture_output=True)",
    "import subprocess\nsubprocess.Popen(['x'], encoding='utf-8')",
    "import time\ntime.perf_counter_ns()",
    "import hashlib\nhashlib.blake2b()",
)


def test_calls_that_are_newer_are_found(tmp_path: Path) -> None:
    for number, newer in enumerate(NEWER_CALLS):
        (tmp_path / f"source{number}.py").write_text(newer + "\n")
    found = newer_calls(tmp_path)
    for number, newer in enumerate(NEWER_CALLS):
        assert f"source{number}.py" in found, newer
