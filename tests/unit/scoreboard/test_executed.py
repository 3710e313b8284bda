"""Cycles of blocks as QEMU ran them: real code of Debian 11's libcaffe."""

from __future__ import annotations

import pytest

from pibench.scoreboard.core import load_core

pytest.importorskip("capstone")

from pibench.scoreboard import executed
from pibench.scoreboard.decode import decode
from pibench.scoreboard.executed import Block, cycles_of, stretches
from pibench.scoreboard.pipeline import cycles

CORE = load_core("cortex-a53")
# An element of a pooling's window, which ends with a branch to a new largest one; the step to the
# next element, back to the first block; the step to the next row of the window.
AT = 0x54FCDB74F8
ELEMENT = Block(AT, bytes.fromhex("80fa42b9410040bd8004001b60da60bc3020201e04160054"))
STEP = Block(AT + 24, bytes.fromhex("210400117f00016b01ffff54"))
ROW = Block(AT + 36, bytes.fromhex("840400119f000b6be1fdff54"))
RELU = Block(
    0x54FCDC9E00,
    bytes.fromhex(
        "616ae13c22c8a04e20e8a04e221c624e201c604e60cc224e0068a13c214000913f0002ebe1feff54"
    ),
)


def alone(*blocks: Block) -> float:
    """Return the cycles of a stretch that repeats itself."""
    code = b"".join(block.code for block in blocks)
    return cycles([*decode(code, "arm64")], CORE)


def test_a_block_that_repeats_itself_takes_what_its_loop_takes() -> None:
    # Four numbers in 22 cycles: the 5.5 that loops.toml has for a ReLU with its accesses.
    assert cycles_of({0: RELU}, {7: {0: 1000}}, CORE) == {7: 1000 * 22.0}
    assert alone(RELU) == 22


def test_blocks_that_follow_each_other_as_often_are_one_stretch() -> None:
    assert stretches({ELEMENT: 900, STEP: 900, ROW: 300}) == {
        ELEMENT.code + STEP.code: 900,
        ROW.code: 300,
    }
    # Where an element is a new largest one its step runs, but not from here.
    assert stretches({ELEMENT: 600, STEP: 900}) == {ELEMENT.code: 600, STEP.code: 900}
    assert alone(ELEMENT, STEP) <= alone(ELEMENT) + alone(STEP)


def test_layers_have_the_cycles_of_their_own_runs() -> None:
    blocks = {0: ELEMENT, 1: STEP, 2: RELU, 3: ELEMENT}
    runs = {0: {0: 500, 1: 900, 3: 400}, 1: {2: 10, 0: 0}, 2: {}}
    found = cycles_of(blocks, runs, CORE)
    # QEMU translated a block twice: it ran 900 times.
    assert found == {0: 900 * alone(ELEMENT, STEP), 1: 10 * 22.0, 2: 0}


def test_what_hardly_ran_counts_as_slow_as_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    monkeypatch.setattr(
        executed, "cycles", lambda loop, core: decoded.append(len(loop)) or cycles(loop, core)
    )
    found = cycles_of({0: RELU, 1: ROW}, {0: {0: 100_000, 1: 3}}, CORE)
    assert decoded == [10]
    assert found[0] == pytest.approx(100_000 * 22 + 3 * 3 * 2.2)


def test_what_returns_or_ends_without_a_branch_goes_on_nowhere_or_behind_it() -> None:
    returns = Block(0x1000, bytes.fromhex("c0035fd6"))  # ret
    behind = Block(0x1004, bytes.fromhex("1f2003d5"))  # nop, at the end of a page
    last = Block(0x1008, bytes.fromhex("00000014"))  # b .
    assert stretches({returns: 5, behind: 5, last: 5}) == {
        returns.code: 5,
        behind.code + last.code: 5,
    }
    # Two blocks that branch to each other are joined once.
    there = Block(0x2000, bytes.fromhex("02000014"))  # b 0x2008
    back = Block(0x2008, bytes.fromhex("feffff17"))  # b 0x2000
    assert sum(stretches({there: 5, back: 5}).values()) == 5
