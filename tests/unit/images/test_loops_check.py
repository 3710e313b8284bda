"""When the stand-ins for Caffe's own loops are used: what their check compares and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pibench.errors import HostError
from pibench.images import blas
from pibench.images.loops_check import MOST_PAGES, Usage, difference, failure_of, usage_of
from pibench.settings import asset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MESSAGES = """\
I1129 caffe.cpp:409] *** Benchmark ends ***
memory-only BLAS: threads 1 gemm 48 slices 3 gemv 26 forwarded 2 vector 52 minor_faults 65428 \
peak_rss_kib 290664
memory-only loops: vector 89 im2col 16 layer 8 filler 0 forwarded 17
"""


def usage(**changes: int) -> Usage:
    return Usage(**{"minor_faults": 65428, "peak_rss_kib": 290664, "calls": {}, **changes})  # type: ignore[arg-type]


def test_both_libraries_report_what_they_did() -> None:
    found = usage_of(MESSAGES)
    assert (found.minor_faults, found.peak_rss_kib) == (65428, 290664)
    assert found.calls == {"vector": 89, "im2col": 16, "layer": 8, "filler": 0, "forwarded": 17}
    without = "\n".join(MESSAGES.splitlines()[:2])
    assert usage_of(without).calls == {}


def test_a_run_without_the_blas_is_no_comparison() -> None:
    with pytest.raises(HostError, match="was not in effect"):
        usage_of("memory-only loops: vector 1")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"minor_faults": 65428 - MOST_PAGES}, None),
        ({"minor_faults": 65428 - MOST_PAGES - 1}, "65171 page faults in place of 65428"),
        ({"minor_faults": 65428 + MOST_PAGES + 1}, "65685 page faults in place of 65428"),
        ({"peak_rss_kib": 290664 + 4 * MOST_PAGES}, None),
        ({"peak_rss_kib": 290664 + 4 * MOST_PAGES + 4}, "a peak of 291692 KiB in place of 290664"),
    ],
)
def test_more_or_fewer_pages_than_the_loops_touch_is_a_failure(
    changes: dict[str, int], expected: str | None
) -> None:
    assert difference(usage(), usage(**changes)) == expected


@pytest.mark.parametrize("passed", [True, False])
def test_the_amd64_result_counts_where_nothing_runs_arm64(
    passed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_machine: Callable[[str], None],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    on_machine("x86_64")
    twin = tmp_path / "twin/libpibench_blas.so"
    twin.parent.mkdir()
    if passed:
        (twin.parent / "libpibench_loops.so").touch()
    loops = tmp_path / "libpibench_loops.so"
    failure = failure_of("arm64", tmp_path, tmp_path / "b.so", loops, lambda: twin)
    assert failure == (None if passed else "they failed their check on the amd64 root")


def test_another_machine_without_an_emulator_uses_no_stand_ins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_machine: Callable[[str], None]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    on_machine("riscv64")
    failure = failure_of("arm64", tmp_path, tmp_path / "b.so", tmp_path / "l.so", lambda: tmp_path)
    assert failure is not None
    assert "install" not in failure
    assert "qemu-user" in failure


def test_a_program_that_cannot_run_is_a_failure_of_the_check(
    tmp_path: Path, on_machine: Callable[[str], None]
) -> None:
    on_machine("x86_64")
    failure = failure_of("amd64", tmp_path, tmp_path / "b.so", tmp_path / "l.so", lambda: tmp_path)
    assert failure is not None
    assert failure.startswith("their check failed: convolution: ")


def test_each_kind_of_stand_in_has_a_source_and_networks_to_check_it() -> None:
    source = (asset(blas.SOURCES) / "memory_only_loops.c").read_text()
    assert all(f"calls.{kind}++" in source for kind in ("vector", "im2col", "layer", "filler"))
    names = {path.name for path in blas.source_files()}
    assert names == {
        *("memory_only_blas.c", "memory_only_forks.c", "memory_only_loops.c", "page_touch.h"),
        *("convolution.prototxt", "pooling.prototxt"),
    }
