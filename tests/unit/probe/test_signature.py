"""Signatures: what they contain, and how well they estimate the distance of two blobs."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pibench.probe.values import SIGNS, WIDTH, Projector, sign_table

PROJECTOR = Projector()
FLOATS = arrays.arrays(
    np.float32,
    arrays.array_shapes(max_dims=4, max_side=9),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)


def squares(first: np.ndarray, second: np.ndarray) -> float:
    """Return the squared distance that the projections estimate."""
    first_side, second_side = (
        np.array(PROJECTOR.describe(one)["projection"]) for one in (first, second)
    )
    return float(((first_side - second_side) ** 2).mean())


def test_the_signs_are_the_same_for_ever() -> None:
    # Records of different versions, machines and numpys are compared by them.
    table = sign_table(b"rows", 0, 3)
    digest = hashlib.sha256(b"rows/0").digest()
    bits = [(digest[0] >> (7 - bit)) & 1 for bit in range(8)]
    assert [(value + 1) / 2 for value in table[:8, 0]] == bits
    columns = np.ascontiguousarray(sign_table(b"columns", 0, WIDTH).T)
    assert hashlib.sha256(columns.tobytes()).hexdigest() == (
        "1daca5537e2b85baf06be92dccc21650ed46fbe41af2c41bfb5ed3ce0e55962c"
    )


@given(st.integers(0, 100), st.integers(1, 60))
def test_a_stretch_of_signs_is_one_of_all(first: int, count: int) -> None:
    whole = sign_table(b"rows", 0, first + count)
    assert np.array_equal(sign_table(b"rows", first, count), whole[:, first:])


def test_the_signs_are_balanced_and_uncorrelated() -> None:
    table = sign_table(b"columns", 0, WIDTH)
    # Of random signs the mean product of two columns is within 5 / sqrt(WIDTH) of 0.
    products = table @ table.T / WIDTH
    assert np.abs(products - np.eye(SIGNS)).max() < 5 / math.sqrt(WIDTH)


@given(FLOATS)
def test_a_signature_is_of_the_finite_values(data: np.ndarray) -> None:
    found = PROJECTOR.describe(data)
    finite = data[np.isfinite(data)].astype(np.float64)
    assert found["shape"] == list(data.shape)
    assert found["sha256"] == hashlib.sha256(data.astype("<f4").tobytes()).hexdigest()
    assert found["non_finite_count"] == data.size - finite.size
    if not finite.size:
        assert (found["minimum"], found["l2_norm"], found["projection"]) == (None, None, [])
        return
    assert (found["minimum"], found["maximum"]) == (finite.min(), finite.max())
    assert found["l2_norm"] == pytest.approx(np.linalg.norm(finite), rel=1e-12)
    assert len(found["projection"]) == SIGNS


def test_it_is_the_dot_products_with_the_signs() -> None:
    data = np.random.default_rng(1).standard_normal(3 * WIDTH + 17).astype(np.float32)
    folded = np.zeros((4, WIDTH))
    folded.reshape(-1)[: data.size] = data
    rows, columns = sign_table(b"rows", 0, 4), sign_table(b"columns", 0, WIDTH)
    expected = [rows[k] @ folded @ columns[k] for k in range(SIGNS)]
    assert PROJECTOR.describe(data)["projection"] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("kind", ["dense", "one channel", "one value"])
def test_the_distance_is_estimated_within_a_factor_of_two_and_a_half(kind: str) -> None:
    ratios = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        first = random.standard_normal((16, 40, 40)).astype(np.float32)
        second = first.copy()
        if kind == "dense":
            second += random.standard_normal(second.shape).astype(np.float32) / 100
        elif kind == "one channel":
            second[random.integers(16)] += 0.01
        else:
            second[tuple(random.integers(16, size=3))] += 3
        exact = float(((first.astype(float) - second) ** 2).sum())
        ratios.append(squares(first, second) / exact)
    assert np.mean(ratios) == pytest.approx(1, abs=0.15)
    assert 0.4 < math.sqrt(min(ratios)) <= math.sqrt(max(ratios)) < 2.5


def test_a_blob_of_many_pieces_takes_little_memory() -> None:
    import tracemalloc

    data = np.ones(40 * WIDTH * 16, dtype=np.float32)
    PROJECTOR.describe(data[:10])
    tracemalloc.start()
    PROJECTOR.describe(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 600_000
