"""Real Caffe counted in QEMU: the same every time, complete, as the layer shapes imply."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pibench import devices, networks
from pibench.counting import Counter
from pibench.crosscheck.cycles import compared
from pibench.images.build import API_VERSIONS
from pibench.latency import stacks, work
from pibench.latency.model import predict
from pibench.latency.rates import shipped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pibench.counting import NetworkCounts
    from pibench.images.build import Builder
    from pibench.networks.network import Network

pytestmark = pytest.mark.emulation
NAME = "SqueezeNet V1.1"
BURN = "while True: pass"
CROSS = "aarch64-linux-gnu-"
POWERS = """
name: "powers"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 64 dim: 64 dim: 64 } } }
layer { name: "plain" type: "Power" bottom: "data" top: "plain" power_param { shift: 2 } }
layer { name: "raised" type: "Power" bottom: "data" top: "raised"
  power_param { shift: 2 power: -0.75 } }
"""
FORKED = """
layer { name: "input" type: "Input" top: "x" input_param { shape { dim: [1, 8, 9, 9] } } }
layer { name: "depthwise" type: "ConvolutionDepthwise" bottom: "x" top: "y"
  convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "relu6" type: "ReLU6" bottom: "y" top: "y" }
"""
SMALL = """
name: "small"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 32 dim: 28 dim: 28 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 64 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 40 } }
"""
TURNS = 1000
BARE = f"""
.globl _start
_start:
    mov x1, #(3 << 20)  // CPACR_EL1.FPEN: vectors may be used
    msr cpacr_el1, x1
    isb
    ldr x2, ={TURNS}
    ldr x3, =0x40100000
1:  fmla v0.4s, v1.4s, v2.4s
    fadd v3.4s, v3.4s, v4.4s
    ldr q5, [x3]
    str q5, [x3, #16]
    subs x2, x2, #1
    b.ne 1b
    ldr x0, =0x84000008  // PSCI's SYSTEM_OFF
    hvc #0
"""


@pytest.fixture
def counter(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Counts again each time, whatever is in the cache, and leaves that as it is."""
    monkeypatch.setattr("pibench.counting.stored", lambda _, count: count())
    return Counter(devices.load("rpi3b"), builder)


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Processes for half of the machine's cores that do nothing but compute."""
    with contextlib.ExitStack() as stack:
        for _ in range(0, os.cpu_count() or 1, 2):
            burner = stack.enter_context(subprocess.Popen([sys.executable, "-c", BURN]))
            stack.callback(burner.kill)
        yield


@pytest.fixture(scope="module")
def counted(builder: Builder) -> NetworkCounts:
    return Counter(devices.load("rpi3b"), builder).count(networks.load(NAME))


def test_a_second_run_under_load_counts_and_predicts_the_same(
    counter: Counter, small: Network
) -> None:
    device, rates = devices.load("rpi3b"), shipped()
    first = counter.count(small)
    with busy():
        again = counter.count(small)
    for layer, other in zip(first.layers, again.layers, strict=True):
        assert layer.counts.macs == other.counts.macs
        assert layer.counts.mac_instructions == other.counts.mac_instructions
    assert again.total.instructions == pytest.approx(first.total.instructions, rel=0.001)
    first_ms, again_ms = (predict(small, device, rates, one).latency_ms for one in (first, again))
    assert again_ms == pytest.approx(first_ms, rel=0.01)


def test_layers_of_forks_and_powf_are_counted(counter: Counter, tmp_path: Path) -> None:
    """In one network: a start of the counted emulator takes longer than either."""
    path = tmp_path / "net.prototxt"
    path.write_text(POWERS + FORKED)
    of_layer = {one.name: one.counts for one in counter.count(networks.load(str(path))).layers}
    assert of_layer["depthwise"].macs >= 8 * 9 * 7 * 7
    assert of_layer["relu6"].instructions > 8 * 7 * 7
    # powf executes as many instructions as the constants state.
    of_powf = of_layer["raised"].instructions - of_layer["plain"].instructions
    assert of_powf / 64**3 == pytest.approx(work.cost_model().pow_instructions, rel=0.02)


@pytest.mark.skipif(
    not (shutil.which("qemu-system-aarch64") and shutil.which(CROSS + "gcc")),
    reason="no system emulator, or no cross compiler",
)
def test_a_bare_program_is_counted_exactly_by_the_system_emulator(
    builder: Builder, tmp_path: Path
) -> None:
    """Debian's system emulator loads plugins where its user-mode one is static."""
    source, program = tmp_path / "bare.s", tmp_path / "bare.elf"
    source.write_text(BARE)
    subprocess.run(
        [CROSS + "gcc", "-nostdlib", "-static", "-Wl,-Ttext=0x40200000", "-o", str(program),
         str(source)],
        check=True,
    )  # fmt: skip
    for api in API_VERSIONS:
        command = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-m", "64",
                   "-nographic", "-nodefaults", "-kernel", str(program),
                   "-plugin", f"{builder.counter(api)},cache=on"]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if ran.returncode == 0:
            break
    output = [
        json.loads(line.removeprefix("PIBENCH-COUNT "))
        for line in ran.stdout.splitlines()
        if line.startswith("PIBENCH-COUNT ")
    ]
    assert len(output) == 2, ran.stderr
    found, summary = output
    assert summary["threads"] == 1
    assert found["mac_instructions"] == found["simd_instructions"] == TURNS
    assert found["macs"] == 4 * TURNS
    assert found["store_instructions"] == TURNS
    assert found["bytes_stored"] == 16 * TURNS
    # Outside the loop: QEMU's own few instructions that lead to it, and three constants.
    for kind, turns in (("load", TURNS), ("branch", TURNS), ("other", TURNS)):
        assert 0 <= found[f"{kind}_instructions"] - turns <= 20
    # The lines that are loaded and stored are next to each other; those of constants are few.
    assert 1 <= found["l2_misses"] <= found["l1_misses"] <= 20


def test_layers_are_those_of_the_network_and_add_up(counted: NetworkCounts) -> None:
    names = [layer.name for layer in networks.load(NAME).training_shapes.layers]
    # Caffe puts Split layers between them.
    assert [layer.name for layer in counted.layers if layer.type != "Split"] == names
    total = counted.total
    assert total.instructions == sum(layer.counts.instructions for layer in counted.layers)
    assert total.l1_misses is not None
    assert total.l2_misses is not None
    assert 0 < total.l2_misses < total.l1_misses < total.load_instructions


def test_products_match_the_shapes(counted: NetworkCounts) -> None:
    expected = {one.name: one for one in work.count(networks.load(NAME)) if one.macs}
    for layer in counted.layers:
        if layer.name in expected:
            # The bias, and adding tiles to the result, are two more at a depth of 16 or above.
            assert layer.counts.macs == pytest.approx(expected[layer.name].macs, rel=2.1 / 16)
    total = sum(one.macs for one in expected.values())
    products = sum(layer.counts.macs for layer in counted.layers if layer.name in expected)
    assert products == pytest.approx(total, rel=0.03)


def test_passes_over_blobs_match_the_shapes(counted: NetworkCounts) -> None:
    expected = {one.name: one for one in work.count(networks.load(NAME))}
    for layer in counted.layers:
        if layer.type in ("ReLU", "Concat"):
            moved = (layer.counts.bytes_loaded + layer.counts.bytes_stored) / 4
            # Being called from Python takes some thousands.
            assert moved == pytest.approx(expected[layer.name].accesses, rel=0.02, abs=9000)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Network:
    path = tmp_path_factory.mktemp("cycles") / "small.prototxt"
    path.write_text(SMALL)
    return networks.load(str(path))


@pytest.mark.parametrize(
    ("stack", "apart"),
    [("openblas-a53", 0.10), ("openblas-16x4", 0.15)],
)
def test_the_blocks_that_ran_take_about_the_analytic_time(
    builder: Builder, small: Network, stack: str, apart: float
) -> None:
    pytest.importorskip("capstone")
    blas, core = stacks.load(stack).preloaded
    device = devices.load("rpi3b")
    counter = Counter(device, builder, cache_model=False, cycles=True, blas=blas, blas_core=core)
    found = {
        one.name: one for one in compared(small, counter.count(small), device, stack, "caffe-time")
    }
    for name in ("conv", "fc"):
        assert abs(found[name].apart) < apart, found[name]


def test_a_cached_count_is_read_not_run(
    counted: NetworkCounts, builder: Builder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    again = Counter(devices.load("rpi3b"), builder).count(networks.load(NAME))
    assert again == counted


def test_a_prediction_from_counts_is_that_from_shapes(counted: NetworkCounts) -> None:
    network, device, rates = networks.load(NAME), devices.load("rpi3b"), shipped()
    shaped = predict(network, device, rates)
    assert predict(network, device, rates, counted).latency_ms == pytest.approx(
        shaped.latency_ms, rel=0.05
    )
