"""Model OpenBLAS 0.3.13's packing buffers, one per thread: how far products touch them.

The arithmetic is that of interface/gemm.c, driver/level3/level3.c and level3_thread.c; the
memory-only BLAS (`qemu/blas/memory_only_blas.c`) follows it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pibench.plan.malloc import PAGE_BYTES, round_up

_FLOAT_BYTES = 4
_SINGLE_THREAD_PRODUCT = 262_144
"""interface/gemm.c: SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD."""
_SWITCH_RATIO = 2
_DIVIDE_RATE = 2
_CACHE_LINE_SIZE = 8


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """The figures of one CPU core's kernels (gotoblas_t in common_param.h).

    Offsets and `align` in bytes; `p`, `q`, `r` and the unrolls in elements.
    """

    core: str
    offset_a: int
    offset_b: int
    align: int
    p: int
    q: int
    r: int
    unroll_m: int
    unroll_n: int


class PackingBuffers:
    """Track which pages of the threads' buffers products have touched so far."""

    def __init__(
        self,
        kernel: Kernel,
        threads: int,
        max_threads: int,
        job_table: Literal["heap", "stack"] = "heap",
    ) -> None:
        """Start with buffers that nothing has touched.

        `job_table` is where a threaded product has its table: on the heap since OpenBLAS 0.3.11.
        """
        self.kernel = kernel
        self._threads = threads
        self._max_threads = max_threads
        panel_a = kernel.p * kernel.q * _FLOAT_BYTES
        self._base_b = (
            kernel.offset_a + ((panel_a + kernel.align) & ~kernel.align) + kernel.offset_b
        )
        self._touched = [bytearray() for _ in range(threads)]
        self._seen: dict[tuple[int, int, int], bool] = {}
        self.allocates_job_table = job_table == "heap"
        job_bytes = max_threads * _CACHE_LINE_SIZE * _DIVIDE_RATE * 8
        self.job_table_bytes = job_bytes * max_threads
        """Size of the table that each threaded product allocates and frees (level3_thread.c)."""
        self.job_table_touched_bytes = job_bytes * threads
        self.resident_bytes = 0

    def untouched(self, kernel: Kernel) -> PackingBuffers:
        """Return the buffers of as many threads with a core's kernels, as they start."""
        job_table: Literal["heap", "stack"] = "heap" if self.allocates_job_table else "stack"
        return PackingBuffers(kernel, self._threads, self._max_threads, job_table)

    def product(self, rows: int, columns: int, depth: int) -> bool:
        """Run a row-major product of rows x depth and depth x columns.

        Returns:
            Whether threads share it.
        """
        key = (rows, columns, depth)
        threaded = self._seen.get(key)
        if threaded is None:
            # OpenBLAS is column-major: the operands are swapped.
            threaded = self._seen[key] = self._pack(columns, rows, depth)
        return threaded

    def _pack(self, m: int, n: int, k: int) -> bool:
        threads_m, threads = self._partition(m, n, k)
        kernel = self.kernel
        if threads == 1:
            depth = self._serial_depth(k)
            self._mark(0, kernel.offset_a, self._panel_height(m) * depth)
            width = min(n, 3 * kernel.unroll_n) if m <= kernel.p else min(n, kernel.r)
            self._mark(0, self._base_b, width * depth)
            return False
        depth = kernel.q if k >= 2 * kernel.q else k if k <= kernel.q else (k + 1) // 2
        left_m, left_n = m, min(n, kernel.r * threads)
        shares = []
        for index in range(threads_m):
            shares.append(-(-left_m // (threads_m - index)))
            left_m -= shares[-1]
        for thread in range(threads):
            height = self._panel_height(shares[thread % threads_m])
            self._mark(thread, kernel.offset_a, height * depth)
            width = min(max(-(-left_n // (threads - thread)), _SWITCH_RATIO), left_n)
            left_n -= width
            part = -(-width // _DIVIDE_RATE)
            stride = kernel.q * round_up(part, kernel.unroll_n) * _FLOAT_BYTES
            for side in range(_DIVIDE_RATE):
                columns = min(part, width - side * part)
                self._mark(thread, self._base_b + side * stride, columns * depth)
        return True

    def _partition(self, m: int, n: int, k: int) -> tuple[int, int]:
        """Return the threads along m, and in all."""
        if self._threads == 1 or m * n * k <= _SINGLE_THREAD_PRODUCT:
            return 1, 1
        threads_m = 1
        if m >= 2 * _SWITCH_RATIO:
            threads_m = self._threads
            while m < threads_m * _SWITCH_RATIO:
                threads_m //= 2
        threads_n = 1
        if n >= _SWITCH_RATIO * threads_m:
            threads_n = -(-n // (_SWITCH_RATIO * threads_m))
            if threads_m * threads_n > self._threads:
                threads_n = self._threads // threads_m
        return (threads_m, threads_m * threads_n) if threads_m * threads_n > 1 else (1, 1)

    def _serial_depth(self, k: int) -> int:
        q = self.kernel.q
        if k >= 2 * q:
            return q
        return k if k <= q else round_up(k // 2, self.kernel.unroll_m)

    def _panel_height(self, m: int) -> int:
        p = self.kernel.p
        if m >= 2 * p:
            return p
        return round_up(m // 2, self.kernel.unroll_m) if m > p else m

    def _mark(self, thread: int, start: int, elements: int) -> None:
        if elements <= 0:
            return
        first = start // PAGE_BYTES
        last = (start + elements * _FLOAT_BYTES - 1) // PAGE_BYTES + 1
        pages = self._touched[thread]
        if last > len(pages):
            pages.extend(bytes(last - len(pages)))
        new = last - first - pages.count(1, first, last)
        if new:
            pages[first:last] = b"\1" * (last - first)
            self.resident_bytes += new * PAGE_BYTES
