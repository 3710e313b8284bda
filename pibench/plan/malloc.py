"""Model glibc 2.31's malloc: which pages a program with large blocks touches.

Caffe asks for zeroed memory (its compiler turns malloc and memset into calloc), and calloc clears
only memory that may be dirty. A block of fresh pages becomes resident where it is written; a block
cut from used memory is resident at once. malloc's rules (malloc/malloc.c) decide between the two:
bins before the top of the heap, the top before mmap, mmap from a threshold on that grows with every
mapped block that is freed, and a top that is given back when it grows past twice that threshold.
Small blocks, tcache and fast bins are not modelled: they account for kilobytes.
"""

from __future__ import annotations

from bisect import bisect_left, insort

PAGE_BYTES = 4096
_PAGE_SHIFT = 12
_HEADER_BYTES = 8
_ALIGN_BYTES = 16
_MIN_CHUNK_BYTES = 32
_TOP_PAD_BYTES = 131_072
_FIRST_THRESHOLD_BYTES = 131_072
_MAX_THRESHOLD_BYTES = 32 << 20
_CONSOLIDATION_BYTES = 65_536
"""FASTBIN_CONSOLIDATION_THRESHOLD: a smaller freed chunk never shrinks the heap."""


class Block:
    """One block of malloc: its position and its resident part.

    `start` is an offset into the heap, or -1 for a mapped block (mmap). `chunk_bytes` includes
    malloc's header. `resident_bytes` is counted only for mapped blocks, since pages of the heap
    belong to neighbours too; there it is what was written of a block that is not written whole.
    """

    __slots__ = ("chunk_bytes", "is_written", "resident_bytes", "start")

    def __init__(self, start: int, chunk_bytes: int, resident_bytes: int) -> None:
        self.start = start
        self.chunk_bytes = chunk_bytes
        self.resident_bytes = resident_bytes
        self.is_written = False


class Heap:
    """The malloc of one process. `resident_bytes` is what its blocks add to the RSS."""

    def __init__(self, *, largest_unmapped_bytes: int = 0) -> None:
        """Create an empty heap.

        Args:
            largest_unmapped_bytes: The largest mapped block that was freed before.
        """
        self.resident_bytes = self.peak_bytes = 0
        self.threshold_bytes = max(_FIRST_THRESHOLD_BYTES, largest_unmapped_bytes)
        # Both start at 128 KiB; once the threshold grows, the trim threshold is twice as large.
        self._trim_bytes = 2 * largest_unmapped_bytes or _FIRST_THRESHOLD_BYTES
        self.top = self._end = self._highest_end = 0
        self.pages = bytearray()
        self._prefix = 0
        """Every page of the heap below this offset is known to be resident."""
        self._free: list[tuple[int, int]] = []
        """(size, start) of the free chunks below the top, sorted by size."""
        self._free_by_start: dict[int, int] = {}
        self._free_by_end: dict[int, int] = {}

    def malloc(self, size_bytes: int) -> Block:
        """Allocate a block whose pages are touched only when it is written."""
        chunk = (size_bytes + _HEADER_BYTES + _ALIGN_BYTES - 1) & -_ALIGN_BYTES
        chunk = max(chunk, _MIN_CHUNK_BYTES)
        if self._free and self._free[-1][0] >= chunk:
            return self._from_bins(chunk)
        if self._end - self.top < chunk + _MIN_CHUNK_BYTES:
            if chunk >= self.threshold_bytes:
                return self._map(chunk)
            self._extend(chunk)
        return self._from_top(chunk)

    def calloc(self, size_bytes: int) -> Block:
        """Allocate a zeroed block: its possibly dirty part is cleared, and thereby touched."""
        top, clean_from = self.top, self._highest_end
        chunk = (size_bytes + _HEADER_BYTES + _ALIGN_BYTES - 1) & -_ALIGN_BYTES
        end = top + chunk
        if end + _MIN_CHUNK_BYTES <= self._end and (
            not self._free or self._free[-1][0] < chunk >= _MIN_CHUNK_BYTES
        ):
            # Fast path for the usual case: memory that the heap has, from its top.
            self.top = end
            if end + 16 > self._prefix:
                self._touch(top, end + 16)
            block = Block(top, chunk, 0)
            block.is_written = True
            return block
        block = self.malloc(size_bytes)
        if block.start < 0:
            return block
        end = block.start + block.chunk_bytes
        # Only memory that is new to the heap is known to be zero.
        dirty_end = min(end, clean_from) if block.start == top else end
        self._touch(block.start, dirty_end)
        block.is_written = dirty_end == end
        return block

    def write(self, block: Block) -> None:
        """Write every byte of the block."""
        if block.is_written:
            return
        block.is_written = True
        if block.start < 0:
            self._grow(block.chunk_bytes - block.resident_bytes)
            block.resident_bytes = block.chunk_bytes
        else:
            self._touch(block.start, block.start + block.chunk_bytes)

    def write_start(self, block: Block, size_bytes: int) -> None:
        """Write the first `size_bytes` of the block."""
        if block.is_written:
            return
        if block.start < 0:
            resident = min((size_bytes + 16 + PAGE_BYTES - 1) & -PAGE_BYTES, block.chunk_bytes)
            if resident > block.resident_bytes:
                self._grow(resident - block.resident_bytes)
                block.resident_bytes = resident
        else:
            written = min(size_bytes + 16, block.chunk_bytes)
            self._touch(block.start, block.start + written)
            block.resident_bytes = max(block.resident_bytes, written)

    def pass_through(self, size_bytes: int, touched_bytes: int) -> None:
        """Allocate, write the start and free: only the touched pages remain."""
        top = self.top
        if (
            self._end - top >= size_bytes + 2 * _MIN_CHUNK_BYTES
            and self._end - top < self._trim_bytes
            and (not self._free or self._free[-1][0] < size_bytes)
        ):
            self._touch(top, top + 16 + touched_bytes)
            self._touch(top + size_bytes, top + size_bytes + 32)
            return
        block = self.malloc(size_bytes)
        self.write_start(block, touched_bytes)
        self.free(block)

    def free(self, block: Block) -> None:
        """Free the block: return it to the kernel if mapped, else to the bins or the top."""
        if block.start < 0:
            self.resident_bytes -= block.resident_bytes
            if self.threshold_bytes < block.chunk_bytes <= _MAX_THRESHOLD_BYTES:
                self.threshold_bytes = block.chunk_bytes
                self._trim_bytes = 2 * block.chunk_bytes
            return
        start, end = block.start, block.start + block.chunk_bytes
        if end in self._free_by_start:
            end = self._take(end)[1]
        if start in self._free_by_end:
            start = self._take(self._free_by_end[start])[0]
        if end == self.top:
            self.top = start
            self._touch(start, start + 16)
            if end - start >= _CONSOLIDATION_BYTES:
                self._trim()
        else:
            self._put(start, end)
            if end - start >= _CONSOLIDATION_BYTES:
                self._trim()

    def keep(self, end_bytes: int) -> None:
        """Free everything but the heap below `end_bytes`, whose pages stay resident."""
        last = (end_bytes + PAGE_BYTES - 1) >> _PAGE_SHIFT
        self.resident_bytes = self.peak_bytes = self.pages.count(1, 0, last) << _PAGE_SHIFT

    def _map(self, chunk: int) -> Block:
        size = (chunk + _HEADER_BYTES + PAGE_BYTES - 1) & -PAGE_BYTES
        # The header is written, and with it the first page.
        self._grow(PAGE_BYTES)
        return Block(-1, size, PAGE_BYTES)

    def _from_bins(self, chunk: int) -> Block:
        """Take the smallest sufficient free chunk; split it if the rest makes a chunk."""
        start, end = self._take(self._free[bisect_left(self._free, (chunk, 0))][1])
        if end - start - chunk >= _MIN_CHUNK_BYTES:
            self._put(start + chunk, end)
            end = start + chunk
        return Block(start, end - start, 0)

    def _from_top(self, chunk: int) -> Block:
        start = self.top
        self.top = start + chunk
        self._touch(self.top, self.top + 16)
        return Block(start, chunk, 0)

    def _extend(self, chunk: int) -> None:
        """Extend the heap by brk: the missing bytes and a pad, in whole pages."""
        missing = chunk + _TOP_PAD_BYTES + _MIN_CHUNK_BYTES - (self._end - self.top)
        self._end += (missing + PAGE_BYTES - 1) & -PAGE_BYTES
        if self._end > self._highest_end:
            self._highest_end = self._end
            self.pages.extend(bytes((self._end >> _PAGE_SHIFT) - len(self.pages)))

    def _trim(self) -> None:
        """Trim the top (systrim) to the pad, once it exceeds the trim threshold."""
        top_bytes = self._end - self.top
        if top_bytes < self._trim_bytes:
            return
        extra = (top_bytes - _MIN_CHUNK_BYTES - 1 - _TOP_PAD_BYTES) & -PAGE_BYTES
        if extra <= 0:
            return
        self._end -= extra
        self._prefix = min(self._prefix, self._end)
        first, last = self._end >> _PAGE_SHIFT, (self._end + extra) >> _PAGE_SHIFT
        self.resident_bytes -= self.pages.count(1, first, last) << _PAGE_SHIFT
        self.pages[first:last] = bytes(last - first)

    def _put(self, start: int, end: int) -> None:
        insort(self._free, (end - start, start))
        self._free_by_start[start] = end
        self._free_by_end[end] = start

    def _take(self, start: int) -> tuple[int, int]:
        end = self._free_by_start.pop(start)
        del self._free_by_end[end]
        del self._free[bisect_left(self._free, (end - start, start))]
        return start, end

    def _touch(self, start: int, end: int) -> None:
        prefix = self._prefix
        if end <= prefix:
            return
        pages = self.pages
        first = (prefix if start < prefix else start) >> _PAGE_SHIFT
        last = (end + PAGE_BYTES - 1) >> _PAGE_SHIFT
        new = last - first - pages.count(1, first, last)
        if new > 0:
            last = min(last, len(pages))
            pages[first:last] = b"\1" * (last - first)
            # As `_grow`, without the call.
            self.resident_bytes = resident_bytes = self.resident_bytes + (new << _PAGE_SHIFT)
            if resident_bytes > self.peak_bytes:  # noqa: PLR1730  (faster than max)
                self.peak_bytes = resident_bytes
        if start <= prefix:
            self._prefix = last << _PAGE_SHIFT

    def _grow(self, size_bytes: int) -> None:
        self.resident_bytes = resident_bytes = self.resident_bytes + size_bytes
        if resident_bytes > self.peak_bytes:  # noqa: PLR1730  (faster than max)
            self.peak_bytes = resident_bytes


def round_up(number: int, multiple: int) -> int:
    """Return the least multiple that is not less."""
    return -(-number // multiple) * multiple
