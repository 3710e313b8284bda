"""Whole blobs out of pieces: only what is whole and right is handed out."""

from __future__ import annotations

import hashlib
import io
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pibench.probe import log as probe_log
from pibench.probe import values
from pibench.targets.probe_session import BlobCollector


def pieces(data: np.ndarray, layer: str = "conv1", index: int = 3) -> list[dict[str, Any]]:
    """What the probe hears of a kept blob, through the same lines as in a run."""
    described = {
        "index": index, "layer": layer, "name": f"{layer}-top", "shape": list(data.shape),
        "sha256": hashlib.sha256(data.tobytes()).hexdigest(),
    }  # fmt: skip
    output, events = io.StringIO(), []
    with redirect_stdout(output):
        values.print_blob(described, data)
    probe_log.LogReader(events.append).feed(output.getvalue().encode())
    return events


@given(st.integers(0, 200_000), st.integers(0, 2**32 - 1))
def test_a_blob_comes_out_as_it_went_in(size: int, seed: int) -> None:
    data = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    collector = BlobCollector()
    for piece in pieces(data):
        collector.add(piece)
    (blob,) = collector.take_all()
    assert blob.content == data.tobytes()
    assert (blob.layer, blob.name, blob.shape, blob.index) == ("conv1", "conv1-top", (size,), 3)
    assert collector.take_all() == ()


def test_a_blob_of_several_pieces_without_one_is_none() -> None:
    data = np.arange(300_000, dtype=np.float32)
    whole = pieces(data)
    assert len(whole) > 3
    for lost in range(len(whole)):
        collector = BlobCollector()
        for number, piece in enumerate(whole):
            if number != lost:
                collector.add(piece)
        assert collector.take_all() == ()


def test_a_blob_with_a_shape_that_its_values_do_not_fill_is_none() -> None:
    (piece,) = pieces(np.arange(6, dtype=np.float32))
    for shape, blobs in (([2, 3], 1), ([2, 2], 0), ([], 0)):
        collector = BlobCollector()
        collector.add({**piece, "shape": shape})
        assert len(collector.take_all()) == blobs


def test_a_run_that_is_tried_again_starts_from_the_beginning() -> None:
    data = np.arange(200_000, dtype=np.float32)
    collector = BlobCollector()
    collector.add(pieces(data)[0])
    for piece in pieces(data):
        collector.add(piece)
    assert [blob.content for blob in collector.take_all()] == [data.tobytes()]


def test_blobs_come_in_the_order_of_their_layers() -> None:
    collector = BlobCollector()
    for index in (5, 1, 3):
        for piece in pieces(np.full(4, index, dtype=np.float32), f"layer{index}", index):
            collector.add(piece)
    assert [blob.index for blob in collector.take_all()] == [1, 3, 5]


@pytest.mark.parametrize(
    "piece",
    [
        None, 3, [], {}, {"data": "AAAA"}, {"data": 7, "index": 0, "name": "x", "offset": 0},
        {"data": "!", "index": 0, "name": "x", "offset": 0},
        {"data": "AAAA", "index": "a", "name": "x", "offset": 0},
        {"data": "AAAA", "index": 0, "name": "x", "offset": 0, "sha256": "no"},
    ],
)  # fmt: skip
def test_an_invalid_piece_of_a_blob_does_no_harm(piece: object) -> None:
    collector = BlobCollector()
    collector.add(piece)
    assert collector.take_all() == ()


def test_no_more_is_kept_than_there_is_room_for() -> None:
    collector = BlobCollector(largest_bytes=1000)
    for index, size in ((0, 100), (1, 500)):
        for piece in pieces(np.zeros(size, dtype=np.float32), f"layer{index}", index):
            collector.add(piece)
    assert [blob.layer for blob in collector.take_all()] == ["layer0"]


def test_signatures_are_kept_and_a_flood_of_them_is_not() -> None:
    log = probe_log.LogReader()
    log.feed(b'PIBENCH-SIGNATURE {"a": 1}\nPIBENCH-SIGNATURE {"b": \n')
    # A child is not trusted to write JSON.
    assert log.reported["signatures"] == [{"a": 1}]
    log = probe_log.LogReader(max_report_bytes=100)
    for _ in range(50):
        log.feed(b'PIBENCH-SIGNATURE {"a": 1}\n')
    assert len(log.reported["signatures"]) == 3
    assert log.tail == []


def test_values_are_put_together_behind_their_output() -> None:
    log = probe_log.LogReader()
    log.feed(b'PIBENCH-VALUES "lost"\nPIBENCH-OUTPUT {"name": "a", "values": ""}\n')
    log.feed(b'PIBENCH-VALUES "AAAA"\nPIBENCH-VALUES "BBBB"\nPIBENCH-VALUES 3\n')
    log.feed(b'PIBENCH-OUTPUT {"name": "b", "values": null}\nPIBENCH-VALUES "CCCC"\n')
    assert log.reported["outputs"] == [
        {"name": "a", "values": "AAAABBBB"}, {"name": "b", "values": None},
    ]  # fmt: skip


def test_a_piece_fits_a_line() -> None:
    (line, *_) = pieces(np.zeros(100_000, dtype=np.float32))
    assert len(str(line)) < probe_log.MAX_LINE_BYTES
