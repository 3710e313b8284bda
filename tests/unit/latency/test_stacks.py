"""Times by software stacks: against what others published, with nothing fitted."""

from __future__ import annotations

import tomllib
from importlib import resources
from statistics import mean
from typing import Any

import pytest

from pibench import devices, networks
from pibench.crosscheck.estimated import estimates
from pibench.crosscheck.paper import load_paper
from pibench.errors import InvalidInputError
from pibench.latency import analytic, rates, stacks, work
from pibench.latency.analytic import Configuration, Parts
from pibench.latency.model import of_any_stack, predict_by_stack
from pibench.latency.products import Memory, on_threads, product

RK3399 = devices.load("rk3399")
PUBLISHED: dict[str, Any] = tomllib.loads(
    (resources.files("pibench.latency") / "published.toml").read_text()
)
SMALLEST = 128
"""Where the published rates of two kernels are the other way round than at all other sizes."""


def setup(stack: str, threads: int = 1, *, device: str = "rpi3b") -> Configuration:
    return Configuration(
        stack=stacks.load(stack), device=devices.load(device), threads=threads, data="zeros"
    )


def forward_ms(network: str, of: Configuration) -> float:
    parts = map(of.parts, work.count(networks.load(network)))
    return Parts(*map(sum, zip(*parts, strict=True))).ms


def test_square_products_take_what_others_measured() -> None:
    memory = Memory.of(RK3399)
    errors = {}
    for one in PUBLISHED["product"]:
        stack = stacks.load(one["stack"])
        for size, mflops in one["mflops"].items():
            n = int(size)
            rate = n**3 / sum(product(n, n, n, stack, memory))
            errors[stack.id, n] = rate / (mflops * 1e6 / 2 / RK3399.clock_hz) - 1
    usual = {key: abs(error) for key, error in errors.items() if key[1] > SMALLEST}
    assert max(usual.values()) < 0.20, usual
    assert mean(map(abs, errors.values())) < 0.10, errors


def test_kernels_take_what_others_measured() -> None:
    for one in PUBLISHED["kernel"]:
        assert one["scoreboard"] == pytest.approx(one["published"], rel=0.20)


def test_forward_passes_take_what_others_measured() -> None:
    table = load_paper("a53-openblas")
    errors = []
    for entry in table.entries:
        found = estimates(table, entry)["latency"]
        printed = entry.figures["latency"].value
        assert isinstance(found.value, float)
        assert found.low is not None
        assert found.high is not None
        assert found.low <= printed <= found.high, entry.key
        errors.append(abs(found.value / printed - 1))
    assert len(errors) == 14
    assert mean(errors) < 0.12
    assert max(errors) < 0.25


def test_the_papers_column_is_that_of_atlas_32_bit_but_for_one_factor() -> None:
    observed = rates.shipped().rated_on
    ratios = [forward_ms(one.network, setup("atlas-armhf")) / one.latency_ms for one in observed]
    assert mean(abs(ratio - 1) for ratio in ratios) < 0.07
    factor = sum(ratios) / sum(ratio**2 for ratio in ratios)
    assert mean(abs(factor * ratio - 1) for ratio in ratios) < 0.03


@pytest.mark.parametrize("name", stacks.names())
def test_every_stack_predicts_and_more_threads_are_not_slower(name: str) -> None:
    one, four = (forward_ms("SqueezeNet V1.1", setup(name, threads)) for threads in (1, 4))
    assert 50 < four <= one < 4000
    known = stacks.load(name)
    assert analytic.powers(known.c_library, "images").low > 0
    if known.gemm.algorithm == "panels":
        assert all(1 in heights for heights in known.gemm.by_width.values())
        assert 1 in known.gemm.by_width


def test_a_small_product_stays_on_one_core() -> None:
    stack, memory = stacks.load("openblas-a53"), Memory.of(devices.load("rpi3b"))
    small = product(64, 64, 64, stack, memory)
    assert on_threads(small, 64**3, stack.gemm, memory, 4) == small
    large = product(512, 512, 512, stack, memory)
    assert sum(on_threads(large, 512**3, stack.gemm, memory, 4)) < 0.4 * sum(large)


def test_any_stack_is_the_range_of_all() -> None:
    network = networks.load("NIN")
    edge = rates.shipped().pressure
    found = [predict_by_stack(network, setup(name), edge) for name in stacks.names()]
    either = of_any_stack(found)
    assert either.stack == "unknown"
    assert (either.low_ms, either.high_ms) == (
        min(one.low_ms for one in found), max(one.high_ms for one in found),
    )  # fmt: skip


def test_a_power_depends_on_data_and_library() -> None:
    old = {data: analytic.powers("glibc-2_23", data).cycles for data in ("zeros", "images")}
    assert old["images"] > 5 * old["zeros"]
    new = {data: analytic.powers("glibc-2_28", data).cycles for data in ("zeros", "images")}
    assert new["images"] == new["zeros"]


def test_another_core_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="cortex-a72"):
        _ = setup("openblas-a53", device="rpi4b_1gb").memory
    with pytest.raises(InvalidInputError, match="known stacks: atlas-arm64"):
        stacks.load("mkl")


@pytest.mark.parametrize(
    ("blas", "core", "architecture", "expected"),
    [
        ("OpenBLAS 0.3.13", "cortexa53", "aarch64", "openblas-a53"),
        ("OpenBLAS 0.3.9", "cortexa53", "aarch64", "openblas-16x4"),
        ("OpenBLAS 0.2.18", "armv8", "aarch64", "openblas-armv8"),
        ("OpenBLAS 0.3.13", "armv6", "armv7l", "openblas-armv6"),
        ("atlas/libblas.so.3", None, "armv7l", "atlas-armhf"),
        ("atlas/libblas.so.3", None, "aarch64", "atlas-arm64"),
        ("OpenBLAS 0.3.13", "haswell", "x86_64", None),
        (None, None, "aarch64", None),
    ],
)
def test_a_record_knows_its_stack(
    blas: str | None, core: str | None, architecture: str, expected: str | None
) -> None:
    assert stacks.of_blas(blas, core, architecture) == expected
