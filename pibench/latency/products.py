"""Cycles of a matrix product as Caffe calls it: by the kernels of a stack and a board's memory.

OpenBLAS multiplies panels: blocks of the depth (Q), in each of which both operands are copied
into panels, and a kernel computes C in tiles of registers. C is read and written once per block of
the depth, and a panel of A comes from L2, or from memory, once for each panel of B. ATLAS does the
same with square blocks; the reference BLAS loops over columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pibench.devices import Device
    from pibench.latency.stacks import Gemm, Stack

_FLOAT_BYTES: Final = 4
_LINE: Final = 16
"""Single-precision numbers in a cache line."""
_L1_SHARE: Final = 0.75
_L2_SHARE: Final = 0.8
"""Of a cache's size, a block of A that leaves room for what else is used stays in it."""
_FILL_CYCLES: Final = 4.0
"""A line from L2 to L1: 64 bytes over 128 bits a cycle (Cortex-A53 manual, L2 memory system)."""

_ROWS_OF_A_THREAD: Final = 2
"""Rows, or columns, that a thread gets at least (SWITCH_RATIO of OpenBLAS)."""


@dataclass(frozen=True)
class Memory:
    """A board's memory in cycles of its clock: a number in a stream, and a line from L2.

    `short_run` is a number that is read in a run of about 1 kB, after which another row begins.
    `streams` is how many times the rate of one core all cores together get at most.
    """

    read: float
    short_run: float
    write: float
    copy: float
    l2: float
    l1_bytes: int
    l2_bytes: int
    streams: float

    @classmethod
    def of(cls, device: Device) -> Memory:
        """Return the memory of a device, whose profile has times of it."""
        per_ns = device.clock_hz / 1e9
        timing = device.memory
        assert timing is not None  # noqa: S101
        line_bytes = _FLOAT_BYTES * _LINE
        one_core = line_bytes / timing.line_read_ns
        return cls(
            read=timing.line_read_ns * per_ns / _LINE,
            short_run=(timing.line_short_run_ns or timing.line_read_ns) * per_ns / _LINE,
            write=timing.line_write_ns * per_ns / _LINE,
            copy=timing.line_copy_ns * per_ns / _LINE,
            l2=timing.l2_ns * per_ns,
            l1_bytes=device.l1_data_bytes,
            l2_bytes=device.l2_bytes,
            streams=max(1.0, timing.all_cores_bytes_per_s / 1e9 / one_core),
        )

    def missing(self, size_bytes: float) -> float:
        """Return the share of a blob's accesses that L2 misses: none up to a quarter of it."""
        least = self.l2_bytes / 4
        return min(1.0, max(0.0, (size_bytes - least) / (self.l2_bytes - least)))


class Call(NamedTuple):
    """A product as BLAS gets it, whose rows are Caffe's columns; see `product`."""

    rows: int
    columns: int
    depth: int
    adds: bool = False
    transposed: bool = False


class Cycles(NamedTuple):
    """What a product takes: in the core, and waiting for memory."""

    core: float
    memory: float


@lru_cache(maxsize=4096)
def product(
    rows: int,
    columns: int,
    depth: int,
    stack: Stack,
    memory: Memory,
    *,
    adds: bool = False,
    transposed: bool = False,
) -> Cycles:
    """Return the cycles of one product on one core.

    As BLAS sees it: `rows` are Caffe's columns, the image's positions, `columns` the outputs.
    `adds` keeps what C holds, which is set to 0 first otherwise; with `transposed` the depth is
    side by side in memory.
    """
    gemm = stack.gemm
    if gemm.algorithm == "panels":
        return _panels(rows, columns, depth, gemm, memory, adds=adds, transposed=transposed)
    if gemm.algorithm == "loops":
        return _loops(rows, columns, depth, gemm, memory, transposed=transposed)
    if depth == 1:
        return _rows(rows, columns, stack, memory, adds=adds)
    return _blocks(rows, columns, depth, gemm, memory)


def _panels(
    rows: int,
    columns: int,
    depth: int,
    gemm: Gemm,
    memory: Memory,
    *,
    adds: bool,
    transposed: bool,
) -> Cycles:
    core = waiting = 0.0
    tiles = [
        (count * above, tile)
        for width, count in _split(columns, gemm.by_width)
        for height, above in _split(rows, gemm.by_width[width])
        for tile in (gemm.by_width[width][height],)
    ]
    widest = next(iter(gemm.by_width))
    tallest = next(iter(gemm.by_width[widest]))
    from_l2 = memory.l2 / _LINE
    a_read = memory.read
    if transposed:
        # A block of the depth is all that is read of a row before the next row begins. The core
        # copies what has come while it waits for more.
        a_read = max(a_read, memory.short_run - gemm.pack_a)
    if _FLOAT_BYTES * rows * depth <= memory.l2_bytes / 2:
        a_read = from_l2
    for block in _depths(depth, gemm.q, tallest):
        core += rows * block * gemm.pack_a + columns * block * gemm.pack_b
        # Both are read where they are, and written to panels that stay in L2.
        waiting += rows * block * (a_read + from_l2 / 2)
        waiting += columns * block * (memory.read + from_l2 / 2)
        core += sum(count * (tile.cycles(block) + gemm.enter_tile) for count, tile in tiles)
        lines = rows * block / _LINE * -(-columns // widest)
        waiting += lines * _line(_FLOAT_BYTES * min(rows, gemm.p) * block, gemm, memory)
        waiting += rows * columns * _c(rows * columns, memory)
    core += gemm.call
    if not adds:
        core += rows * columns * gemm.scale_c
        if _FLOAT_BYTES * rows * columns > memory.l2_bytes / 2:
            waiting += rows * columns * memory.write
    return Cycles(core, waiting)


def _line(block_bytes: int, gemm: Gemm, memory: Memory) -> float:
    """Return what a kernel waits for a line of a panel of A."""
    if block_bytes <= _L1_SHARE * memory.l1_bytes:
        return 0.0
    if block_bytes > _L2_SHARE * memory.l2_bytes:
        return memory.read * _LINE / 2
    return _FILL_CYCLES if gemm.hides_l2 else memory.l2 - 2


def with_lines(kernel: Mapping[str, float], memory: Memory) -> float:
    """Return the rate of a published kernel (published.toml) that waits for its lines from L2."""
    return 1 / (1 / kernel["scoreboard"] + kernel["lines"] * (memory.l2 - 2))


def _c(elements: int, memory: Memory) -> float:
    """Return what a kernel waits for an element of C, read and written."""
    if _FLOAT_BYTES * elements > memory.l2_bytes / 2:
        return memory.copy
    return 2 * memory.l2 / _LINE


def _split(size: int, parts: Iterable[int]) -> list[tuple[int, int]]:
    """Cut a size into the largest parts, then the next: (part, how many)."""
    found = []
    for part in parts:
        count, size = divmod(size, part)
        if count:
            found.append((part, count))
    return found


def _depths(depth: int, q: int, unroll: int) -> list[int]:
    """Return the blocks that OpenBLAS cuts a depth into (driver/level3/level3.c)."""
    blocks = []
    while depth > 0:
        block = depth
        if block >= 2 * q:
            block = q
        elif block > q:
            block = -(-(block // 2) // unroll) * unroll
        blocks.append(block)
        depth -= block
    return blocks


def _blocks(rows: int, columns: int, depth: int, gemm: Gemm, memory: Memory) -> Cycles:
    size = gemm.block
    left = depth % size
    whole = (rows // size) * (columns // size) * size**2 * (depth - left)
    beside = rows * columns * (depth - left) - whole
    passes = -(-depth // size)
    core = whole * gemm.mac + beside * gemm.rest_mac + rows * columns * left * gemm.rest_depth_mac
    core += rows * depth * gemm.pack_a + columns * depth * gemm.pack_b
    core += rows * columns * gemm.scale_c * passes + gemm.call
    waiting = rows * depth * memory.read * (_FLOAT_BYTES * rows * depth > memory.l2_bytes / 2)
    waiting += columns * depth * memory.read + rows * columns * passes * _c(rows * columns, memory)
    waiting += rows * depth / _LINE * -(-columns // size) * (memory.l2 - 2)
    return Cycles(core, waiting)


def _rows(rows: int, columns: int, stack: Stack, memory: Memory, *, adds: bool) -> Cycles:
    """Return the cycles of a product over a depth of 1 by ATLAS: saxpy for each column of C."""
    elements, gemm = rows * columns, stack.gemm
    core = elements * stack.vectors.added + columns * gemm.vector_call + gemm.call
    if not adds:
        core += elements * gemm.scale_c
    return Cycles(core, elements * _c(elements, memory))


def _loops(
    rows: int, columns: int, depth: int, gemm: Gemm, memory: Memory, *, transposed: bool
) -> Cycles:
    """Return the cycles of three nested loops.

    A column of C is read and written for each step of the depth, or, with the depth side by side,
    each element is a sum.
    """
    macs = rows * columns * depth
    core = macs * (gemm.transposed_mac if transposed else gemm.mac) + gemm.call
    a_bytes = _FLOAT_BYTES * rows * depth
    per = memory.read if a_bytes > memory.l2_bytes else memory.l2 / _LINE
    return Cycles(core, macs * (per if a_bytes > memory.l1_bytes else 0.0))


def on_threads(of: Call, stack: Stack, memory: Memory, threads: int) -> Cycles:
    """Return the cycles of a product on several cores, which share the memory.

    A small product stays on one core (interface/gemm.c). The cores divide the rows, and each
    computes its own in tiles: a few rows each leave partial tiles (driver/level3/level3_thread.c).
    All copy a share of B, for all.
    """
    gemm = stack.gemm
    rows, columns, depth, adds, transposed = of
    whole = product(rows, columns, depth, stack, memory, adds=adds, transposed=transposed)
    if threads == 1 or not gemm.parallel or rows * columns * depth <= gemm.parallel_macs:
        return whole
    of_rows, of_columns = _shares(rows, columns, gemm, threads)
    cores = of_rows * of_columns
    if cores == 1:
        return whole
    own_rows, own_columns = -(-rows // of_rows), -(-columns // of_columns)
    own = product(own_rows, own_columns, depth, stack, memory, adds=adds, transposed=transposed)
    copied_by_others = own_columns * (1 - 1 / of_rows) * depth * gemm.pack_b
    streams = min(float(cores), memory.streams)
    return Cycles(own.core - copied_by_others + gemm.start_threads, whole.memory / streams)


def _shares(rows: int, columns: int, gemm: Gemm, threads: int) -> tuple[int, int]:
    """Return into how many parts OpenBLAS divides rows and columns."""
    if not gemm.divides_columns:
        enough = min(rows, columns) >= threads * _ROWS_OF_A_THREAD
        return (threads if enough else 1), 1
    of_rows = threads if rows >= 2 * _ROWS_OF_A_THREAD else 1
    while of_rows > 1 and rows < of_rows * _ROWS_OF_A_THREAD:
        of_rows //= 2
    wanted = -(-columns // (_ROWS_OF_A_THREAD * of_rows))
    few = columns < _ROWS_OF_A_THREAD * of_rows
    return of_rows, 1 if few else max(1, min(wanted, threads // of_rows))
