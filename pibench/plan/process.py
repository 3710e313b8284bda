"""Model the process of Caffe: resident memory, step by step, and which layer allocated it."""

from __future__ import annotations

import math
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pibench.errors import InvalidInputError
from pibench.plan.malloc import Block, Heap

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.plan.openblas import Kernel, PackingBuffers

FLOAT_BYTES = 4
UNROLLED_OBJECTS = "objects of time steps"
"""The kind of the small objects that a recurrent layer has inside."""
ALIVE = 1 << 60
"""An index beyond every step."""


class Memory:
    """Caffe's SyncedMemory: a size, and a block from the first access on.

    `layer` and `kind` name its owner. `born` and `died` are indexes into the process's steps;
    `died` is ALIVE until it is freed.
    """

    __slots__ = ("block", "born", "died", "kind", "layer", "size_bytes")

    def __init__(self, size_bytes: int, layer: str, kind: str) -> None:
        self.size_bytes = size_bytes
        self.layer = layer
        self.kind = kind
        self.block: Block | None = None
        self.born = 0
        self.died = ALIVE


class Blob:
    """Caffe's Blob: data and diff of one size, either of which may be shared with another blob.

    `name` is the blob's name in the network; parameters have none.
    """

    __slots__ = ("count", "data", "diff", "kind", "layer", "name", "shape")

    def __init__(self, name: str, shape: tuple[int, ...], layer: str, kind: str) -> None:
        self.name = name
        self.shape = shape
        self.layer = layer
        self.kind = kind
        self.count = math.prod(shape)
        self.renew()

    def renew(self) -> None:
        """Give the blob memory of its own that nothing has accessed."""
        size_bytes = FLOAT_BYTES * self.count
        self.data = Memory(size_bytes, self.layer, self.kind)
        self.diff = Memory(size_bytes, self.layer, self.kind + " diff")


class Step(NamedTuple):
    """The resident bytes at the end of one step of the program, and the most within it."""

    phase: str
    layer: str
    resident_bytes: int
    peak_bytes: int


_new_step: Callable[[tuple[str, str, int, int]], Step] = partial(tuple.__new__, Step)
"""Make a step without the call of Python code that a named tuple has."""


class TooMuchError(InvalidInputError):
    """A network takes more memory than there is."""


class Process:
    """Replay memory accesses; `resident_bytes` includes the program itself.

    The replay ends with TooMuchError once more than `most_bytes` are resident.
    """

    def __init__(
        self,
        program_bytes: int,
        heap: Heap,
        blas: PackingBuffers | None,
        most_bytes: float = math.inf,
    ) -> None:
        self.program_bytes = program_bytes
        self.most_bytes = most_bytes
        self.heap = heap
        self.blas = blas
        self.steps: list[Step] = []
        self.products: dict[tuple[int, int, int], tuple[int, int]] = {}
        """The step that each size of product comes in first, and `buffers_bytes` after it."""
        self.memories: list[Memory] = []
        """Everything that ever had a block, in the order of allocation."""
        self.peak_bytes = 0
        self.peak_step = 0

    @property
    def buffers_bytes(self) -> int:
        """The resident part of the BLAS's buffers."""
        return self.blas.resident_bytes if self.blas else 0

    def allocate(
        self, size_bytes: int, layer: str, kind: str, *, is_written: bool = True
    ) -> Memory:
        """Replay malloc, and write all of the block unless `is_written` is False."""
        memory = Memory(size_bytes, layer, kind)
        self.adopt(memory, self.heap.malloc(size_bytes))
        if is_written:
            self.write(memory)
        return memory

    def read(self, memory: Memory) -> None:
        """Replay cpu_data(): the first access allocates; reading fresh pages maps the zero page."""
        if memory.block is None:
            self.adopt(memory, self.heap.calloc(memory.size_bytes))

    def write(self, memory: Memory) -> None:
        """Replay mutable_cpu_data(), and write all of it."""
        block = memory.block
        if block is None:
            # As `adopt`, without the call: three of four writes come here.
            block = memory.block = self.heap.calloc(memory.size_bytes)
            memory.born = len(self.steps)
            self.memories.append(memory)
        if not block.is_written:
            self.heap.write(block)

    def adopt(self, memory: Memory, block: Block) -> None:
        """Let `block` be the memory's block from now on."""
        memory.block = block
        memory.born = len(self.steps)
        self.memories.append(memory)

    def free(self, memory: Memory) -> None:
        """Drop the last reference."""
        if memory.block is not None:
            self.heap.free(memory.block)
            memory.died = len(self.steps)

    def product(self, rows: int, columns: int, depth: int) -> None:
        """Replay one cblas_sgemm: packing buffers, and the job table of a threaded product."""
        blas = self.blas
        assert blas is not None  # noqa: S101  (Caffe's process has one)
        threaded = blas.product(rows, columns, depth)
        size = rows, columns, depth
        if size not in self.products:
            self.products[size] = len(self.steps), blas.resident_bytes
        if threaded and blas.allocates_job_table:
            self.heap.pass_through(blas.job_table_bytes, blas.job_table_touched_bytes)

    def with_kernel(self, kernel: Kernel) -> Process:
        """Return the process, at its end, with another core's kernels and as many threads.

        The threads share the same products, so that only their packing buffers differ.
        """
        assert self.blas is not None  # noqa: S101  (Caffe's process has one)
        blas = self.blas.untouched(kernel)
        other = copy(self)
        other.blas, other.steps = blas, []
        products = list(self.products.items())[::-1]
        more = 0
        for index, step in enumerate(self.steps):
            while products and products[-1][1][0] == index:
                size, (_, before_bytes) = products.pop()
                blas.product(*size)
                more = blas.resident_bytes - before_bytes
            resident_bytes, peak_bytes = step.resident_bytes + more, step.peak_bytes + more
            other.steps.append(Step(step.phase, step.layer, resident_bytes, peak_bytes))
        other.peak_bytes = max(step.peak_bytes for step in other.steps)
        other.peak_step = [step.peak_bytes for step in other.steps].index(other.peak_bytes)
        return other

    def touch(self, size_bytes: int, kind: str) -> None:
        """Let the program itself touch more, such as code that it has not run before."""
        self.adopt(Memory(size_bytes, "", kind), Block(-1, size_bytes, size_bytes))
        self.program_bytes += size_bytes

    def end(self, exit_bytes: int) -> None:
        """Free the network, then touch `exit_bytes` as the program ends.

        The heap stays up to the last small object of a recurrent layer: malloc keeps some of these
        many in its caches. What it may keep of other networks is not modelled: it varies with its
        thresholds, by up to 1 MiB.
        """
        last = len(self.steps) - 1
        kept_bytes = 0
        for memory in self.memories:
            if memory.kind == UNROLLED_OBJECTS and memory.block is not None:
                kept_bytes = max(kept_bytes, memory.block.start + memory.block.chunk_bytes)
            if memory.died == ALIVE:
                memory.died = last
        self.touch(exit_bytes, "program's end")
        self.heap.keep(kept_bytes)
        self.end_step("exit", "")

    def check(self, size_bytes: int) -> None:
        """Raise TooMuchError if that is more than there may be."""
        if size_bytes > self.most_bytes:
            raise TooMuchError(f"more than {self.most_bytes} bytes")

    def end_step(self, phase: str, layer: str) -> None:
        """Record the resident bytes now; the heap's own peak lies within the step."""
        heap, blas = self.heap, self.blas
        rest = self.program_bytes + (blas.resident_bytes if blas else 0)
        peak = rest + heap.peak_bytes
        if peak > self.peak_bytes:
            self.peak_bytes, self.peak_step = peak, len(self.steps)
            self.check(peak)
        self.steps.append(_new_step((phase, layer, rest + heap.resident_bytes, peak)))
        heap.peak_bytes = heap.resident_bytes
