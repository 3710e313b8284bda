"""Medians, their intervals and outliers: against known values, and where there is too little."""

from __future__ import annotations

import math
import random
import warnings
from statistics import median

import pytest

from pibench.records.schema import Sample
from pibench.records.statistics import (
    CONFIDENCE,
    interval_of,
    is_outlier,
    median_ms,
    rank_correlation,
    set_aside,
    why_no_interval,
)


def samples(*times_ms: float, aside: str | None = None) -> list[Sample]:
    return [Sample(latency_ms=one, set_aside=aside) for one in times_ms]


def test_the_median_is_of_those_that_count() -> None:
    mixed = [*samples(10.0, 30.0, 20.0), *samples(900.0, aside="throttled")]
    assert median_ms(mixed) == 20.0
    assert median_ms(samples(1.0, aside="throttled")) is None
    assert median_ms([]) is None


@pytest.mark.parametrize(
    ("count", "places", "confidence"),
    [(3, (0, 2), 0.75), (5, (0, 4), 0.9375), (6, (0, 5), 0.96875), (9, (1, 7), 0.9609375)],
)
def test_the_interval_ends_at_samples(
    count: int, places: tuple[int, int], confidence: float
) -> None:
    times = [674.0, 681.0, 670.0, 690.0, 677.0, 600.0, 700.0, 678.0, 679.0][:count]
    found = interval_of(samples(*times))
    assert found is not None
    low, high = (sorted(times)[place] for place in places)
    assert (found.low_ms, found.high_ms, found.confidence) == (low, high, confidence)


@pytest.mark.parametrize("count", [3, 5, 8, 25])
def test_the_interval_covers_the_true_median_as_often_as_it_states(count: int) -> None:
    draw = random.Random(5)  # noqa: S311
    hits, confidence, times = 0, 0.0, 4000
    for _ in range(times):
        found = interval_of(samples(*(draw.expovariate(1.0) for _ in range(count))))
        assert found is not None
        confidence = found.confidence
        hits += found.low_ms <= math.log(2) <= found.high_ms
    # Three standard deviations of a count of hits.
    assert abs(hits / times - confidence) < 3 * math.sqrt(confidence * (1 - confidence) / times)


@pytest.mark.parametrize(
    ("few", "reason"),
    [
        ([], "at least 3"),
        ([5.0], "at least 3"),
        ([5.0, 6.0], "at least 3"),
        ([5.0, 5.0, 5.0], "the same time"),
    ],
)
def test_too_few_or_equal_samples_have_no_interval(few: list[float], reason: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert interval_of(samples(*few)) is None
    assert reason in (why_no_interval(samples(*few)) or "")


def test_samples_that_do_not_count_make_no_interval() -> None:
    assert interval_of([*samples(1.0, 2.0), *samples(3.0, aside="x")]) is None


def test_ten_thousand_samples_have_a_narrow_interval() -> None:
    found = interval_of(samples(*(float(one % 997) for one in range(10_000))))
    assert found is not None
    assert 480.0 < found.low_ms < 498.0 < found.high_ms < 516.0


def test_outliers_by_the_modified_z_score() -> None:
    # Two that would hide each other from a test by standard deviations.
    times = [2.1, 2.6, 2.4, 2.5, 2.3, 2.1, 2.3, 2.6, 8.2, 8.3]
    assert [one for one in times if is_outlier(one, times)] == [8.2, 8.3]
    assert not is_outlier(5.0, [5.0])
    assert not is_outlier(5.0, [5.0] * 4)
    assert [one for one in (4.0, 6.0) if is_outlier(one, [4.0, 6.0])] == []


def test_one_that_differs_from_equal_ones_is_an_outlier() -> None:
    times = [100.0] * 9 + [500.0]
    assert median([abs(one - 100.0) for one in times]) == 0.0
    assert [one for one in times if is_outlier(one, times)] == [500.0]


def test_reasons_that_differ_in_their_figures_are_one() -> None:
    aside = [
        *samples(1.0, aside="the kernel swapped (1.0 MiB)"),
        *samples(1.0, aside="the kernel swapped (2.5 MiB)"),
    ]
    assert set_aside([*aside, *samples(1.0)]) == "2 of 3 set aside: the kernel swapped"
    mixed = [*aside, *samples(1.0, aside="the firmware reports throttled (0x4)")]
    assert set_aside(mixed) == (
        "3 of 3 set aside: the kernel swapped (2); the firmware reports throttled (1)"
    )
    assert set_aside(samples(1.0)) is None


def test_the_interval_and_the_correlation_are_scipy_s() -> None:
    from scipy.stats import quantile_test, spearmanr

    draw = random.Random(3)  # noqa: S311
    for count in (6, 7, 40, 999):
        times = [draw.lognormvariate(3, 0.2) for _ in range(count)]
        found = interval_of(samples(*times))
        assert found is not None
        theirs = quantile_test(times).confidence_interval(float(CONFIDENCE))
        assert (found.low_ms, found.high_ms) == (theirs.low, theirs.high)
    for count in (5, 8, 40):
        first, second = ([draw.randrange(5) for _ in range(count)] for _ in range(2))
        theirs = spearmanr(first, second).statistic
        assert rank_correlation(first, second) == pytest.approx(float(theirs))
    assert rank_correlation([1.0, 1.0], [1.0, 2.0]) == 0.0
