"""A decoded instruction: what it needs of a core."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Unit = Literal["integer", "memory", "fp", "fp_divide", "branch", "nothing"]
Role = Literal["alu", "address", "store", "factor", "accumulator", "move"]


@dataclass(kw_only=True)
class Instruction:
    """One instruction; registers are names, the same for all widths of one A64 register.

    `kind` is a key of the core's latencies. `beats` are transfers of 64 bits, one a cycle, `lanes`
    of 64 bits those that it takes of the floating-point unit. `bits` are what a load or a store
    moves. `macs` counts single-precision multiply-accumulates.
    """

    text: str
    address: int = 0
    unit: Unit = "integer"
    kind: str = "integer"
    reads: list[tuple[str, Role]] = field(default_factory=list)
    writes: list[tuple[str, int]] = field(default_factory=list)
    beats: int = 0
    bits: int = 0
    lanes: int = 0
    alone: bool = False
    macs: int = 0
    loads_vector: bool = False
    stores: bool = False
    target: int | None = None

    def write(self, *registers: str, later: int = 0) -> None:
        """Add results, each `later` cycles after the latency of the kind."""
        self.writes += [(register, later) for register in registers]

    def read(self, role: Role, *registers: str) -> None:
        """Add operands."""
        self.reads += [(register, role) for register in registers]
