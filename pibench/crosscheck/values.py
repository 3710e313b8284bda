"""Two arrays of values against each other: how far apart, and how wide a tolerance would do."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

QUANTILE: Final = 0.99
TOP: Final = 5
_WHOLE: Final = 2  # dimensions of a blob of scores: images, classes


@dataclass(frozen=True)
class Tolerance:
    """What two values may differ by: `atol` + `rtol` x |the first|.

    Of blobs whose values are not at hand the Euclidean distance may be
    `atol` x sqrt(their number) + `rtol` x the first one's norm: what it is at most where
    every value is within the tolerance and one of the two is 0.
    """

    atol: float
    rtol: float

    def distance(self, count: int, norm: float) -> float:
        """The largest Euclidean distance of `count` values from some of that norm."""
        return self.atol * math.sqrt(count) + self.rtol * norm

    def __str__(self) -> str:
        return f"atol {self.atol:g}, rtol {self.rtol:g}"


@dataclass(frozen=True, kw_only=True)
class ValueComparison:
    """Two blobs of one shape, value by value; true if all are within the tolerance.

    Errors are absolute. `required_atol` alone would have done, and so would
    `required_rtol`; None where none would. `psnr_db` is 20 log10(range of
    the first / root mean square error), None for equal blobs; `cosine` None where a norm is 0.
    `top1` and `top5` say whether the highest scores of each image are the same classes in
    the same order, None for a blob that is no scores. `non_finite_differ` counts values that
    are finite in one alone, or infinite in another way.
    """

    agrees: bool
    tolerance: Tolerance
    count: int
    largest: float
    mean: float
    median: float
    quantile_99: float
    cosine: float | None
    psnr_db: float | None
    required_atol: float | None
    required_rtol: float | None
    non_finite_differ: int
    top1: bool | None
    top5: bool | None

    def __bool__(self) -> bool:
        return self.agrees


def compare_values(first: np.ndarray, second: np.ndarray, tolerance: Tolerance) -> ValueComparison:
    """Compare two arrays of one shape; raises ValueError for two of different shapes."""
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: {first.shape} and {second.shape}")
    a = first.astype(np.float64).reshape(-1)
    b = second.astype(np.float64).reshape(-1)
    finite = np.isfinite(a) & np.isfinite(b)
    both = ~finite & ((a == b) | (np.isnan(a) & np.isnan(b)))
    differ = int(a.size - finite.sum() - both.sum())
    error = np.abs(a[finite] - b[finite])
    size = np.abs(a[finite])
    excess = float((error - tolerance.rtol * size).max(initial=0.0))
    largest = float(error.max(initial=0.0))
    return ValueComparison(
        agrees=excess <= tolerance.atol and not differ,
        tolerance=tolerance,
        count=a.size,
        largest=largest,
        mean=float(error.mean()) if error.size else 0.0,
        median=float(np.median(error)) if error.size else 0.0,
        quantile_99=float(np.quantile(error, QUANTILE)) if error.size else 0.0,
        cosine=_cosine(a[finite], b[finite]),
        psnr_db=_psnr_db(a[finite], error),
        required_atol=None if differ else largest,
        required_rtol=None if differ else _required_rtol(error, size),
        non_finite_differ=differ,
        top1=_same_top(first, second, 1),
        top5=_same_top(first, second, TOP),
    )


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """The Euclidean distance of two arrays of one shape; infinite where one has no number."""
    with np.errstate(invalid="ignore"):
        difference = first.astype(np.float64) - second.astype(np.float64)
    # Infinities of one sign on both sides are equal, as are values that are both no number.
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    found = float(np.linalg.norm(np.where(same, 0.0, difference).reshape(-1)))
    return found if math.isfinite(found) else math.inf


def _required_rtol(error: np.ndarray, size: np.ndarray) -> float | None:
    """The least rtol that does without an atol; None where the first is 0 and the second not."""
    apart = error > 0
    if not apart.any():
        return 0.0
    if not size[apart].all():
        return None
    with np.errstate(over="ignore"):
        rtol = float((error[apart] / size[apart]).max())
    # What was rounded down in the division would just not do.
    rtol *= 1 + 4 * sys.float_info.epsilon
    return rtol if math.isfinite(rtol) else None


def _cosine(a: np.ndarray, b: np.ndarray) -> float | None:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(a @ b / norms, -1.0, 1.0)) if norms else None


def _psnr_db(a: np.ndarray, error: np.ndarray) -> float | None:
    root_mean_square = float(np.sqrt(np.mean(error**2))) if error.size else 0.0
    spread = float(np.ptp(a)) if a.size else 0.0
    return 20 * math.log10(spread / root_mean_square) if root_mean_square and spread else None


def _same_top(first: np.ndarray, second: np.ndarray, count: int) -> bool | None:
    """Whether the highest scores of each image are of the same classes, in their order."""
    if not is_scores(first.shape):
        return None
    rows = first.reshape(first.shape[0], -1), second.reshape(first.shape[0], -1)
    # Stable: of equal scores the class with the smaller number comes first, on both sides.
    top = [np.argsort(-row, axis=1, kind="stable")[:, :count] for row in rows]
    return bool(np.array_equal(top[0], top[1]))


def is_scores(shape: Sequence[int]) -> bool:
    """Whether a blob of this shape is scores of classes for images: N x C, or N x C x 1 x 1."""
    return (
        len(shape) >= _WHOLE
        and shape[0] > 0
        and shape[1] > 1
        and math.prod(shape[_WHOLE:], start=1) == 1
    )
