"""The emulator's memory: measured once, stored, and derived from the probes' reports."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from pibench.errors import HostError
from pibench.targets import confined
from pibench.targets.base import BaselineKey
from pibench.targets.confined import EmulatorOverhead, conclude, evaluate, stored_overhead
from pibench.targets.job import Measure
from pibench.targets.probe_session import ProbeSession

if TYPE_CHECKING:
    from pibench.images.build import Builder

MIB = 2**20
KIND = BaselineKey(protocol="caffe-time", compute="memory-only", threads=4)
CAFFE = {"engine_version": "caffe version 1.0.0", "blas": "OpenBLAS", "blas_core": "cortexa53"}
KNOWN = EmulatorOverhead(
    baseline={"peak_rss_bytes": 80 * MIB, "emulator_rss_bytes": 24 * MIB, "exit_status": 0},
    emulator_bytes=28 * MIB,
    emulator_error_bytes=3 * MIB,
    probe_bytes=30 * MIB,
    caffe=CAFFE,
    measured="2026-01-31",
)
NO_BUILDER = cast("Builder", None)


def bare(peak_mib: float, emulator_mib: float | None = 24, **changes: Any) -> dict[str, Any]:
    """A run of the program with no network, as the probe reports it."""
    return {
        "exit_status": 0,
        "signal": None,
        "fatal_message": None,
        "log_tail": [],
        "peak_rss_bytes": int(peak_mib * MIB),
        "emulator_rss_bytes": None if emulator_mib is None else int(emulator_mib * MIB),
    } | changes


def calibration_event(*runs: dict[str, Any], filled_mib: float | None = 28) -> dict[str, Any]:
    """The probe's `calibration`."""
    filled = None if filled_mib is None else bare(990, filled_mib)
    return {"bare": [list(runs)], "filled": filled, "probe_rss_kib": 30 * 1024}


# ---------------------------------------------------------------- kept


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path))
    return tmp_path / "calibrations"


class Measuring:
    """Counts how often it was asked to measure."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> EmulatorOverhead:
        self.times += 1
        return replace(KNOWN, emulator_bytes=self.times * MIB)


def test_it_is_measured_once_for_the_same_parts() -> None:
    measure = Measuring()
    first = stored_overhead("container", {"qemu": "7.2"}, measure)
    assert stored_overhead("container", {"qemu": "7.2"}, measure) == first
    assert measure.times == 1


def test_another_emulator_image_or_probe_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Measuring()
    for parts in ({"qemu": "7.2"}, {"qemu": "10.0"}, {"qemu": "7.2", "image": "x"}):
        stored_overhead("container", parts, measure)
    stored_overhead("sysroot", {"qemu": "7.2"}, measure)
    monkeypatch.setattr(confined, "probe_digest", lambda: "another")
    stored_overhead("container", {"qemu": "7.2"}, measure)
    assert measure.times == 5


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[1]", "[" * 100_000, '{"baseline": {}}', '{"values": {}, "sha256": ""}'],
)
def test_what_cannot_be_read_is_measured_again(text: str, cache: Path) -> None:
    measure = Measuring()
    stored_overhead("container", {}, measure)
    (path,) = cache.iterdir()
    path.write_text(text)
    assert stored_overhead("container", {}, measure).emulator_bytes == 2 * MIB
    assert stored_overhead("container", {}, measure).emulator_bytes == 2 * MIB
    assert measure.times == 2


def test_what_was_changed_is_measured_again(cache: Path) -> None:
    measure = Measuring()
    stored_overhead("container", {}, measure)
    (path,) = cache.iterdir()
    path.write_text(path.read_text().replace(f": {MIB}", f": {900 * MIB}"))
    assert stored_overhead("container", {}, measure).emulator_bytes == 2 * MIB


def test_what_failed_is_not_kept(cache: Path) -> None:
    def fail() -> EmulatorOverhead:
        raise HostError("no")

    with pytest.raises(HostError):
        stored_overhead("container", {}, fail)
    assert not cache.exists()


def test_a_cache_that_takes_nothing_costs_a_measurement_each_time(cache: Path) -> None:
    cache.write_text("")
    measure = Measuring()
    for _ in range(2):
        with pytest.warns(UserWarning, match=f"not kept: {cache}.*; it is measured for each run"):
            stored_overhead("container", {}, measure)
    assert measure.times == 2


# ---------------------------------------------------------------- concluded


def test_the_emulator_uses_most_where_the_device_is_full() -> None:
    found = evaluate(
        calibration_event(bare(80)), CAFFE, calibration_event(bare(57, None), filled_mib=None)
    )
    assert found.emulator_bytes == 28 * MIB
    assert found.probe_bytes == 30 * MIB
    # By its mappings 24 MiB in the bare program, by the twin 80 - 57.
    assert found.emulator_error_bytes == 1 * MIB
    assert found.caffe == CAFFE


def test_the_bare_program_counts_where_it_uses_more() -> None:
    assert evaluate(calibration_event(bare(80, 31)), CAFFE, None).emulator_bytes == 31 * MIB
    assert (
        evaluate(calibration_event(bare(80), filled_mib=None), CAFFE, None).emulator_bytes
        == 24 * MIB
    )


def test_of_several_runs_that_with_the_median_peak_counts() -> None:
    found = evaluate(calibration_event(bare(80, 24), bare(95, 40), bare(79, 20)), CAFFE, None)
    assert found.baseline["peak_rss_bytes"] == 80 * MIB
    assert found.baseline["emulator_rss_bytes"] == 24 * MIB


def test_without_a_twin_the_error_is_not_known() -> None:
    assert evaluate(calibration_event(bare(80)), CAFFE, None).emulator_error_bytes is None


def test_without_an_emulator_there_is_nothing_to_allow_for_but_the_probe() -> None:
    found = evaluate(
        calibration_event(bare(57, None), filled_mib=None), CAFFE, calibration_event(bare(57, None))
    )
    assert (found.emulator_bytes, found.emulator_error_bytes) == (0, None)
    assert found.probe_bytes == 30 * MIB


@pytest.mark.parametrize(
    ("ending", "expected_message"),
    [
        ({"exit_status": None, "signal": 9}, "(signal 9): no output"),
        ({"exit_status": 127, "log_tail": ["a", "b", "c", "no library"]}, "127): b | c | no libr"),
        ({"exit_status": 1, "fatal_message": "bad"}, "(status 1): bad"),
    ],
)
def test_a_program_that_does_not_start_is_not_a_baseline(
    ending: dict[str, Any], expected_message: str
) -> None:
    with pytest.raises(HostError) as fault:
        evaluate(calibration_event(bare(80), bare(10) | ending), CAFFE, None)
    assert expected_message in fault.value.message
    assert "pibench image verify" in fault.value.line()


def session() -> ProbeSession:
    return ProbeSession()


def test_a_silent_probe_is_reported_as_a_fault() -> None:
    measure = Measure(kinds=[KIND], repeats=3, fill_bytes=None)
    with pytest.raises(HostError, match="could not measure the bare program: no word"):
        conclude(session(), measure, NO_BUILDER)
    hearing = session()
    hearing.feed(b"qemu: could not open /lib/ld-linux-aarch64.so.1\n")
    with pytest.raises(HostError, match=r"ld-linux-aarch64\.so\.1"):
        conclude(hearing, measure, NO_BUILDER)


def test_what_is_not_emulated_is_not_compared_with_the_twin() -> None:
    hearing = session()
    hearing.machine = CAFFE | {"cores": 4}
    hearing.calibration = calibration_event(bare(57, None), filled_mib=None)
    found = conclude(hearing, Measure(kinds=[KIND], repeats=3, fill_bytes=None), NO_BUILDER)
    assert found.emulator_bytes == 0
    assert found.caffe == CAFFE


# ---------------------------------------------------------------- used


def test_a_result_is_completed_with_what_is_known() -> None:
    result = bare(300, 26)
    before = deepcopy(result)
    completed = KNOWN.completed(result)
    assert completed["baseline"] == KNOWN.baseline
    assert completed["emulator_rss_bytes"] == 26 * MIB
    assert result == before


def test_a_process_that_ended_too_soon_to_be_looked_at_had_the_bare_program_s_share() -> None:
    assert KNOWN.completed(bare(60, None))["emulator_rss_bytes"] == 24 * MIB
