"""Issue a loop out of order: each instruction as soon as its operands and its pipe are there.

Instructions enter in the order of the program, a few in each cycle. Any number of them can wait, so
that a loop takes the longest of three times: entering, its busiest pipe, and the longest chain of
results from one pass to the next.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pibench.scoreboard.core import OutOfOrderCore
    from pibench.scoreboard.instruction import Instruction

_NUMBERS: Final = 4
"""In a vector of 128 bits: single precision, as Caffe has it."""
_MULTI_CYCLE: Final = frozenset({"shifted", "multiply", "long_multiply", "divide"})


class OutOfOrderPipeline:
    """The state of the core: what entered, when each pipe is taken, and when results are ready."""

    def __init__(self, core: OutOfOrderCore) -> None:
        self._core = core
        self._entered = 0
        self._taken: dict[str, Counter[int]] = defaultdict(Counter)
        self._ready: dict[str, int] = {}
        self._accumulated: dict[str, int] = {}

    def issue(self, one: Instruction) -> int:
        """Issue an instruction as early as it can; return the cycle in which it leaves its pipe."""
        core = self._core
        entered = self._enter(one)
        address = [read for read in one.reads if read[1] == "address"]
        at = max([entered, *(self._usable(*read) for read in one.reads)])
        pipe, places, cycles = self._needs(one)
        if pipe:
            at = self._take(pipe, places, cycles, at)
        for register, later in one.writes:
            ready = at + core.latency[one.kind]
            if later < 0:
                # An address that the access moves on waits for no data, and for no pipe of it.
                ready = max([entered, *(self._usable(*read) for read in address)]) + 1
            self._ready[register] = ready
            self._accumulated[register] = (
                at + core.latency["mac_to_accumulator"] if one.macs else ready
            )
        return at + cycles

    def _enter(self, one: Instruction) -> int:
        """Return the cycle in which an instruction enters; one that moves its address on is two."""
        parts = max(1, -(-one.bits // self._core.bits["load"]))
        parts += any(later < 0 for _, later in one.writes)
        at = self._entered // self._core.issue_width
        self._entered += parts
        return at

    def _usable(self, register: str, role: str) -> int:
        known = self._accumulated if role == "accumulator" else self._ready
        return known.get(register, 0)

    def _needs(self, one: Instruction) -> tuple[str, int, int]:
        """Return the pipe of an instruction, how many places of it, and for how many cycles."""
        core = self._core
        if one.unit == "memory":
            pipe = "store" if one.stores else "load"
            return pipe, 1, max(1, -(-one.bits // core.bits[pipe]))
        if one.unit == "branch":
            return "branch", 1, core.throughput["taken_branch"] if _is_taken(one) else 1
        if one.unit == "integer" and one.kind in _MULTI_CYCLE:
            return "multi_cycle", 1, core.throughput.get(one.kind, 1)
        if one.unit == "fp_divide":
            numbers = _NUMBERS if one.lanes > 1 else 1
            return "fp_divide", 1, numbers * core.throughput["fp_divide"]
        if one.unit == "fp":
            return "fp", one.lanes, 1
        return "" if one.unit == "nothing" else one.unit, 1, core.throughput.get(one.unit, 1)

    def _take(self, pipe: str, places: int, cycles: int, earliest: int) -> int:
        """Take a pipe at the first cycles at which it has room; return the first of them."""
        taken, room = self._taken[pipe], self._core.pipes[pipe]
        at = earliest
        while any(taken[at + more] + places > room for more in range(cycles)):
            at += 1
        for more in range(cycles):
            taken[at + more] += places
        return at


def _is_taken(one: Instruction) -> bool:
    """Return whether a branch repeats a loop; others are taken to go on with what follows."""
    # A branch to before the first address has one that wraps around.
    return one.target is not None and not one.address < one.target < 1 << 63
