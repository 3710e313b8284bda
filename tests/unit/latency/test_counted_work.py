"""Counts in the place of shapes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pibench.counting import Counts, LayerCounts, NetworkCounts
from pibench.errors import HostError
from pibench.latency import work
from pibench.latency.work import LayerWork, counted_work

COUNTS = Counts(
    mac_instructions=30, simd_instructions=0, load_instructions=0, store_instructions=0,
    branch_instructions=0, other_instructions=60, macs=105, bytes_loaded=0, bytes_stored=0,
    l1_misses=5, l2_misses=2,
)  # fmt: skip
CONV = LayerWork(
    name="conv", type="Convolution", macs=100, tile_macs=120, accesses=7.0, calls=2, moved_bytes=8
)
RELU = LayerWork(
    name="relu", type="ReLU", macs=0, tile_macs=0, accesses=9.0, calls=1, moved_bytes=8
)


def counts_of(*names: str, counts: Counts = COUNTS) -> NetworkCounts:
    layers = tuple(LayerCounts(name=name, type="any", counts=counts) for name in names)
    return NetworkCounts(
        network="small", network_sha256="", image_key="", qemu_version="", layers=layers
    )


def test_products_keep_their_tiles_and_move_what_l2_missed() -> None:
    (one,) = counted_work([CONV], counts_of("conv"))
    assert one.tile_macs == 105 + 20
    assert one.accesses == 16 * 2


def test_other_layers_move_what_l1_missed_and_take_their_instructions() -> None:
    (one,) = counted_work([RELU], counts_of("relu"))
    assert one.tile_macs == 0
    assert one.accesses == pytest.approx(16 * 5 + 90 / work.cost_model().instructions_per_access)


def test_the_boards_powf_takes_the_place_of_the_counted_one() -> None:
    steps = work.cost_model()
    powers = replace(RELU, pows=10)
    executed = int(90 + 10 * steps.pow_instructions)
    counts = replace(COUNTS, other_instructions=executed - COUNTS.mac_instructions)
    (one,) = counted_work([powers], counts_of("relu", counts=counts))
    assert one.accesses == pytest.approx(
        16 * 5 + 90 / steps.instructions_per_access + 10 * steps.pow
    )
    # Counts of fewer instructions than that do not make the time negative.
    (few,) = counted_work([powers], counts_of("relu"))
    assert few.accesses == pytest.approx(16 * 5 + 10 * steps.pow)


def test_layers_without_work_stay_without() -> None:
    idle = replace(RELU, calls=0, accesses=0.0)
    assert counted_work([idle], counts_of("relu")) == [idle]


def test_counts_of_another_network_are_refused() -> None:
    with pytest.raises(HostError, match="do not match"):
        counted_work([CONV, RELU], counts_of("conv"))


def test_counts_without_misses_are_refused() -> None:
    bare = replace(COUNTS, l1_misses=None, l2_misses=None)
    with pytest.raises(HostError, match="without the cache model"):
        counted_work([CONV], counts_of("conv", counts=bare))
