"""Compare two arrays of values: their distance, and the tolerance that would accept it."""

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
    """The accepted difference of two values: `atol` + `rtol` x |the first|.

    A NaN or an infinity equals nothing; with `equal_nan` it equals another NaN, or an
    infinity of the same sign.

    For blobs without values the accepted Euclidean distance is
    `atol` x sqrt(number of values) + `rtol` x the first one's norm: the maximum if
    every value is within the tolerance and one of the two terms is 0.
    """

    atol: float
    rtol: float
    equal_nan: bool = False

    def distance(self, count: int, norm: float) -> float:
        """Return the largest accepted Euclidean distance from `count` values with that norm."""
        return self.atol * math.sqrt(count) + self.rtol * norm

    def __str__(self) -> str:
        alike = ", NaN equal to NaN" if self.equal_nan else ""
        return f"atol {self.atol:g}, rtol {self.rtol:g}{alike}"


@dataclass(frozen=True, kw_only=True)
class NonFinite:
    """The number of NaN or infinite values among the `size` values of a blob, and the first places.

    The places are None if there is no such value.
    """

    size: int
    nan: int
    infinite: int
    first_nan: tuple[int, ...] | None
    first_infinite: tuple[int, ...] | None

    @classmethod
    def of(cls, array: np.ndarray) -> NonFinite:
        """Count the non-finite values of an array."""
        nan, infinite = np.isnan(array), np.isinf(array)
        return cls(
            size=array.size,
            nan=int(nan.sum()),
            infinite=int(infinite.sum()),
            first_nan=_first(nan),
            first_infinite=_first(infinite),
        )

    def __bool__(self) -> bool:
        return bool(self.nan or self.infinite)

    def __str__(self) -> str:
        parts = [
            f"{count} of {self.size} values {'is' if count == 1 else 'are'} {what}, "
            f"the first at [{', '.join(map(str, place))}]"
            for count, what, place in (
                (self.nan, "NaN", self.first_nan),
                (self.infinite, "infinite", self.first_infinite),
            )
            if place is not None
        ]
        return " and ".join(parts) or "all values are finite"


def describe_non_finite(first: NonFinite, second: NonFinite) -> str:
    """Describe the NaN and infinities of a blob on two sides; empty if there are none."""
    if not first and not second:
        return ""
    return f"{first} on both sides" if first == second else f"{first} | {second}"


def _first(mask: np.ndarray) -> tuple[int, ...] | None:
    """Find the first true element; None if there is none."""
    if not mask.any():
        return None
    return tuple(int(index) for index in np.unravel_index(int(mask.argmax()), mask.shape))


@dataclass(frozen=True, kw_only=True)
class ValueComparison:
    """Two blobs of one shape, value by value; true if all are within the tolerance.

    Errors are absolute. `required_atol` and `required_rtol` are the smallest tolerances that
    alone would accept the difference, None if none would. `psnr_db` is 20 log10(range of
    the first / root mean square error), None for equal blobs; `cosine` is None if a norm is 0.
    `top1` and `top5` are true if the highest scores of each image are the same classes in
    the same order, None for a blob that is not scores or has a NaN, which has no rank.
    `non_finite` describes the NaN and infinities of each side; `non_finite_differ` counts the
    places where one side or both have one, except those that `equal_nan` accepts as equal.
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
    non_finite: tuple[NonFinite, NonFinite]
    non_finite_differ: int
    top1: bool | None
    top5: bool | None

    def __bool__(self) -> bool:
        return self.agrees


def compare_values(first: np.ndarray, second: np.ndarray, tolerance: Tolerance) -> ValueComparison:
    """Compare two arrays of one shape, element by element.

    Args:
        first: the reference values (float32, any shape).
        second: the other values, of the same shape.
        tolerance: the accepted difference of each value.

    Raises:
        ValueError: if the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: {first.shape} and {second.shape}")
    a = first.astype(np.float64).reshape(-1)
    b = second.astype(np.float64).reshape(-1)
    finite = np.isfinite(a) & np.isfinite(b)
    differ = int(np.isinf(errors(first, second, equal_nan=tolerance.equal_nan)).sum())
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
        non_finite=(NonFinite.of(first), NonFinite.of(second)),
        non_finite_differ=differ,
        top1=_same_top(first, second, 1),
        top5=_same_top(first, second, TOP),
    )


def errors(first: np.ndarray, second: np.ndarray, *, equal_nan: bool = False) -> np.ndarray:
    """Compute the absolute differences of two float32 arrays of one shape, as float64.

    They are infinite where a value is NaN or infinite. With `equal_nan` they are 0 where both
    values are NaN, or infinite with the same sign.
    """
    with np.errstate(invalid="ignore"):
        found = np.abs(first.astype(np.float64) - second.astype(np.float64))
    found = np.where(np.isfinite(first) & np.isfinite(second), found, np.inf)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    return np.where(same, 0.0, found) if equal_nan else found


def distance(first: np.ndarray, second: np.ndarray, *, equal_nan: bool = False) -> float:
    """Compute the Euclidean distance of two arrays of one shape; infinite as `errors` is."""
    return float(np.linalg.norm(errors(first, second, equal_nan=equal_nan).reshape(-1)))


def _required_rtol(error: np.ndarray, size: np.ndarray) -> float | None:
    """Return the smallest sufficient rtol with atol 0; None if only the first is 0 somewhere."""
    apart = error > 0
    if not apart.any():
        return 0.0
    if not size[apart].all():
        return None
    with np.errstate(over="ignore"):
        rtol = float((error[apart] / size[apart]).max())
    # The division may round down, to a value slightly too small.
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
    """Return whether the highest scores of each image are the same classes in the same order."""
    if not is_scores(first.shape) or np.isnan(first).any() or np.isnan(second).any():
        return None
    rows = first.reshape(first.shape[0], -1), second.reshape(first.shape[0], -1)
    # Stable sort: among equal scores the lower class number is first, on both sides.
    top = [np.argsort(-row, axis=1, kind="stable")[:, :count] for row in rows]
    return bool(np.array_equal(top[0], top[1]))


def is_scores(shape: Sequence[int]) -> bool:
    """Return whether this shape is class scores of images: N x C, or N x C x 1 x 1."""
    return (
        len(shape) >= _WHOLE
        and shape[0] > 0
        and shape[1] > 1
        and math.prod(shape[_WHOLE:], start=1) == 1
    )
