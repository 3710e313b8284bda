"""Compare the values of two blobs: their distance, and the tolerance that would accept it."""

from __future__ import annotations

import math
import sys
from array import array
from dataclasses import dataclass
from operator import mul, sub
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TOP: Final = 5
_WHOLE: Final = 2  # dimensions of a blob of scores: images, classes


@dataclass(frozen=True)
class Values:
    """The values of a blob, float32 and in C order, with its shape."""

    shape: tuple[int, ...]
    flat: array[float]

    @classmethod
    def decode(cls, shape: Sequence[int], content: bytes) -> Values:
        """Return the values of `content`, which are little-endian.

        Raises:
            ValueError: It has another number of values than the shape.
        """
        flat = array("f", content)
        if sys.byteorder == "big":
            flat.byteswap()
        if len(flat) != math.prod(shape):
            raise ValueError(f"{len(flat)} values for the shape {tuple(shape)}")
        return cls(tuple(shape), flat)

    def place(self, index: int) -> tuple[int, ...]:
        """Return the place in the shape of the value at that position in `flat`."""
        found: list[int] = []
        for size in reversed(self.shape):
            index, one = divmod(index, size)
            found.insert(0, one)
        return tuple(found)


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
    def of(cls, values: Values) -> NonFinite:
        """Count the values that are not finite."""
        if _all_finite(values.flat):
            return cls(
                size=len(values.flat), nan=0, infinite=0, first_nan=None, first_infinite=None
            )
        return cls(
            size=len(values.flat),
            nan=sum(map(math.isnan, values.flat)),
            infinite=sum(map(math.isinf, values.flat)),
            first_nan=_first(values, math.isnan),
            first_infinite=_first(values, math.isinf),
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


def _first(values: Values, kind: Callable[[float], bool]) -> tuple[int, ...] | None:
    """Return the place of the first value of that kind; None if there is none."""
    index = next((index for index, one in enumerate(values.flat) if kind(one)), None)
    return None if index is None else values.place(index)


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


def compare_values(first: Values, second: Values, tolerance: Tolerance) -> ValueComparison:
    """Compare the values of two blobs of one shape, one by one.

    Args:
        first: the reference values.
        second: the other values, of the same shape.
        tolerance: the accepted difference of each value.

    Raises:
        ValueError: if the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: {first.shape} and {second.shape}")
    a, b = first.flat, second.flat
    finite = [
        (one, other)
        for one, other in zip(a, b, strict=True)
        if math.isfinite(one) and math.isfinite(other)
    ]
    differ = sum(map(math.isinf, errors(first, second, equal_nan=tolerance.equal_nan)))
    error = [abs(one - other) for one, other in finite]
    size = [abs(one) for one, _ in finite]
    excess = max(
        (one - tolerance.rtol * whole for one, whole in zip(error, size, strict=True)), default=0.0
    )
    largest = max(error, default=0.0)
    return ValueComparison(
        agrees=excess <= tolerance.atol and not differ,
        tolerance=tolerance,
        count=len(a),
        largest=largest,
        mean=fmean(error) if error else 0.0,
        median=median(error) if error else 0.0,
        # The last of the 99 that part a hundredth each.
        quantile_99=quantiles(error, n=100, method="inclusive")[-1] if error[1:] else largest,
        cosine=_cosine(finite),
        psnr_db=_psnr_db(finite, error),
        required_atol=None if differ else largest,
        required_rtol=None if differ else _required_rtol(error, size),
        non_finite=(NonFinite.of(first), NonFinite.of(second)),
        non_finite_differ=differ,
        top1=_same_top(first, second, 1),
        top5=_same_top(first, second, TOP),
    )


def errors(first: Values, second: Values, *, equal_nan: bool = False) -> array[float]:
    """Compute the absolute differences of the values of two blobs of one shape, in order.

    They are infinite where a value is NaN or infinite. With `equal_nan` they are 0 where both
    values are NaN, or infinite with the same sign.
    """
    found = array("d", map(abs, map(sub, first.flat, second.flat)))
    if _all_finite(found):
        return found
    for index, one in enumerate(found):
        if not math.isfinite(one):
            a, b = first.flat[index], second.flat[index]
            same = a == b or (math.isnan(a) and math.isnan(b))
            found[index] = 0.0 if equal_nan and same else math.inf
    return found


def distance(first: Values, second: Values, *, equal_nan: bool = False) -> float:
    """Compute the Euclidean distance of two blobs of one shape; infinite as `errors` is."""
    return _norm(errors(first, second, equal_nan=equal_nan))


def norm(values: Values) -> float:
    """Compute the Euclidean norm of the finite values."""
    flat = values.flat
    return _norm(flat if _all_finite(flat) else array("f", filter(math.isfinite, flat)))


def _all_finite(numbers: Sequence[float]) -> bool:
    """Return whether all are finite: a sum is not if one is not, and float32 cannot overflow it."""
    return math.isfinite(sum(numbers))


def _norm(numbers: Sequence[float]) -> float:
    return math.sqrt(sum(map(mul, numbers, numbers)))


def _required_rtol(error: Sequence[float], size: Sequence[float]) -> float | None:
    """Return the smallest sufficient rtol with atol 0; None if only the first is 0 somewhere."""
    apart = [(one, whole) for one, whole in zip(error, size, strict=True) if one > 0]
    if not all(whole for _, whole in apart):
        return None
    # The division may round down, to a value slightly too small.
    rtol = max((one / whole for one, whole in apart), default=0.0)
    rtol *= 1 + 4 * sys.float_info.epsilon
    return rtol if math.isfinite(rtol) else None


def _cosine(pairs: Sequence[tuple[float, float]]) -> float | None:
    a, b = [one for one, _ in pairs], [other for _, other in pairs]
    norms = _norm(a) * _norm(b)
    return max(-1.0, min(1.0, sum(map(mul, a, b)) / norms)) if norms else None


def _psnr_db(pairs: Sequence[tuple[float, float]], error: Sequence[float]) -> float | None:
    if not error:
        return None
    root_mean_square = _norm(error) / math.sqrt(len(error))
    reference = [one for one, _ in pairs]
    spread = max(reference) - min(reference)
    return 20 * math.log10(spread / root_mean_square) if root_mean_square and spread else None


def _same_top(first: Values, second: Values, count: int) -> bool | None:
    """Return whether the highest scores of each image are the same classes in the same order."""
    if not is_scores(first.shape) or any(map(math.isnan, (*first.flat, *second.flat))):
        return None
    classes = first.shape[1]

    def top(row: Sequence[float]) -> list[int]:
        # Among equal scores the lower class number is first: a sort keeps their order.
        return sorted(range(classes), key=row.__getitem__, reverse=True)[:count]

    return all(
        top(first.flat[start : start + classes]) == top(second.flat[start : start + classes])
        for start in range(0, len(first.flat), classes)
    )


def is_scores(shape: Sequence[int]) -> bool:
    """Return whether this shape is class scores of images: N x C, or N x C x 1 x 1."""
    return (
        len(shape) >= _WHOLE
        and shape[0] > 0
        and shape[1] > 1
        and math.prod(shape[_WHOLE:], start=1) == 1
    )
