"""Statistics of a record's samples: the median, its uncertainty, and outliers."""

from __future__ import annotations

import re
from collections import Counter
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Final

from pibench.records.schema import LatencyInterval, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 9999
BOOTSTRAP_SEED: Final = 0
"""Fixed, so that the same samples have the same interval."""
_NUMBERS_AT_ONCE: Final = 4_000_000
"""The number of resampled times in memory at once: 32 MB."""
FEWEST_FOR_INTERVAL: Final = 3
"""With fewer samples the resampled medians add little to the samples themselves."""

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
    """Return the percentile bootstrap interval of the median of the samples that count.

    The method is from Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
    The result is None if `why_no_interval` gives a reason.
    """
    if why_no_interval(samples):
        return None
    import numpy as np  # noqa: PLC0415  (start-up time)

    counting = np.asarray(counting_ms(samples))
    random = np.random.default_rng(BOOTSTRAP_SEED)
    most = max(1, _NUMBERS_AT_ONCE // len(counting))
    medians = np.empty(RESAMPLES)
    # Not by scipy.stats.bootstrap: each run of real compute comes here, and scipy is optional.
    for first in range(0, RESAMPLES, most):
        size = (min(most, RESAMPLES - first), len(counting))
        chosen = counting[random.integers(0, len(counting), size)]
        medians[first : first + most] = np.median(chosen, axis=1)
    tail = (1 - CONFIDENCE) / 2
    low_ms, high_ms = np.quantile(medians, [tail, 1 - tail])
    return LatencyInterval(low_ms=float(low_ms), high_ms=float(high_ms), confidence=CONFIDENCE)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's correlation: that of ranks; 0 if all values of a side are equal."""
    import numpy as np  # noqa: PLC0415  (start-up time)

    if min(len(set(first)), len(set(second))) < 2:
        return 0.0

    def ranks(values: Sequence[float]) -> Any:
        """Equal values share the mean of their ranks."""
        _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[places]

    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


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
