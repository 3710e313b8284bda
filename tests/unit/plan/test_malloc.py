"""The heap's rules: thresholds, the top, the bins, and which pages become resident."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pibench.plan.malloc import PAGE_BYTES, Heap

MIB = 2**20


def test_a_large_block_that_is_only_read_uses_one_page() -> None:
    heap = Heap()
    block = heap.calloc(10 * MIB)
    assert block.start == -1
    assert heap.resident_bytes == PAGE_BYTES
    heap.write(block)
    assert heap.resident_bytes == 10 * MIB + PAGE_BYTES


def test_freeing_a_mapped_block_moves_the_threshold_up_to_32_mib() -> None:
    heap = Heap()
    heap.free(heap.malloc(MIB))
    assert heap.threshold_bytes == MIB + PAGE_BYTES
    assert heap.malloc(MIB // 2).start >= 0
    heap.free(heap.malloc(33 * MIB))
    assert heap.threshold_bytes == MIB + PAGE_BYTES


def test_zeroed_memory_is_resident_at_once_where_the_heap_had_it_before() -> None:
    heap = Heap()
    fresh = heap.calloc(100_000)
    assert not fresh.is_written
    assert heap.calloc(100_000).is_written
    assert 100_000 <= heap.resident_bytes < 120_000


def test_freed_memory_is_used_again() -> None:
    heap = Heap()
    first = heap.calloc(50_000)
    heap.write(first)
    heap.calloc(16)
    heap.free(first)
    before = heap.resident_bytes
    assert heap.calloc(40_000).start == first.start
    assert heap.resident_bytes == before


def test_a_large_free_top_goes_back_to_the_kernel() -> None:
    heap = Heap()
    blocks = [heap.calloc(100_000) for _ in range(20)]
    for block in reversed(blocks):
        heap.free(block)
    assert heap.resident_bytes <= 3 * 131_072


def test_the_start_that_is_written_is_all_that_is_resident() -> None:
    heap = Heap()
    block = heap.malloc(MIB)
    heap.write_start(block, 8192)
    assert heap.resident_bytes == 3 * PAGE_BYTES


def test_the_short_way_through_malloc_and_free_changes_nothing() -> None:
    short, long = Heap(), Heap()
    for heap in (short, long):
        heap.free(heap.malloc(600_000))
        heap.calloc(300_000)
        heap.free(heap.calloc(700_000))
    short.pass_through(524_288, 16_384)
    block = long.malloc(524_288)
    long.write_start(block, 16_384)
    long.free(block)
    assert short.resident_bytes == long.resident_bytes
    assert short.calloc(200_000).start == long.calloc(200_000).start


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_counted_pages_always_add_up(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    heap, live = Heap(), []
    for _ in range(80):
        if live and chance.random() < 0.4:
            heap.free(live.pop(chance.randrange(len(live))))
        else:
            live.append(heap.calloc(int(10 ** chance.uniform(1, 6.5))))
            if chance.random() < 0.7:
                heap.write(live[-1])
        mapped = sum(block.resident_bytes for block in live if block.start < 0)
        assert heap.resident_bytes == mapped + heap.pages.count(1) * PAGE_BYTES
        starts = sorted((b.start, b.start + b.chunk_bytes) for b in live if b.start >= 0)
        assert all(end <= start for (_, end), (start, _) in pairwise(starts))
    for block in live:
        heap.free(block)
    assert heap.top == 0
