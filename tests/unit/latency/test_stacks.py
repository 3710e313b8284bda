"""Times by software stacks: against what others published, with nothing fitted."""

from __future__ import annotations

import tomllib
from importlib import resources
from statistics import mean
from typing import TYPE_CHECKING, Any

import pytest

from pibench import devices, networks
from pibench.crosscheck.estimated import estimates
from pibench.crosscheck.paper import load_paper
from pibench.errors import InvalidInputError
from pibench.latency import analytic, rates, stacks, work
from pibench.latency.analytic import Configuration, Parts
from pibench.latency.model import of_any_stack, predict_by_stack
from pibench.latency.products import Call, Memory, on_threads, product, with_lines

if TYPE_CHECKING:
    from pathlib import Path

RK3399 = devices.load("rk3399")
PUBLISHED: dict[str, Any] = tomllib.loads(
    (resources.files("pibench.latency") / "published.toml").read_text()
)


def setup(stack: str, threads: int = 1, *, device: str = "rpi3b") -> Configuration:
    return Configuration(
        stack=stacks.load(stack), device=devices.load(device), threads=threads, data="zeros"
    )


def forward_ms(network: str, of: Configuration) -> float:
    parts = map(of.parts, work.count(networks.load(network)))
    return Parts(*map(sum, zip(*parts, strict=True))).ms


def test_square_products_take_what_others_measured() -> None:
    memory = Memory.of(RK3399)
    errors, first_calls = {}, {}
    for one in PUBLISHED["product"]:
        stack = stacks.load(one["stack"])
        for size, mflops in one["mflops"].items():
            n = int(size)
            rate = n**3 / sum(product(n, n, n, stack, memory))
            found = first_calls if n == one.get("first_call") else errors
            found[stack.id, n] = rate / (mflops * 1e6 / 2 / RK3399.clock_hz) - 1
    assert max(map(abs, errors.values())) < 0.20, errors
    assert mean(map(abs, (errors | first_calls).values())) < 0.10
    assert list(first_calls) == [("openblas-a53", 128)]
    # What the first call takes beside the product can only slow it down.
    assert first_calls["openblas-a53", 128] > 0


def test_kernels_take_what_others_measured() -> None:
    memory = Memory.of(RK3399)
    found = {one["name"]: with_lines(one, memory) / one["published"] for one in PUBLISHED["kernel"]}
    assert len(found) == 2
    assert all(ratio == pytest.approx(1, rel=0.20) for ratio in found.values()), found


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
    known = stacks.load(name)
    board = {"cortex-a53": "rpi3b", "cortex-a72": "rpi4b_2gb"}[known.cpu]
    one, four = (
        forward_ms("SqueezeNet V1.1", setup(name, threads, device=board)) for threads in (1, 4)
    )
    assert 50 < four <= one < 5000
    assert analytic.powers(known.cpu, known.c_library, "images").low > 0
    if known.gemm.algorithm == "panels":
        assert all(1 in heights for heights in known.gemm.by_width.values())
        assert 1 in known.gemm.by_width


def test_a_small_product_stays_on_one_core() -> None:
    stack, memory = stacks.load("openblas-a53"), Memory.of(devices.load("rpi3b"))
    assert on_threads(Call(64, 64, 64), stack, memory, 4) == product(64, 64, 64, stack, memory)
    large = product(512, 512, 512, stack, memory)
    assert sum(on_threads(Call(512, 512, 512), stack, memory, 4)) < 0.4 * sum(large)


def test_threads_with_a_few_rows_each_have_partial_tiles() -> None:
    stack, memory = stacks.load("openblas-armv8"), Memory.of(RK3399)
    whole, shared = (on_threads(Call(49, 512, 4608), stack, memory, n).core for n in (1, 4))
    # 49 rows are three tiles of 16 and one of 1; 13 are tiles of 8, 4 and 1.
    assert 0.4 < shared / whole < 0.6


def test_a_vector_is_divided_from_openblas_0_3_on() -> None:
    memory = Memory.of(RK3399)
    by_stack = {
        name: [on_threads(Call(4096, 1, 9216), stacks.load(name), memory, n).core for n in (1, 4)]
        for name in ("openblas-armv8", "openblas-a53")
    }
    assert by_stack["openblas-armv8"][0] == by_stack["openblas-armv8"][1]
    assert by_stack["openblas-a53"][1] < 0.3 * by_stack["openblas-a53"][0]
    by_columns = on_threads(Call(1, 1000, 1024), stacks.load("openblas-a53"), memory, 4)
    assert by_columns.core < 0.3 * product(1, 1000, 1024, stacks.load("openblas-a53"), memory).core


BLOCKS = {
    "scale": (0.376, 0.843),
    "scale_bias": (0.799, 1.57),
    "bn": (2.939, 4.389),
    "sum": (0.872, 1.423),
    "product": (0.509, 0.509),
    "concat": (0.318, 0.318),
}
"""Milliseconds of a core by the blocks that ran, without memory (`pibench count --cycles`), of 64
maps of 56 x 56 numbers on a Raspberry Pi 3, with openblas-a53 and atlas-arm64."""
VECTORS = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 64 dim: 56 dim: 56 } } }
layer { name: "scale" type: "Scale" bottom: "data" top: "data" }
layer { name: "scale_bias" type: "Scale" bottom: "data" top: "data"
  scale_param { bias_term: true } }
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "data" }
layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "data" top: "sum" }
layer { name: "product" type: "Eltwise" bottom: "data" bottom: "sum" top: "product"
  eltwise_param { operation: PROD } }
layer { name: "concat" type: "Concat" bottom: "sum" bottom: "product" top: "concat" }
"""


@pytest.mark.parametrize(("place", "name"), list(enumerate(("openblas-a53", "atlas-arm64"))))
def test_layers_of_vectors_take_what_their_blocks_take(
    tmp_path: Path, place: int, name: str
) -> None:
    (tmp_path / "vectors.prototxt").write_text(VECTORS)
    network = networks.load(str(tmp_path / "vectors.prototxt"))
    of = Configuration(
        stack=stacks.load(name).with_loops_of(stacks.load("openblas-a53")),
        device=devices.load("rpi3b"),
        threads=1,
        data="zeros",
    )
    found = {one.name: of.parts(one) for one in work.count(network)}
    for layer, by_blocks in BLOCKS.items():
        parts = found[layer]
        assert parts.ms - parts.memory == pytest.approx(by_blocks[place], rel=0.07), layer


def test_a_trained_factor_is_multiplied_and_one_of_1_is_not(tmp_path: Path) -> None:
    (tmp_path / "vectors.prototxt").write_text(VECTORS)
    network = networks.load(str(tmp_path / "vectors.prototxt"))
    scaled = {
        protocol: next(
            one.cost.vectors.scaled for one in work.count(network, protocol) if one.name == "scale"
        )
        for protocol in ("caffe-time", "inference")
    }
    assert scaled == {"caffe-time": 0, "inference": 64 * 56 * 56}


def test_any_stack_is_the_range_of_all() -> None:
    network = networks.load("NIN")
    edge = rates.shipped().pressure
    found = [predict_by_stack(network, setup(name), edge) for name in stacks.of_cpu("cortex-a53")]
    either = of_any_stack(found)
    assert either.stack == "unknown"
    assert (either.low_ms, either.high_ms) == (
        min(one.low_ms for one in found), max(one.high_ms for one in found),
    )  # fmt: skip


def test_a_power_depends_on_data_and_library() -> None:
    for of_core in analytic.known_powers().values():
        old, new = (
            {data: one.cycles for data, one in of_core[library].items()}
            for library in ("glibc-2_23", "glibc-2_28")
        )
        assert old["images"] > 5 * old["zeros"]
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


@pytest.mark.parametrize(
    ("blas", "core", "expected"),
    [
        ("OpenBLAS 0.3.13", "cortexa72", "openblas-a72"),
        ("OpenBLAS 0.2.18", "armv8", "openblas-armv8-a72"),
        ("OpenBLAS 0.3.13", "cortexa53", None),
        ("OpenBLAS 0.3.5", "cortexa72", None),
        ("OpenBLAS 0.3.13", "armv8", None),
    ],
)
def test_a_record_of_another_core_has_that_core_s_stack(
    blas: str, core: str, expected: str | None
) -> None:
    assert stacks.of_blas(blas, core, "aarch64", "cortex-a72") == expected
    assert stacks.default_of("cortex-a72") == "openblas-a72"


def test_passes_on_another_core_are_met() -> None:
    table = load_paper("a72-openblas")
    printed_ms = {
        (entry.network, entry.threads): entry.figures["latency"].value for entry in table.entries
    }
    errors = []
    for entry in table.entries:
        own_ms = printed_ms[entry.network, entry.threads]
        # Two networks took longer on two cores than on one, which no model has.
        if own_ms <= printed_ms[entry.network, 1]:
            found = estimates(table, entry)["latency"]
            assert isinstance(found.value, float)
            assert found.low is not None
            assert found.high is not None
            assert found.low < own_ms < found.high
            errors.append(abs(found.value / own_ms - 1))
    assert len(errors) == 12
    assert mean(errors) < 0.12
    assert max(errors) < 0.25


def test_rows_of_a_few_lines_are_no_stream_for_a_core_that_does_not_follow_them() -> None:
    weights = {"rows": 4096, "columns": 1, "depth": 9216}
    for stack, device, slower in (
        ("openblas-a72", "rpi4b_2gb", True),
        ("openblas-a53", "rpi3b", False),
    ):
        known, memory = stacks.load(stack), Memory.of(devices.load(device))
        whole = product(**weights, stack=known, memory=memory)
        rows = product(**weights, stack=known, memory=memory, transposed=True)
        assert rows.core == whole.core
        assert (rows.memory > 2 * whole.memory) is slower
        assert slower or rows == whole
        # Weights that stay in L2 come from there.
        small = {"rows": 64, "columns": 1, "depth": 256}
        assert product(**small, stack=known, memory=memory, transposed=True) == product(
            **small, stack=known, memory=memory
        )
