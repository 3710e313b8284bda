"""Loops whose cycles were measured on a Raspberry Pi 3, and what issues together."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Literal

import pytest

from pibench.errors import InvalidInputError
from pibench.scoreboard.core import load_core
from pibench.scoreboard.instruction import Instruction
from pibench.scoreboard.loops import accumulators, inner_loops, save
from pibench.scoreboard.pipeline import cycles

CORE = load_core("cortex-a53")


def mac(accumulator: int, *, lanes: int = 4) -> Instruction:
    """A multiply-accumulate with factors of its own."""
    return Instruction(
        text="fmla", unit="fp", kind="mac", lanes=2 if lanes == 4 else 1, macs=lanes,
        reads=[(f"v{accumulator}", "accumulator"), ("v30", "factor"), ("v31", "factor")],
        writes=[(f"v{accumulator}", 0)],
    )  # fmt: skip


def load(register: int, beats: int = 1) -> Instruction:
    return Instruction(
        text="ldr", unit="memory", kind="vector_load", beats=beats, bits=64 * beats,
        alone=beats > 1, loads_vector=True, reads=[("x1", "address")],
        writes=[(f"v{register}", beats - 1)],
    )  # fmt: skip


def integer(register: int, reads: int) -> Instruction:
    return Instruction(text="add", reads=[(f"x{reads}", "alu")], writes=[(f"x{register}", 0)])


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        pytest.param([mac(0)], 4, id="one accumulator"),
        pytest.param([mac(n) for n in range(8)], 8, id="eight: one a cycle"),
        pytest.param([mac(n, lanes=1) for n in range(8)], 4, id="scalars: two a cycle"),
        pytest.param([load(0, 2), load(1, 2)], 4, id="128 bits: half a load a cycle"),
        pytest.param([load(0), load(1)], 2, id="64 bits: one load a cycle"),
        pytest.param([integer(2, 3), integer(4, 5)], 1, id="integers: two a cycle"),
        pytest.param([integer(2, 2)], 1, id="a chain of integers"),
    ],
)
def test_published_throughputs_are_met(loop: list[Instruction], expected: float) -> None:
    assert cycles(loop, CORE) == expected


def test_a_vector_load_issues_neither_beside_a_mac_nor_four_cycles_after_one() -> None:
    macs = [mac(n) for n in range(8)]
    assert cycles([*macs[:4], load(20), *macs[4:]], CORE) > 8
    beside = [integer(2, 3), *macs]
    assert cycles(beside, CORE) <= 9


def test_a_core_without_rules_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="known for: cortex-a53, cortex-a72"):
        load_core("cortex-a7")


def divide(register: int, lanes: int) -> Instruction:
    return Instruction(
        text="fdiv", unit="fp_divide", kind="fp_divide", lanes=lanes, reads=[("v31", "factor")],
        writes=[(f"v{register}", 0)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        pytest.param([mac(0)], 3, id="one accumulator"),
        pytest.param([divide(0, 1), divide(1, 1)], 16, id="divisions, one after the other"),
        pytest.param([divide(0, 2)], 32, id="four divisions of a vector"),
        pytest.param([mac(n) for n in range(8)], 8, id="eight: one a cycle"),
        pytest.param([mac(n, lanes=1) for n in range(8)], 4, id="scalars: two a cycle"),
        pytest.param([load(0, 2), load(1, 2)], 2, id="128 bits: a load a cycle"),
        pytest.param([load(0, 4)], 2, id="256 bits: a load in two cycles"),
        pytest.param([integer(2, 3), integer(4, 5)], 1, id="integers: two a cycle"),
        pytest.param([integer(2, 2)], 1, id="a chain of integers"),
        pytest.param([integer(n, 1) for n in range(2, 8)], 3, id="three enter, two pipes"),
        pytest.param([load(20, 2), *map(mac, range(4)), load(21, 2)], 4, id="loads beside macs"),
    ],
)
def test_published_throughputs_are_met_out_of_order(
    loop: list[Instruction], expected: float
) -> None:
    assert cycles(loop, load_core("cortex-a72")) == expected


def test_out_of_order_an_address_that_moves_on_waits_for_no_data() -> None:
    store = Instruction(
        text="str", unit="memory", stores=True, bits=64, reads=[("x1", "address"), ("v0", "store")],
        writes=[("x1", -1)],
    )  # fmt: skip
    divide = Instruction(
        text="fdiv", unit="fp_divide", kind="fp_divide", reads=[("v1", "factor")],
        writes=[("v0", 0)],
    )  # fmt: skip
    moved = Instruction(text="ldr", unit="memory", kind="load", bits=64,
                        reads=[("x1", "address")], writes=[("x2", 0)])  # fmt: skip
    core = load_core("cortex-a72")
    assert cycles([divide, store, moved], core) == core.throughput["fp_divide"]


Assemble = Callable[..., list[Instruction]]


@pytest.fixture
def decoded() -> Assemble:
    pytest.importorskip("capstone")
    from pibench.scoreboard.decode import decode

    def of(words: Sequence[int], mode: Literal["arm64", "armhf"] = "arm64") -> list[Instruction]:
        return list(decode(struct.pack(f"<{len(words)}I", *words), mode))

    return of


def test_a64_is_decoded(decoded: Assemble) -> None:
    fmla, ldr_q, ldp_d, ld1, fmadd, insert, branch, post, compare = decoded([
        0x4E22CC20, 0x3DC00020, 0x6D400440, 0x4C407820, 0x1F020C20, 0x4E081C20, 0x54FFFFE1,
        0x3CC10420, 0xF100043F,
    ])  # fmt: skip
    assert (fmla.macs, fmla.lanes, fmla.kind) == (4, 2, "mac")
    assert ("v0", "accumulator") in fmla.reads
    assert (ldr_q.beats, ldr_q.alone, ldr_q.loads_vector) == (2, True, True)
    assert (ldp_d.beats, ld1.beats) == (2, 2)
    assert (fmadd.macs, fmadd.lanes, fmadd.reads[0]) == (1, 1, ("v3", "accumulator"))
    assert (insert.kind, ("x1", "move") in insert.reads) == ("move", True)
    assert (branch.unit, branch.target) == ("branch", branch.address - 4)
    assert [register for register, _ in post.writes] == ["x1", "v0"]
    assert compare.writes == [("flags", 0)]


def test_a32_registers_overlap(decoded: Assemble) -> None:
    # vmla.f32 s0, s2, s3; vldmia r1!, {s4-s7}; vmla.f32 q0, q1, q2
    scalar, several, quad = decoded([0xEE010A21, 0xECB12A04, 0xF2020D54], "armhf")
    assert (scalar.macs, scalar.lanes) == (1, 1)
    assert {register for register, _ in several.writes} == {"r1", "s4", "s5", "s6", "s7"}
    assert (several.beats, several.alone) == (2, True)
    assert (quad.macs, quad.lanes) == (4, 2)
    assert {register for register, _ in quad.writes} == {"s0", "s1", "s2", "s3"}


def test_loops_and_the_save_after_them_are_found() -> None:
    def at(address: int, target: int | None = None, **more: object) -> Instruction:
        unit = "branch" if target is not None else "integer"
        return Instruction(text="x", address=address, unit=unit, target=target, **more)  # type: ignore[arg-type]

    code = [at(0), at(4), at(8, 4), at(12), at(16, 24), at(20), at(24, stores=True), at(28, 0)]
    assert inner_loops(code) == [(1, 2)]
    # A branch past what is left of the depth leads to the save.
    assert [one.address for one in save(code, 2)] == [24, 28]
    assert accumulators([mac(0), mac(1), mac(0)]) == 8
