"""Values against values: what is true for any two arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pibench.crosscheck import values
from pibench.crosscheck.values import Tolerance, Values

EXACT = Tolerance(0.0, 0.0)
SHAPES = arrays.array_shapes(max_dims=3, max_side=6)


def pair(**options: bool) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Two float32 arrays of one shape."""
    element = st.floats(width=32, allow_subnormal=False, **options)
    return SHAPES.flatmap(
        lambda shape: st.tuples(
            *(arrays.arrays(np.float32, shape, elements=element) for _ in range(2))
        )
    )


def decoded(array: np.ndarray) -> Values:
    return Values.decode(array.shape, array.astype("<f4").tobytes())


def compare_values(
    first: np.ndarray, second: np.ndarray, tolerance: Tolerance
) -> values.ValueComparison:
    return values.compare_values(decoded(first), decoded(second), tolerance)


def distance(first: np.ndarray, second: np.ndarray, *, equal_nan: bool = False) -> float:
    return values.distance(decoded(first), decoded(second), equal_nan=equal_nan)


FINITE = pair(allow_nan=False, allow_infinity=False)
ANY = pair(allow_nan=True, allow_infinity=True)
SHARE = st.floats(0, 1e30)


@given(ANY)
def test_an_array_agrees_with_itself_exactly(both: tuple[np.ndarray, np.ndarray]) -> None:
    found = compare_values(both[0], both[0].copy(), Tolerance(0.0, 0.0, equal_nan=True))
    assert found
    assert (found.largest, found.required_atol, found.required_rtol) == (0.0, 0.0, 0.0)
    assert distance(both[0], both[0], equal_nan=True) == 0.0
    # Without equal_nan, if all its values are finite.
    assert bool(compare_values(*both[:1] * 2, EXACT)) == bool(np.isfinite(both[0]).all())


@given(ANY, SHARE, SHARE, st.booleans())
def test_it_agrees_if_every_value_does(
    both: tuple[np.ndarray, np.ndarray], atol: float, rtol: float, equal_nan: bool
) -> None:
    found = compare_values(*both, Tolerance(atol, rtol, equal_nan=equal_nan))
    a, b = (one.astype(np.float64) for one in both)
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(a) & np.isfinite(b)
        near = finite & (np.abs(a - b) - rtol * np.abs(a) <= atol)
        same = ((a == b) | (np.isnan(a) & np.isnan(b))) & (finite | equal_nan)
    assert bool(found) == bool((near | same).all())


@given(FINITE)
def test_what_is_required_would_have_done_and_less_would_not(
    both: tuple[np.ndarray, np.ndarray],
) -> None:
    found = compare_values(*both, EXACT)
    assert found.required_atol is not None
    required = [Tolerance(found.required_atol, 0.0)]
    if found.required_rtol is not None:
        required.append(Tolerance(0.0, found.required_rtol))
    for enough in required:
        assert compare_values(*both, enough)
        less = Tolerance(enough.atol * 0.999, enough.rtol * 0.999)
        assert found or not compare_values(*both, less)


@given(FINITE)
def test_the_figures_are_in_their_order(both: tuple[np.ndarray, np.ndarray]) -> None:
    found = compare_values(*both, EXACT)
    assert 0 <= found.median <= found.largest * (1 + 1e-12)
    assert found.median <= found.quantile_99 * (1 + 1e-12) <= found.largest * (1 + 1e-9)
    assert found.cosine is None or -1 <= found.cosine <= 1


@given(FINITE, st.floats(1e-3, 1e3))
def test_where_every_value_is_within_so_is_the_distance(
    both: tuple[np.ndarray, np.ndarray], atol: float
) -> None:
    tolerance = Tolerance(atol, 0.1)
    # Most pairs at random are far apart: the second becomes noise on the first.
    a, noise = (one.astype(np.float64) for one in both)
    noise /= max(1.0, np.abs(noise).max())
    with np.errstate(over="ignore"):
        # A little less, which rounding cannot exceed.
        near = (a + 0.999999 * noise * (atol + 0.1 * np.abs(a))).astype(np.float32)
    # Some become infinite.
    assume(compare_values(both[0], near, tolerance))
    assert distance(both[0], near) <= tolerance.distance(a.size, float(np.linalg.norm(a))) * (
        1 + 1e-9
    )


def test_a_value_that_is_not_a_number_on_one_side_is_never_within() -> None:
    a = np.array([[1.0, np.nan, np.inf, np.inf]], dtype=np.float32)
    b = np.array([[1.0, np.nan, -np.inf, 2.0]], dtype=np.float32)
    found = compare_values(a, b, Tolerance(1e30, 1e30))
    assert not found
    assert (found.non_finite_differ, found.required_atol, found.required_rtol) == (3, None, None)
    assert math.isinf(distance(a, b))
    alike = compare_values(a, b, Tolerance(1e30, 1e30, equal_nan=True))
    assert not alike
    assert alike.non_finite_differ == 2


def test_nan_and_infinities_are_counted_with_their_first_place() -> None:
    a = np.array([[1.0, np.nan, -np.inf], [np.inf, np.nan, np.nan]], dtype=np.float32)
    found = compare_values(a, np.zeros_like(a), EXACT)
    nan, infinite = "3 of 6 values are NaN, the first at [0, 1]", "2 of 6 values are infinite"
    assert str(found.non_finite[0]) == f"{nan} and {infinite}, the first at [0, 2]"
    assert str(found.non_finite[1]) == "all values are finite"


def test_no_class_is_the_best_where_a_score_is_nan() -> None:
    scores = np.array([[0.1, 0.7, np.nan]], dtype=np.float32)
    for equal_nan in (False, True):
        found = compare_values(scores, scores, Tolerance(0.0, 0.0, equal_nan=equal_nan))
        assert (found.agrees, found.top1, found.top5) == (equal_nan, None, None)


def test_a_relative_tolerance_does_not_do_next_to_zero() -> None:
    found = compare_values(np.zeros(3), np.array([0.0, 1e-9, 0.0]), Tolerance(1e-6, 0.0))
    assert found
    assert (found.required_atol, found.required_rtol) == (pytest.approx(1e-9), None)


def test_shapes_have_to_be_the_same() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        compare_values(np.zeros((2, 3)), np.zeros((3, 2)), EXACT)


def test_the_figures_of_a_known_pair() -> None:
    a = np.array([[0.0, 1.0, 2.0, 4.0]])
    found = compare_values(a, a + np.array([[0.0, 0.0, 0.0, 0.4]]), Tolerance(0.0, 0.01))
    assert not found
    assert (found.largest, found.median) == (pytest.approx(0.4), 0.0)
    assert found.mean == pytest.approx(0.1)
    assert found.required_rtol == pytest.approx(0.1)
    # The range is 4, the root mean square error 0.2: 20 log10(20).
    assert found.psnr_db == pytest.approx(26.0206, abs=1e-4)
    assert found.cosine == pytest.approx(
        float(np.dot([0, 1, 2, 4], [0, 1, 2, 4.4]) / (21**0.5 * 24.36**0.5))
    )


@pytest.mark.parametrize(
    ("shape", "is_scores"),
    [((1, 4), True), ((1, 4, 1, 1), True), ((1, 1, 2, 2), False), ((4,), False), ((1, 1), False)],
)
def test_the_best_classes_are_those_of_scores(shape: tuple[int, ...], is_scores: bool) -> None:
    data = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    found = compare_values(data, data, EXACT)
    assert (found.top1, found.top5) == ((True, True) if is_scores else (None, None))


def test_the_best_classes_of_every_image_count_in_their_order() -> None:
    a = np.array([[9, 8, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6]], dtype=np.float32)
    b = a.copy()
    b[1, [0, 1]] = b[1, [1, 0]]
    found = compare_values(a, b, EXACT)
    # The sixth best of the second image is another one, the fifth best too.
    assert (found.top1, found.top5) == (True, False)
    c = a.copy()
    c[0, [0, 1]] = c[0, [1, 0]]
    assert compare_values(a, c, EXACT).top1 is False


@given(FINITE)
def test_the_figures_are_those_of_numpy(both: tuple[np.ndarray, np.ndarray]) -> None:
    found = compare_values(*both, EXACT)
    a, b = (one.astype(np.float64).reshape(-1) for one in both)
    error = np.abs(a - b)
    wanted = [error.max(), error.mean(), np.median(error), np.quantile(error, 0.99)]
    assert [found.largest, found.mean, found.median, found.quantile_99] == pytest.approx(wanted)
    assert distance(*both) == pytest.approx(float(np.linalg.norm(error)))
    assert values.norm(decoded(both[0])) == pytest.approx(float(np.linalg.norm(a)))
    if found.psnr_db is not None:
        mean_square = float(np.mean(error**2))
        assert found.psnr_db == pytest.approx(20 * math.log10(np.ptp(a) / mean_square**0.5))


@given(SHAPES, st.data())
def test_a_place_is_that_of_the_value(shape: tuple[int, ...], data: st.DataObject) -> None:
    numbers = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    index = data.draw(st.integers(0, numbers.size - 1))
    assert numbers[decoded(numbers).place(index)] == index


def test_a_shape_has_as_many_values() -> None:
    with pytest.raises(ValueError, match=r"2 values for the shape \(1, 3\)"):
        Values.decode((1, 3), bytes(8))
    with pytest.raises(ValueError, match="multiple"):
        Values.decode((1, 3), bytes(11))
