"""The packing buffers: how far products reach, and when threads share one."""

from __future__ import annotations

import pytest

from pibench.plan.environment import Environment
from pibench.plan.openblas import PackingBuffers

PI = Environment(architecture="arm64", core="cortexa53", threads=4)


def buffers(threads: int = 4) -> PackingBuffers:
    return PackingBuffers(PI.kernel, threads, PI.max_threads)


def test_a_small_product_stays_on_one_thread() -> None:
    assert not buffers().product(64, 64, 64)
    assert buffers().product(65, 64, 64)
    assert not buffers(threads=1).product(1000, 1000, 1000)


def test_a_product_seen_before_touches_nothing_new() -> None:
    blas = buffers()
    blas.product(256, 3136, 576)
    before = blas.resident_bytes
    blas.product(256, 3136, 576)
    assert blas.resident_bytes == before > 0


def test_more_threads_touch_more() -> None:
    touched = []
    for threads in (1, 2, 4):
        blas = buffers(threads)
        blas.product(512, 4096, 512)
        touched.append(blas.resident_bytes)
    assert touched == sorted(touched)


def test_the_job_table_is_half_a_mebibyte() -> None:
    assert buffers().job_table_bytes == 524_288


@pytest.mark.parametrize("core", ["cortexa53", "cortexa72", "haswell", "prescott", "unheard-of"])
def test_every_core_has_kernels(core: str) -> None:
    assert Environment(architecture="amd64", core=core, threads=2).kernel.p > 0
