"""Files that users hand in: what is read, what is refused, and that nothing waits for ever."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pibench import file_io
from pibench.errors import InvalidInputError

LARGEST = file_io.LARGEST


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InvalidInputError) as refused:
        file_io.read_input(path, **options)
    return refused.value.line()


def json_refusal(text: bytes | str) -> str:
    with pytest.raises(InvalidInputError) as refused:
        file_io.json_of(text, "f.json", "line 3", hint="fix it")
    line = refused.value.line()
    assert line.startswith("f.json: line 3: ")
    assert line.endswith("; fix it")
    return line


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * (2 << 20))
    assert len(file_io.read_input(path, most_bytes=2 << 20)) == 2 << 20
    path.write_bytes(b"x" * ((2 << 20) + 1))
    assert "exceeds the limit of 2 MiB; shorten it" in refusal(
        path, most_bytes=2 << 20, hint="shorten it"
    )


def test_what_is_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is a named pipe" in refusal(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    assert "is a named pipe" in refusal(tmp_path / "link")
    assert "is not a regular file" in refusal(Path("/dev/zero"))
    assert "is a directory" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "none")
    assert "File name too long" in refusal(tmp_path / ("n" * 300))


def test_what_the_shell_connects_is_waited_for() -> None:
    reading, writing = os.pipe()

    def write() -> None:
        for part in (b"a", b"b" * (1 << 20), b"c"):
            os.write(writing, part)
        os.close(writing)

    thread = threading.Timer(0.1, write)
    thread.start()
    try:
        found = file_io.read_input(Path(f"/dev/fd/{reading}"))
        assert (found[:1], found[-1:], len(found)) == (b"a", b"c", (1 << 20) + 2)
    finally:
        thread.join()
        os.close(reading)


def test_a_pipe_without_an_end_is_left_at_the_bound() -> None:
    with subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE) as endless:
        assert endless.stdout is not None
        path = Path(f"/dev/fd/{endless.stdout.fileno()}")
        assert "exceeds the limit of" in refusal(path, most_bytes=1 << 20)
        endless.kill()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "recursion limit"),
        ("1" * 5000, "out of range"),
        (f'{{"a": [0, {10**400}]}}', "a.1: "),
        ('{"a": {"b": NaN}}', "a.b: "),
        ("[-Infinity]", "0: "),
        ("1e400", "infinite"),
        (str(2**63), "beyond 64 bits"),
        ("", "not valid JSON"),
        ("{} {}", "not valid JSON"),
        ("{'a': 1}", "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
    ],
)
def test_json_that_pibench_cannot_read(text: bytes | str, message: str) -> None:
    assert message in json_refusal(text)


values = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(-LARGEST, LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip
bad_numbers = st.sampled_from([math.nan, math.inf, -math.inf, 2**63, -(2**63), 10**400])


@given(value=values)
def test_json_comes_back_as_the_standard_library_reads_it(value: Any) -> None:
    text = json.dumps(value)
    assert file_io.json_of(text, "f.json", None, hint="") == json.loads(text)


@given(value=values, bad=bad_numbers, keys=st.lists(st.text() | st.none(), max_size=4))
def test_no_bad_number_gets_through_anywhere(value: Any, bad: float, keys: list[Any]) -> None:
    for key in keys:
        bad = [value, bad] if key is None else {"before": value, key: bad}  # type: ignore[assignment]
    assert "beyond 64 bits" in json_refusal(json.dumps(bad))


@given(text=st.binary(max_size=60) | st.text(alphabet='[]{}",:0123456789eE+-.truefalsn\\u '))
def test_any_input_is_read_or_refused(text: bytes | str) -> None:
    with contextlib.suppress(InvalidInputError):
        file_io.json_of(text, "f.json", None, hint="fix it")
