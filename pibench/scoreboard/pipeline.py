"""Issue a loop, in order or out of order as its core does, and count the cycles of one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pibench.scoreboard.core import Core, InOrderCore, OutOfOrderCore
from pibench.scoreboard.out_of_order import OutOfOrderPipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.scoreboard.instruction import Instruction

PASSES: Final = 12
"""A loop reaches its steady state within a few passes; the second half of them counts."""


def cycles(loop: Sequence[Instruction], core: Core, passes: int = PASSES) -> float:
    """Return the cycles of one pass of a loop whose data is in the first cache."""
    half = passes // 2
    if isinstance(core, OutOfOrderCore):
        issue = OutOfOrderPipeline(core).issue
        ends = [max(map(issue, loop)) for _ in range(passes)]
        return (max(ends) - max(ends[:half])) / (passes - half)
    pipeline = _InOrderPipeline(core)
    starts = []
    for _ in range(passes):
        issued = [pipeline.issue(one) for one in loop]
        starts.append(issued[0])
    return (starts[-1] - starts[half]) / (passes - 1 - half)


class _InOrderPipeline:
    """The state of the core: the cycle, what issued in it, and when results are ready."""

    def __init__(self, core: InOrderCore) -> None:
        self._core = core
        self._now = 0
        self._slot: list[Instruction] = []
        self._ready: dict[str, tuple[int, Instruction]] = {}
        self._accumulated: dict[str, int] = {}
        self._macs_at: set[int] = set()
        self._memory_free = self._issue_free = self._divider_free = 0

    def issue(self, one: Instruction) -> int:
        """Issue an instruction as early as it can; return its cycle."""
        self._wait_until(max((self._usable(*read) for read in one.reads), default=0))
        while not self._can_issue(one):
            self._wait_until(self._now + 1)
        at = self._now
        self._slot.append(one)
        self._occupy(one, at)
        if one.unit == "branch" and self._core.branch_ends_issue:
            self._wait_until(at + 1)
        return at

    def _wait_until(self, cycle: int) -> None:
        if cycle > self._now:
            self._now, self._slot = cycle, []

    def _usable(self, register: str, role: str) -> int:
        """Return the cycle from which a register can be read in this role."""
        if register not in self._ready:
            return 0
        ready, writer = self._ready[register]
        latency = self._core.latency
        if role == "accumulator":
            ready = self._accumulated[register]
        elif role == "address" and writer.unit == "integer":
            ready += latency["integer_to_address"] - latency[writer.kind]
        elif role == "store":
            ready -= latency["late_read"]
        elif role == "move":
            ready -= latency["late_read"] if writer.unit == "memory" else 1
        return ready

    def _can_issue(self, one: Instruction) -> bool:
        core, now = self._core, self._now
        if now < self._issue_free or (one.beats and now < self._memory_free):
            return False
        if one.unit == "fp_divide" and now < self._divider_free:
            return False
        hazard = core.vector_load_hazard_cycles
        if one.loads_vector and any(now + i - hazard in self._macs_at for i in range(one.beats)):
            return False
        return not self._slot or (len(self._slot) < core.issue_width and self._pairs(one))

    def _pairs(self, one: Instruction) -> bool:
        """Return whether an instruction can issue beside those of this cycle."""
        core = self._core
        if one.lanes + sum(other.lanes for other in self._slot) > core.fp_lanes or (
            core.wide_fp_issues_first and one.lanes == core.fp_lanes
        ):
            return False
        written = {register for register, _ in one.writes}
        for other in self._slot:
            load_and_mac = (one.loads_vector and other.macs) or (other.loads_vector and one.macs)
            if (
                (one.alone or other.alone)
                or (one.beats and other.beats)
                or (load_and_mac and not core.vector_load_beside_mac)
                or written & {register for register, _ in other.writes}
            ):
                return False
        return True

    def _occupy(self, one: Instruction, at: int) -> None:
        """Note what an instruction that issued takes, and when its results are there."""
        latency = self._core.latency
        if one.beats:
            self._memory_free = at + one.beats
        if one.alone:
            self._issue_free = at + max(1, one.beats)
        if one.unit == "fp_divide":
            self._divider_free = at + self._core.throughput["fp_divide"]
        if one.macs:
            self._macs_at.add(at)
        for register, later in one.writes:
            # An address register that the access itself moves on is an integer result.
            moved_on = later < 0
            ready = at + (1 if moved_on else latency[one.kind] + later)
            self._ready[register] = (ready, one)
            if one.macs:
                self._accumulated[register] = at + latency["mac_to_accumulator"]
            else:
                self._accumulated[register] = max(at + 1, ready - latency["late_accumulator"])
