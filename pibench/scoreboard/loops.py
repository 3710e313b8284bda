"""Find the inner loops of a function, and what a matrix kernel does around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.scoreboard.instruction import Instruction


def inner_loops(function: Sequence[Instruction]) -> list[tuple[int, int]]:
    """Return the loops that contain no other, as places of their first and last instruction."""
    place = {one.address: index for index, one in enumerate(function)}
    loops = [
        (place[one.target], index)
        for index, one in enumerate(function)
        if one.unit == "branch"
        and one.target is not None
        and one.target <= one.address
        and one.target in place
        and not one.text.startswith("bl ")
    ]
    return [
        (first, last)
        for first, last in loops
        if not any(
            first <= other and end <= last and (other, end) != (first, last) for other, end in loops
        )
    ]


def save(function: Sequence[Instruction], last: int) -> list[Instruction]:
    """Return how a kernel saves its tile after a loop over the depth: up to a branch after a store.

    Before it may be further steps of the depth, which a branch past them skips.
    """
    found: list[Instruction] = []
    stored = False
    targets = {one.target for one in function if one.unit == "branch"}
    for one in function[last + 1 :]:
        if one.address in targets and not stored:
            found = []
        found.append(one)
        stored = stored or one.stores
        if one.unit == "branch" and stored:
            break
    return found


def accumulators(loop: Sequence[Instruction]) -> int:
    """Return how many numbers a loop accumulates: the size of its tile."""
    lanes: dict[str, int] = {}
    for one in loop:
        if one.macs:
            # In A32 a number has a name of its own, in A64 a vector of them.
            names = [register for register, _ in one.writes]
            lanes |= dict.fromkeys(names, one.macs // len(names))
    return sum(lanes.values())
