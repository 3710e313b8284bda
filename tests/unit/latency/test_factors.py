"""A stack narrowed by a board's own times: factors that are found, left out, kept and refused."""

from __future__ import annotations

import json
from statistics import mean
from typing import TYPE_CHECKING, Any

import pytest

from pibench import devices, networks
from pibench.errors import InvalidInputError
from pibench.latency import factors, rates, stacks, work
from pibench.latency.analytic import Configuration, Parts
from pibench.latency.factors import StackFactors

if TYPE_CHECKING:
    from pathlib import Path

    from pibench.networks.network import Network

NAMES = ("AlexNet", "NIN", "MobileNet", "SqueezeNet V1.1", "SqueezeNet V1.0")


def setup(stack: str, threads: int = 1) -> Configuration:
    return Configuration(
        stack=stacks.load(stack), device=devices.load("rpi3b"), threads=threads, data="zeros"
    )


@pytest.fixture(scope="module")
def loaded() -> dict[str, Network]:
    return {name: networks.load(name) for name in NAMES}


@pytest.fixture(scope="module")
def parts(loaded: dict[str, Network]) -> dict[str, Parts]:
    of = setup("openblas-a53")
    return {
        name: Parts(*map(sum, zip(*map(of.parts, work.count(network)), strict=True)))
        for name, network in loaded.items()
    }


def fitted(
    times: dict[str, float], loaded: dict[str, Network], stack: str = "openblas-a53"
) -> StackFactors:
    return factors.fit(times, loaded, setup(stack), "caffe-time", "5 records of pi.jsonl")


def times_by(parts: dict[str, Parts], products: float, accesses: float) -> dict[str, float]:
    return {
        name: products * one.products + accesses * (one.memory + one.loops) + one.powers
        for name, one in parts.items()
    }


def test_both_factors_are_found_and_one_time_that_is_far_off_hardly_counts(
    loaded: dict[str, Network], parts: dict[str, Parts]
) -> None:
    times = times_by(parts, 1.3, 0.8)
    found = fitted(times, loaded)
    assert (found.products, found.accesses) == pytest.approx((1.3, 0.8), rel=1e-6)
    assert max(map(abs, found.left_out_pct)) < 1e-3
    # Another program ran on the board.
    disturbed = fitted(times | {"NIN": 2 * times["NIN"]}, loaded)
    assert (disturbed.products, disturbed.accesses) == pytest.approx((1.3, 0.8), rel=0.15)
    assert disturbed.half_width_log > found.half_width_log


def test_one_time_gives_one_factor_without_an_error(
    loaded: dict[str, Network], parts: dict[str, Parts]
) -> None:
    found = fitted({"AlexNet": times_by(parts, 1.5, 1.5)["AlexNet"]}, loaded)
    assert found.products == found.accesses == pytest.approx(1.5)
    assert (found.both, found.left_out_pct, found.half_width_log) == (False, (), None)
    # One network under three names: they do not tell the factors apart.
    alike = dict.fromkeys(("NIN", "again", "once more"), 2 * parts["NIN"].ms)
    same = dict.fromkeys(alike, loaded["NIN"])
    twice = fitted(alike, same)
    assert (twice.both, twice.products) == (False, pytest.approx(2))


def test_times_of_another_stack_are_refused(
    loaded: dict[str, Network], parts: dict[str, Parts]
) -> None:
    with pytest.raises(InvalidInputError, match=r"no factor from 0\.05 to 20"):
        fitted(times_by(parts, 100, 100), loaded)


def test_the_papers_board_is_met_by_two_factors_of_32_bit_atlas() -> None:
    observed = {one.network: one.latency_ms for one in rates.shipped().rated_on}
    loaded = {name: networks.load(name) for name in observed}
    found = fitted(observed, loaded, "atlas-armhf")
    assert mean(map(abs, found.left_out_pct)) < 3.5
    assert 0.9 < found.products < 1.2
    assert 0.9 < found.accesses < 1.2
    assert found.half_width_log < 0.1


def test_a_file_of_factors_is_read_as_it_was_written_and_predicts(
    loaded: dict[str, Network], parts: dict[str, Parts], tmp_path: Path
) -> None:
    found = fitted(times_by(parts, 1.3, 0.8), loaded)
    path = tmp_path / "pi.json"
    factors.write(found, path)
    assert factors.read(path) == found
    rates_path = tmp_path / "rates.json"
    rates.write(rates.shipped(), rates_path)
    assert factors.read(rates_path) == rates.shipped()
    of_board = setup("openblas-a53")
    narrowed = Configuration(**{**vars(of_board), "factors": found})
    times = Parts(*map(sum, zip(*map(narrowed.parts, work.count(loaded["NIN"])), strict=True)))
    assert times.ms == pytest.approx(times_by(parts, 1.3, 0.8)["NIN"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"stack": "mkl"}, "stack"),
        ({"products": 1e9}, "products"),
        ({"device": "abacus"}, "device"),
        ({"factors_format": 9}, "factors_format: is not 1"),
        ({"left_out_pct": ["1"]}, "left_out_pct"),
    ],
)
def test_a_file_that_was_edited_is_refused(
    change: dict[str, Any],
    problem: str,
    loaded: dict[str, Network],
    parts: dict[str, Parts],
    tmp_path: Path,
) -> None:
    path = tmp_path / "pi.json"
    factors.write(fitted({"NIN": parts["NIN"].ms}, loaded), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InvalidInputError, match=problem):
        factors.read(path)
