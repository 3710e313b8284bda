"""Times of phases: within others, of several threads, and of one that ends before its block."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING

import pytest

from pibench import timings

if TYPE_CHECKING:
    from pibench.timings import Phase

SLEEP_S = 0.05


def found(top: str) -> list[Phase]:
    """The phases of one test: those of the process are kept until it ends."""
    return [one for one in timings.phases() if one.path[0] == top]


def test_phases_are_below_the_phase_that_they_are_in_and_in_their_order() -> None:
    with timings.phase("first"):
        for _ in range(2):
            with timings.phase("unpack"):
                time.sleep(SLEEP_S)
        with timings.phase("compile"):
            pass
    prepare, unpack, compiled = found("first")
    assert (prepare.path, unpack.path) == (("first",), ("first", "unpack"))
    assert compiled.path == ("first", "compile")
    assert (prepare.times, unpack.times) == (1, 2)
    assert prepare.elapsed_s >= unpack.elapsed_s >= 2 * SLEEP_S
    assert compiled.started_s >= unpack.started_s + 2 * SLEEP_S


def test_threads_that_get_the_context_are_within_its_phase() -> None:
    def build() -> None:
        with timings.phase("image"):
            time.sleep(SLEEP_S)

    with timings.phase("together"), ThreadPoolExecutor() as pool:
        for _ in range(2):
            pool.submit(copy_context().run, build)
    together, image = found("together")
    assert image.path == ("together", "image")
    assert image.elapsed_s >= 2 * SLEEP_S
    assert together.times == 1


def test_a_phase_can_end_before_its_block_and_fail() -> None:
    def boot() -> None:
        with timings.phase("boot") as booting:
            booting.stop()
            with timings.phase("after the boot"):
                raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        boot()
    (boot_phase,) = found("boot")
    (after,) = found("after the boot")
    assert after.started_s >= boot_phase.started_s
    assert boot_phase.times == 1
    assert set(after.as_json()) == {"phase", "started_s", "elapsed_s", "times"}
