"""Which passes count: throttle bits of now and since, late news, swap."""

from __future__ import annotations

from typing import Any

import pytest

from pibench.runner.timing import Throttle, samples_of, why_disturbed

BOOT = Throttle(lag_s=0.0, since_boot=True)
POLLED = Throttle(lag_s=2.5)


def readings(*bits: int | None, every_s: float = 1.0) -> list[dict[str, Any]]:
    return [
        {
            "time_s": every_s * index,
            "throttled_bits": one,
            "clock_hz": None,
            "temperature_c": None,
            "swapped_bytes": None,
        }
        for index, one in enumerate(bits)
    ]


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        (0, 0, True),
        (None, None, True),
        # Since boot, and nothing now: an old story.
        (0x50000, 0x50000, True),
        # One came, beside an old one.
        (0x10000, 0x50000, False),
        (0, 0x80000, False),
        # Now, before or after.
        (0x1, 0, False),
        (0, 0x50005, False),
        (0x50005, 0x50000, False),
        # Unknown before: one that is set after may be of the pass.
        (None, 0x10000, False),
        # Bits that mean nothing.
        (0x100, 0x8000, True),
    ],
)
def test_bits_that_stay_until_the_next_boot(
    before: int | None, after: int | None, counts: bool
) -> None:
    (sample,) = samples_of([1.0], readings(before, after), BOOT)
    assert (sample.set_aside is None) is counts


def test_where_the_kernel_has_them_forgotten_any_is_recent() -> None:
    (sample,) = samples_of([1.0], readings(0x10000, 0x10000), POLLED)
    assert sample.set_aside == "the firmware reports under-voltage (0x10000)"


def test_news_belong_to_the_passes_that_they_may_be_of() -> None:
    reported = readings(0, 0, 0, 0, 0x40000, 0, 0)
    samples = samples_of([1.0] * 5, reported, POLLED)
    # The pass from 0 to 1 s was known by 3.5 s, that is by the reading at 4 s.
    assert [one.set_aside is None for one in samples] == [False] * 5
    samples = samples_of([1.0] * 5, reported, Throttle(lag_s=0.0))
    assert [one.set_aside is None for one in samples] == [True, True, True, False, False]


def test_a_stretch_of_readings_is_judged_as_a_pass_is() -> None:
    reported = readings(0, 0, 0x2, 0)
    assert why_disturbed(reported, 0, 1, Throttle()) is None
    assert why_disturbed(reported, 0, 3, Throttle()) == "the firmware reports clock capped (0x2)"


def test_readings_that_are_missing_are_refused() -> None:
    with pytest.raises(ValueError, match="2 times have 2 readings"):
        samples_of([1.0, 1.0], readings(0, 0), BOOT)


def test_the_worse_of_two_readings_is_kept() -> None:
    before, after = readings(0, 0)
    before |= {"clock_hz": 1_200_000_000, "temperature_c": 50.5, "swapped_bytes": 8192}
    after |= {"clock_hz": 600_000_000, "temperature_c": None, "swapped_bytes": 4096}
    (sample,) = samples_of([1.0], [before, after], BOOT)
    assert (sample.clock_hz, sample.temperature_c) == (600_000_000, 50.5)
    # A counter that runs backwards has moved nothing.
    assert (sample.swapped_bytes, sample.set_aside) == (0, None)


def test_several_reasons_are_all_named() -> None:
    before, after = readings(0, 0x3)
    before["swapped_bytes"], after["swapped_bytes"] = 0, 2**20
    (sample,) = samples_of([1.0], [before, after], BOOT)
    assert sample.set_aside == (
        "the firmware reports under-voltage, clock capped (0x3); the kernel swapped (1.0 MiB)"
    )


def test_a_pass_that_was_set_aside_judges_no_other() -> None:
    reported = readings(0, 0, 0, 0, 0, 1, 0)
    samples = samples_of([10.0, 10.1, 9.9, 10.0, 50.0, 60.0], reported, Throttle())
    assert [one.outlier for one in samples] == [False] * 6
    samples = samples_of([10.0, 10.1, 9.9, 10.0, 50.0], readings(*[0] * 6), Throttle())
    assert [one.outlier for one in samples] == [False] * 4 + [True]
