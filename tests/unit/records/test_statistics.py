"""Medians, their intervals and outliers: against known values, and where there is too little."""

from __future__ import annotations

import random
import warnings
from statistics import NormalDist, median

import pytest

from pibench.records.schema import Sample
from pibench.records.statistics import (
    BOOTSTRAP_SEED,
    CONFIDENCE,
    RESAMPLES,
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


def test_the_interval_is_the_same_each_time_and_contains_the_median() -> None:
    times = [674.0, 681.0, 670.0, 690.0, 677.0]
    first, second = interval_of(samples(*times)), interval_of(samples(*times))
    assert first is not None
    assert first == second
    assert first.low_ms <= 677.0 <= first.high_ms
    assert (first.low_ms, first.high_ms) == (670.0, 690.0)
    assert first.confidence == 0.95


def test_the_interval_covers_the_true_median_as_often_as_it_states() -> None:
    draw = random.Random(5)  # noqa: S311
    normal = NormalDist(100.0, 5.0)
    hits = 0
    for _ in range(100):
        found = interval_of(samples(*(normal.inv_cdf(draw.random()) for _ in range(25))))
        assert found is not None
        hits += found.low_ms <= 100.0 <= found.high_ms
    assert 0.90 <= hits / 100 <= 0.99


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


def test_ten_thousand_samples_take_no_memory_to_speak_of() -> None:
    found = interval_of(samples(*(float(one % 997) for one in range(10_000))))
    assert found is not None
    assert found.low_ms < 498.0 < found.high_ms


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
    import numpy as np
    from scipy.stats import bootstrap, spearmanr

    random = np.random.default_rng(3)
    for count in (3, 5, 40):
        times = [float(one) for one in random.lognormal(3, 0.2, count)]
        found = interval_of(samples(*times))
        assert found is not None
        theirs = bootstrap(
            (times,), np.median, n_resamples=RESAMPLES, confidence_level=CONFIDENCE,
            method="percentile", random_state=np.random.default_rng(BOOTSTRAP_SEED),
        ).confidence_interval  # fmt: skip
        assert (found.low_ms, found.high_ms) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
        first, second = random.integers(0, 5, (2, count + 3))
        if len(set(first)) > 1 < len(set(second)):
            assert rank_correlation(list(first), list(second)) == pytest.approx(
                float(spearmanr(first, second).statistic)
            )
