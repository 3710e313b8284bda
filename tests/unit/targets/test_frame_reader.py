"""Frames out of a torn, mixed-up stream: those that are whole, and no others."""

from __future__ import annotations

import io
import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pibench.probe import log as probe_log
from pibench.targets.probe_session import FrameReader

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
# Deeper values are more text of the same line, and take most of the time to draw.
JSON = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(), PLAIN, max_size=3)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["baseline", "start", "alive", "blob", "end"]),
        st.dictionaries(st.sampled_from(["id", "machine", "result"]), JSON),
    ),
    min_size=1,
    max_size=4,
)
KERNEL = st.sampled_from(
    [
        b"",
        b"[   12.3] EXT4-fs error (device vda)",
        b"PIBENCH 00000000 {}",
        b'PIBENCH zzzzzzzz {"event": "end"}',
        b'{"event": "end"}',
        b"\xff\xfe\x00 PIBENCH",
    ]
)


def sent(events: list[tuple[str, dict[str, Any]]]) -> list[bytes]:
    """Each event as the probe itself writes it."""
    written = []
    for name, fields in events:
        stream = io.BytesIO()
        probe_log.Frames(stream).send(name, **fields)
        written.append(stream.getvalue())
    return written


def expected(events: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"event": name, **fields} for name, fields in events]


def read(content: bytes, cuts: list[int] | None = None) -> list[dict[str, Any]]:
    reader = FrameReader()
    edges = [0, *sorted(cut % (len(content) + 1) for cut in cuts or []), len(content)]
    return [
        event
        for begin, end in itertools.pairwise(edges)
        for event in reader.feed(content[begin:end])
    ]


@given(EVENTS, st.lists(st.integers(min_value=0), max_size=30))
def test_frames_survive_any_chunking(
    events: list[tuple[str, dict[str, Any]]], cuts: list[int]
) -> None:
    assert read(b"".join(sent(events)), cuts) == expected(events)


@given(EVENTS, st.lists(KERNEL, min_size=5, max_size=5), st.booleans())
def test_lines_of_others_between_frames_do_no_harm(
    events: list[tuple[str, dict[str, Any]]], lines: list[bytes], carriage_return: bool
) -> None:
    # What the kernel leaves unfinished in front of a frame is ended by the frame's own newline.
    content = (
        b"".join(line + frame for line, frame in zip(lines, sent(events), strict=False)) + lines[-1]
    )
    if carriage_return:
        content = content.replace(b"\n", b"\r\n")
    assert read(content) == expected(events)


@given(EVENTS, st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_corrupted_byte_is_never_believed(
    events: list[tuple[str, dict[str, Any]]], place: int, change: int
) -> None:
    content = bytearray(b"".join(sent(events)))
    content[place % len(content)] ^= change
    found = read(bytes(content))
    # Frames may be missing, two where the newline between them was hit; none is made up.
    whole = expected(events)
    assert len(found) >= len(whole) - 2
    remaining = iter(whole)
    assert all(event in remaining for event in found)


@given(EVENTS, st.integers(min_value=0), st.integers(min_value=1, max_value=40))
def test_lost_bytes_are_noticed(
    events: list[tuple[str, dict[str, Any]]], place: int, count: int
) -> None:
    content = b"".join(sent(events))
    place %= len(content)
    found = read(content[:place] + content[place + count :])
    remaining = iter(expected(events))
    assert all(event in remaining for event in found)


@given(st.binary(max_size=400))
def test_garbage_is_not_an_event(garbage: bytes) -> None:
    assert read(garbage + b"\n") == []


def test_json_that_is_not_an_event_is_passed_over() -> None:
    nested = b'{"event": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for text in (b"[1, 2]", b'{"id": "1"}', b'"event"', b"{}}", b'{"event": \xff}', nested):
        crc = probe_log.zlib.crc32(text)
        assert read(b"PIBENCH %08x %s\n" % (crc, text)) == []


def test_the_kernels_words_about_kills_are_kept() -> None:
    reader = FrameReader()
    (frame,) = sent([("start", {"id": "1"})])
    line = b"Out of memory: Killed process 301 (caffe) total-vm:1500000kB, anon-rss:900000kB"
    stream = b"[  301.2] oom_reaper: reaped\r\n[  301.3] " + line + b"\r" + frame + b"[1.0] fine\n"
    assert list(reader.feed(stream)) == [{"event": "start", "id": "1"}]
    assert reader.oom_lines == [line.decode()]
    assert reader.last_words(1) == "[1.0] fine"


def test_last_words_are_few_however_much_was_printed() -> None:
    reader = FrameReader()
    list(reader.feed(b"".join(b"line %d\n" % number for number in range(1000))))
    assert reader.last_words() == "line 997 | line 998 | line 999"
    assert len(reader.other_lines) < 100
    list(reader.feed(b"y" * 100_000 + b"\n"))
    assert len(reader.last_words(1)) < 5000


def test_a_line_without_an_end_takes_no_memory() -> None:
    reader = FrameReader(max_line_bytes=1000)
    for _ in range(102):
        assert list(reader.feed(b"x" * 300)) == []
    # Of 30,600 bytes the last are left.
    assert list(reader.feed(b"\n")) == []
    assert reader.last_words() == "x" * 600
    (frame,) = sent([("end", {})])
    assert list(reader.feed(frame)) == [{"event": "end"}]


def test_figures_that_cannot_be_are_not_believed(probe_result: dict[str, Any]) -> None:
    for event in ("result", "calibration", "hello"):
        (frame,) = sent([(event, {"id": "1"})])
        assert read(frame) == []
    (frame,) = sent([("result", {"id": "1", "result": probe_result})])
    assert len(read(frame)) == 1
    for impossible in (
        {"peak_rss_bytes": -14_700_544},
        {"peak_rss_bytes": 1 << 62},
        {"elapsed_ms": -1.0},
        {"swap_used_bytes": None},
        {"signal": -9},
        {"exit_status": "0"},
        {"cgroup_oom_kills": -1},
    ):
        reader = FrameReader()
        (frame,) = sent([("result", {"id": "1", "result": probe_result | impossible})])
        assert list(reader.feed(frame)) == []
        (name,) = impossible
        assert reader.last_words().startswith(f"the probe reported a result that cannot be: {name}")
