"""Statistics of a record's samples: the median, its uncertainty, and outliers."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from fractions import Fraction
from statistics import correlation, fmean, median
from typing import TYPE_CHECKING, Final

from pibench.records.schema import LatencyInterval, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE: Final = Fraction(95, 100)
"""The least confidence of an interval where there are enough samples for it."""
FEWEST_FOR_INTERVAL: Final = 3
"""Two samples cover the median as often as not."""

OUTLIER_SCORE: Final = 3.5
"""Modified z-scores above this are outliers: Iglewicz and Hoaglin, How to Detect and Handle
Outliers, ASQC 1993, section 3.3."""
_MAD_SCALE: Final = 0.6745
"""The 0.75 quantile of the standard normal distribution: a MAD in standard deviations."""
_MEAN_DEVIATION_SCALE: Final = 1.253314
"""The square root of pi / 2: a standard deviation in mean absolute deviations, for a MAD of 0."""


def counting_ms(samples: Sequence[Sample]) -> list[float]:
    """Return the times of the samples that count, in ms and in order; outliers count."""
    return [one.latency_ms for one in samples if one.set_aside is None]


def median_ms(samples: Sequence[Sample]) -> float | None:
    """Return the median of the samples that count, in ms; None if none counts."""
    counting = counting_ms(samples)
    return median(counting) if counting else None


def is_outlier(value_ms: float, among_ms: Sequence[float]) -> bool:
    """Return whether a time's modified z-score among all, itself included, is beyond 3.5."""
    middle = median(among_ms)
    distances = [abs(one - middle) for one in among_ms]
    mad, mean = median(distances), fmean(distances)
    if mean == 0.0:
        return False
    score = _MAD_SCALE / mad if mad else 1.0 / (_MEAN_DEVIATION_SCALE * mean)
    return abs(value_ms - middle) * score > OUTLIER_SCORE


def interval_of(samples: Sequence[Sample]) -> LatencyInterval | None:
    """Return an interval of the median of the samples that count: from one of them to another.

    It is the shortest that leaves out as many at each end and has a confidence of 95 %. It holds
    for times of any distribution: the median is below the r-th of n times if fewer than r of them
    are below it, and each of them is with probability 1/2 (Conover, Practical Nonparametric
    Statistics, 3rd edition, section 3.2). Of fewer than six, all are within the interval, and its
    confidence is lower: 1 - 2^(1 - n). The result is None if `why_no_interval` gives a reason.
    """
    if why_no_interval(samples):
        return None
    ordered = sorted(counting_ms(samples))
    count = len(ordered)
    # `missed` of the 2^count ways to be below the median or not have fewer than `rank` below.
    rank, ways, missed = 1, count, 1
    all_at_one_end = 2 ** (count - 1)
    most_missed = int((1 - CONFIDENCE) * all_at_one_end)
    while missed + ways <= most_missed:
        missed += ways
        rank += 1
        ways = ways * (count - rank + 1) // rank
    return LatencyInterval(
        low_ms=ordered[rank - 1],
        high_ms=ordered[-rank],
        confidence=1 - missed / all_at_one_end,
    )


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's correlation: that of ranks; 0 if all values of a side are equal."""
    if min(len(set(first)), len(set(second))) < 2:
        return 0.0

    def ranks(values: Sequence[float]) -> list[float]:
        """Equal values share the mean of their ranks."""
        ordered = sorted(values)
        return [(bisect_left(ordered, one) + bisect_right(ordered, one)) / 2 for one in values]

    return correlation(ranks(first), ranks(second))


def why_no_interval(samples: Sequence[Sample]) -> str | None:
    """Explain why too few or equal samples do not support an interval; None if they do."""
    counting = counting_ms(samples)
    if len(counting) < FEWEST_FOR_INTERVAL:
        return f"an interval needs at least {FEWEST_FOR_INTERVAL} passes"
    if len(set(counting)) == 1:
        return "no interval: all passes took the same time"
    return None


def set_aside(samples: Sequence[Sample]) -> str | None:
    """Summarize how many samples do not count, and why; None if all count.

    Reasons that differ only in their figures in brackets are merged.
    """
    reasons = [one.set_aside for one in samples if one.set_aside is not None]
    if not reasons:
        return None
    kinds = Counter(re.sub(r" \([^)]*\)", "", reason) for reason in reasons)
    listed = "; ".join(
        f"{kind} ({count})" if len(kinds) > 1 else kind for kind, count in kinds.items()
    )
    return f"{len(reasons)} of {len(samples)} set aside: {listed}"
