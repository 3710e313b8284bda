"""The counter's model of the core's data caches, traced access by access."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from pibench.settings import asset

TRACER = """
#include <stdio.h>
#include "cache.h"

int main(void)
{
    char kind;
    unsigned long long address;
    unsigned bytes;
    while (scanf(" %c %llu %u", &kind, &address, &bytes) == 3) {
        unsigned long long l1 = l1_misses, l2 = l2_misses;
        if (kind == 'l')
            load_from(address);
        else
            store_to(address, bytes);
        printf("%llu %llu\\n", l1_misses - l1, l2_misses - l2);
    }
    return 0;
}
"""
LINE = 64
L1_LINES = 512
L2_LINES = 8192

Access = tuple[str, int, int]
Misses = list[tuple[bool, bool]]
Trace = Callable[[Iterable[Access]], Misses]

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="no compiler")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Whether each access of a fresh cache missed L1, and L2."""
    folder = tmp_path_factory.mktemp("cache")
    source, program = folder / "trace.c", folder / "trace"
    source.write_text(TRACER)
    subprocess.run(
        ["gcc", "-std=c11", "-O1", "-Wall", "-Werror", f"-I{Path(asset('qemu/counter'))}",
         "-o", str(program), str(source)],
        check=True,
    )  # fmt: skip

    def run(accesses: Iterable[Access]) -> Misses:
        given = "".join(f"{kind} {address} {size}\n" for kind, address, size in accesses)
        output = subprocess.run(
            [str(program)], input=given, capture_output=True, text=True, check=True
        )
        pairs = (line.split() for line in output.stdout.splitlines())
        return [(first == "1", second == "1") for first, second in pairs]

    return run


def loads(lines: Iterable[int]) -> list[Access]:
    return [("l", line * LINE, 16) for line in lines]


def stores(lines: Iterable[int], parts: int = 4) -> Iterator[Access]:
    """16 bytes at a time; four are a whole line."""
    for line in lines:
        for part in range(parts):
            yield "s", line * LINE + 16 * part, 16


def test_each_line_is_missed_once_where_it_has_room(trace: Trace) -> None:
    found = trace(loads(list(range(L1_LINES)) * 2))
    assert found == [(True, True)] * L1_LINES + [(False, False)] * L1_LINES


def test_l1_has_four_ways(trace: Trace) -> None:
    spaced = [way * 128 for way in range(5)]
    assert trace(loads(spaced[:4] * 2))[4:] == [(False, False)] * 4
    # The one used longest ago went; L2 has it.
    assert trace(loads(spaced * 2))[5:] == [(True, False)] * 5


@pytest.mark.parametrize("distance", [1, 64, 576])
def test_l2_stores_as_many_lines_at_any_distance(trace: Trace, distance: int) -> None:
    full = [distance * index for index in range(L2_LINES)]
    again = trace(loads(full * 2))[L2_LINES:]
    assert not any(second for _, second in again)
    over = [distance * index for index in range(L2_LINES + 1)]
    assert all(second for _, second in trace(loads(over * 2)))


def test_l2_loses_what_was_used_longest_ago(trace: Trace) -> None:
    generator = random.Random(1)  # noqa: S311  (no secret)
    lines = [generator.randrange(12_000) for _ in range(60_000)]
    kept: OrderedDict[int, None] = OrderedDict()
    for line, (l1_missed, l2_missed) in zip(lines, trace(loads(lines)), strict=True):
        if not l1_missed:
            continue
        assert l2_missed == (line not in kept)
        kept[line] = None
        kept.move_to_end(line)
        if len(kept) > L2_LINES:
            kept.popitem(last=False)


def test_whole_lines_in_a_row_are_written_past_the_caches(trace: Trace) -> None:
    written = list(stores(range(100, 140)))
    found = trace([*written, *loads(range(100, 140))])
    # Lines are missed once each, at their first store.
    assert [first for first, _ in found[: len(written)]] == [True, False, False, False] * 40
    read = found[len(written) :]
    assert read[:3] == [(False, False)] * 3
    assert read[3:15] == [(True, False)] * 12
    assert read[15:] == [(True, True)] * 25


def test_lines_that_are_written_in_part_are_kept(trace: Trace) -> None:
    written = list(stores(range(100, 140), parts=3))
    assert trace([*written, *loads(range(100, 140))])[len(written) :] == [(False, False)] * 40


def test_reading_the_line_that_is_written_ends_the_row(trace: Trace) -> None:
    accesses: list[Access] = []
    for line in range(100, 140):
        accesses += [*stores([line]), *loads([line])]
    found = trace([*accesses, *loads(range(100, 140))])
    assert found[len(accesses) :] == [(False, False)] * 40


def test_writing_finds_what_is_there(trace: Trace) -> None:
    found = trace([*loads(range(20)), *stores(range(20))])
    assert found[20:] == [(False, False)] * 80
