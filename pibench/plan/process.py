"""The process that Caffe runs in: what is resident, step by step, and who holds it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pibench.plan.malloc import Block, Heap

if TYPE_CHECKING:
    from pibench.plan.openblas import PackingBuffers

FLOAT_BYTES = 4


class Memory:
    """Caffe's SyncedMemory: a size, and a block from the first access on."""

    __slots__ = ("block", "kind", "layer", "size_bytes")

    def __init__(self, size_bytes: int, layer: str, kind: str) -> None:
        self.size_bytes = size_bytes
        self.layer = layer
        self.kind = kind
        self.block: Block | None = None


class Blob:
    """Caffe's Blob: data and diff of one size, either of which may be another blob's.

    `name` is the blob's own in the network; parameters have none.
    """

    __slots__ = ("count", "data", "diff", "name", "shape")

    def __init__(self, name: str, shape: tuple[int, ...], layer: str, kind: str) -> None:
        self.name = name
        self.shape = shape
        self.count = count = math.prod(shape)
        self.data = Memory(FLOAT_BYTES * count, layer, kind)
        self.diff = Memory(FLOAT_BYTES * count, layer, kind + " diff")


@dataclass(frozen=True, slots=True)
class Step:
    """What was resident at the end of one step of the program, and at most within it."""

    phase: str
    layer: str
    resident_bytes: int
    peak_bytes: int


class Process:
    """Replays accesses to memory. Sizes in bytes; `resident_bytes` has the program in it."""

    def __init__(self, program_bytes: int, blas: PackingBuffers) -> None:
        self.heap = Heap()
        self.blas = blas
        self.program_bytes = program_bytes
        self.steps: list[Step] = []
        self.lives: list[tuple[Memory, int]] = []
        """Every block that was ever allocated, with the step of its birth."""
        self.deaths: dict[int, int] = {}
        self.peak_bytes = 0
        self.peak_step = 0

    @property
    def resident_bytes(self) -> int:
        """The RSS now."""
        return self.program_bytes + self.heap.resident_bytes + self.blas.resident_bytes

    def read(self, memory: Memory) -> None:
        """cpu_data(): the first access allocates; fresh pages read are the kernel's zero page."""
        if memory.block is None:
            memory.block = self.heap.calloc(memory.size_bytes)
            self.lives.append((memory, len(self.steps)))

    def write(self, memory: Memory) -> None:
        """mutable_cpu_data(), and all of it is written."""
        block = memory.block
        if block is None:
            block = memory.block = self.heap.calloc(memory.size_bytes)
            self.lives.append((memory, len(self.steps)))
        if not block.is_written:
            self.heap.write(block)

    def adopt(self, memory: Memory, block: Block) -> None:
        """Take note of a block that was allocated elsewhere."""
        memory.block = block
        self.lives.append((memory, len(self.steps)))

    def free(self, memory: Memory) -> None:
        """The last reference goes."""
        if memory.block is not None:
            self.heap.free(memory.block)
            self.deaths[id(memory)] = len(self.steps)
            memory.block = None

    def scratch(self, count: int, layer: str) -> Memory:
        """A blob on the stack of one layer's function, written; free it after."""
        memory = Memory(FLOAT_BYTES * count, layer, "scratch")
        self.write(memory)
        return memory

    def product(self, rows: int, columns: int, depth: int) -> None:
        """One cblas_sgemm: packing buffers, and the job table of a threaded product."""
        blas = self.blas
        if blas.product(rows, columns, depth):
            heap = self.heap
            table = heap.malloc(blas.job_table_bytes)
            heap.write_start(table, blas.job_table_touched_bytes)
            heap.free(table)

    def end_step(self, phase: str, layer: str) -> None:
        """Note what is resident now; the heap's own peak lies within the step."""
        heap = self.heap
        rest = self.program_bytes + self.blas.resident_bytes
        peak = rest + heap.peak_bytes
        if peak > self.peak_bytes:
            self.peak_bytes, self.peak_step = peak, len(self.steps)
        self.steps.append(Step(phase, layer, rest + heap.resident_bytes, peak))
        heap.peak_bytes = heap.resident_bytes
