#!/usr/bin/env bash
# Python's statistics.quantiles reports a 95th percentile above the slowest of ten runs, and one below zero.
#
# Guess: a percentile of measured times lies between the fastest and the slowest of them, in each library.
# Seen with Python 3.11 (numpy 2.4.6, pandas 3.1.1, scipy 1.17.1), for nine times of 10 ms and one of 30 ms, and for 1, 2, 9 ms:
#                                                  95th    99th    5th of 1, 2, 9
#   statistics.quantiles, the default                39    47.8               0.2
#     method="inclusive"                             21    28.2               1.1
#   numpy.percentile, pandas, scipy's scoreatpercentile
#                                                    21    28.2               1.1
#   scipy.stats.mstats.mquantiles                    30      30                 1
# The 5th of 1 and 9 ms is -5.8 ms by the default. It places run i of n at i / (n + 1) and goes on in a straight line beyond
# both ends: the 95th percentile lies within the runs from 19 of them on, the 99th from 99. A table with the 95th percentile of
# ten runs, which is usual where each takes long on a small board, has a time that is a third longer than the longest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 pandas==3.1.1 scipy==1.17.1
"$folder/venv/bin/python" - <<'PROGRAM'
import statistics

import numpy as np
import pandas as pd
from scipy import stats
from scipy.stats import mstats

times, few = [10.0] * 9 + [30.0], [1.0, 2.0, 9.0]


def by_statistics(values, percent, method="exclusive"):
    return statistics.quantiles(values, n=100, method=method)[percent - 1]


for label, function, expected in [
    ("statistics.quantiles", by_statistics, (39, 47.8, 0.2)),
    ("inclusive", lambda values, percent: by_statistics(values, percent, "inclusive"), (21, 28.2, 1.1)),
    ("numpy.percentile", np.percentile, (21, 28.2, 1.1)),
    ("pandas", lambda values, percent: pd.Series(values).quantile(percent / 100), (21, 28.2, 1.1)),
    ("scoreatpercentile", stats.scoreatpercentile, (21, 28.2, 1.1)),
    ("mquantiles", lambda values, percent: mstats.mquantiles(values, [percent / 100])[0], (30, 30, 1)),
]:
    found = [float(function(times, 95)), float(function(times, 99)), float(function(few, 5))]
    print(f"{label}: 95th {found[0]:.4g}, 99th {found[1]:.4g}, 5th of 1, 2, 9: {found[2]:.3g}")
    assert np.allclose(found, expected, atol=0.05), "the behaviour has changed"
    if label != "statistics.quantiles":
        assert found[1] <= max(times) and found[2] >= min(few)
below = by_statistics([1.0, 9.0], 5)
print(f"statistics.quantiles: 5th of 1, 9: {below:.3g}")
assert np.isclose(below, -5.8), "the behaviour has changed"
PROGRAM
