"""What probe and counter print, and counts as they are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pibench import counting
from pibench.counting import Counts, LayerCounts, NetworkCounts, parse
from pibench.errors import HostError
from pibench.scoreboard.core import load_core

if TYPE_CHECKING:
    from pathlib import Path

ONE = Counts(
    mac_instructions=1,
    simd_instructions=2,
    load_instructions=3,
    store_instructions=4,
    branch_instructions=5,
    other_instructions=6,
    macs=4,
    bytes_loaded=48,
    bytes_stored=64,
    l1_misses=2,
    l2_misses=1,
)
NETWORK = NetworkCounts(
    network="small",
    network_sha256="a" * 64,
    image_key="b" * 64,
    qemu_version="7.2",
    layers=(
        LayerCounts(name="conv", type="Convolution", counts=ONE),
        LayerCounts(name="relu", type="ReLU", counts=replace(ONE, macs=0)),
    ),
)


def counter_output(*, marks: tuple[int, ...] = (-1, 0, 1), threads: int = 1) -> str:
    layers = [{"name": layer.name, "type": layer.type} for layer in NETWORK.layers]
    counted = {name: figure for name, figure in vars(ONE).items() if figure is not None}
    lines = ["Caffe says something", "PIBENCH-RESULT " + json.dumps({"layers": layers})]
    lines += ["PIBENCH-COUNT " + json.dumps({"mark": mark, **counted}) for mark in marks]
    summary: dict[str, Any] = {"threads": threads, "blocks": 7, "full": False}
    return "\n".join([*lines, "PIBENCH-COUNT " + json.dumps(summary)])


def test_layers_get_the_stretch_of_their_mark() -> None:
    first, second = parse(counter_output())
    assert (first.name, second.name) == ("conv", "relu")
    assert first.counts == second.counts == ONE


def test_layers_get_the_cycles_of_their_blocks() -> None:
    pytest.importorskip("capstone")
    lines = [
        {"mark": 0, "runs": [[0, 0], [4, 100]]},
        {"mark": 1, "runs": [[0, 0]]},
        # Words as QEMU's plugin prints them: cmp x22, #8; b.hi
        {"block": 4, "address": 4096, "words": "f10022df54001768"},
    ]
    blocks = "".join(f"\nPIBENCH-BLOCK {json.dumps(line)}" for line in lines)
    core = load_core("cortex-a53")
    first, second = parse(counter_output() + blocks, core)
    assert (first.counts.issue_cycles, second.counts.issue_cycles) == (200, 0)
    assert replace(first.counts, issue_cycles=None) == ONE
    with pytest.raises(HostError, match="no blocks of some layers"):
        parse(counter_output(), core)


def test_counts_add_up() -> None:
    assert ONE.instructions == 21
    assert NETWORK.total.instructions == 42
    assert NETWORK.total.macs == 4
    assert NETWORK.total.l2_misses == 2


def test_without_the_cache_model_there_are_no_misses() -> None:
    bare = replace(ONE, l1_misses=None, l2_misses=None)
    assert (bare + ONE).l1_misses is None


def test_a_run_that_is_not_whole_is_refused() -> None:
    with pytest.raises(HostError, match="before all counts were written"):
        parse(counter_output(marks=(-1, 0)))
    with pytest.raises(HostError, match="before all counts were written"):
        parse("")


def test_counts_of_several_threads_are_refused() -> None:
    with pytest.raises(HostError, match="2 threads ran"):
        parse(counter_output(threads=2))


def test_counts_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path))
    made = []

    def count() -> NetworkCounts:
        made.append(1)
        return NETWORK

    assert counting.stored({"network": "a"}, count) == NETWORK
    assert counting.stored({"network": "a"}, count) == NETWORK
    assert counting.stored({"network": "b"}, count) == NETWORK
    assert len(made) == 2


def test_damaged_counts_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path))
    counting.stored({}, lambda: NETWORK)
    (path,) = (tmp_path / "counts").iterdir()
    for text in ("", "[]", '{"layers": []}'):
        path.write_text(text)
        assert counting.stored({}, lambda: NETWORK) == NETWORK
