"""Two runs layer by layer, by signatures alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pibench.crosscheck.blobs import compare_layers, estimated_distance
from pibench.crosscheck.values import Tolerance
from tests.unit.crosscheck.conftest import signature

TOLERANCE = Tolerance(atol=0.0, rtol=1e-5)
EXACT = Tolerance(atol=0.0, rtol=0.0)


def blobs(count: int = 5) -> list[np.ndarray]:
    random = np.random.default_rng(7)
    return [random.standard_normal((1, 8, 10, 10)).astype(np.float32) for _ in range(count)]


def run(values: list[np.ndarray]) -> list:
    return [signature(index, f"conv{index}", data) for index, data in enumerate(values)]


def test_equal_runs_part_nowhere() -> None:
    found = compare_layers(run(blobs()), run(blobs()), EXACT)
    assert found
    assert found.first_divergence is None
    assert all(layer.identical and layer.distance == 0.0 for layer in found.layers)


@given(st.integers(0, 4), st.floats(1e-4, 1.0))
def test_the_first_layer_beyond_the_tolerance_is_named(place: int, share: float) -> None:
    values = blobs()
    noise = np.random.default_rng(place).standard_normal(values[0].shape)
    changed = [
        (data + share * noise).astype(np.float32) if index >= place else data
        for index, data in enumerate(values)
    ]
    found = compare_layers(run(values), run(changed), TOLERANCE)
    assert not found
    assert found.first_divergence is not None
    assert (found.first_divergence.layer, found.first_divergence.index) == (f"conv{place}", place)
    # The noise has the size of the blob.
    assert share / 2.5 < (found.first_divergence.relative or 0) < share * 2.5


@given(st.integers(0, 4))
def test_rounding_is_within_the_tolerance_and_not_equal(place: int) -> None:
    values = blobs()
    changed = [data * np.float32(1 + 1e-6) for data in values]
    found = compare_layers(run(values), run(changed), TOLERANCE)
    assert found
    assert not found.layers[place].identical
    strict = compare_layers(run(values), run(changed), EXACT)
    assert strict.first_divergence is not None
    assert strict.first_divergence.index == 0


def test_a_single_value_shows_in_the_extremes_at_least() -> None:
    first = np.zeros((1, 64, 56, 56), dtype=np.float32)
    second = first.copy()
    second[0, 3, 4, 5] = 10.0
    reported = estimated_distance(signature(0, "a", first), signature(0, "a", second))
    assert reported is not None
    assert reported >= 10.0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"shape": (1, 8, 100)}, "shape"),
        (
            {"non_finite_count": 3, "sha256": "f" * 64},
            "0 of 800 values are NaN or infinite | 3 of 800",
        ),
        ({"projection": (), "sha256": "f" * 64}, "projections are missing"),
    ],
)
def test_what_has_no_distance_differs_and_states_why(changes: dict, why: str) -> None:
    (data,) = blobs(1)
    found = compare_layers(
        [signature(0, "a", data)], [signature(0, "a", data, **changes)], TOLERANCE
    )
    assert found.first_divergence is not None
    assert why in found.first_divergence.why
    assert found.first_divergence.distance is None


def test_blobs_are_matched_by_layer_and_name_and_never_by_place() -> None:
    a, b, c = blobs(3)
    first = [signature(0, "x", a), signature(1, "y", b), signature(2, "relu", b, name="y")]
    second = [signature(0, "new", c), signature(1, "x", a), signature(3, "relu", b, name="y")]
    found = compare_layers(first, second, EXACT)
    assert [layer.layer for layer in found.layers] == ["x", "relu"]
    assert (found.only_first, found.only_second) == (("y",), ("new",))
    assert found.first_divergence is None
    assert not found


def test_layers_of_one_name_are_matched_in_their_order() -> None:
    a, b, c = blobs(3)
    first = [signature(0, "x", a), signature(1, "x", b)]
    second = [signature(0, "x", a), signature(1, "x", c)]
    found = compare_layers(first, second, TOLERANCE)
    assert [layer.agrees for layer in found.layers] == [True, False]
