"""Real Caffe counted in QEMU: the same every time, whole, and as the layer shapes say."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pibench import devices, networks
from pibench.counting import store
from pibench.counting.run import Counter
from pibench.latency import work
from pibench.latency.calibration import shipped
from pibench.latency.model import predict

if TYPE_CHECKING:
    from pathlib import Path

    from pibench.counting.counts import NetworkCounts
    from pibench.images.build import Builder

pytestmark = pytest.mark.emulation
NAME = "SqueezeNet V1.1"
BUSY = "while True: pass"


@pytest.fixture
def counter(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Counts anew each time, whatever is in the cache."""
    monkeypatch.setattr(store, "_read", lambda _: None)
    return Counter(devices.load("rpi3b"), builder, cache_model=False)


@pytest.fixture(scope="module")
def counted(builder: Builder) -> NetworkCounts:
    return Counter(devices.load("rpi3b"), builder).count(networks.load(NAME))


def test_a_second_run_under_load_counts_the_same(counter: Counter) -> None:
    first = counter.count(networks.load(NAME)).total
    with subprocess.Popen([sys.executable, "-c", BUSY]) as load:
        try:
            second = counter.count(networks.load(NAME)).total
        finally:
            load.kill()
    assert first.macs == second.macs
    assert first.mac_instructions == second.mac_instructions
    assert second.instructions == pytest.approx(first.instructions, rel=0.001)


def test_layers_are_those_of_the_network_and_add_up(counted: NetworkCounts) -> None:
    names = [layer.name for layer in networks.load(NAME).training_shapes.layers]
    # Caffe puts Split layers between them.
    assert [layer.name for layer in counted.layers if layer.type != "Split"] == names
    total = counted.total
    assert total.instructions == sum(layer.counts.instructions for layer in counted.layers)
    assert total.l1_misses is not None
    assert total.l2_misses is not None
    assert 0 < total.l2_misses < total.l1_misses < total.load_instructions


def test_products_are_what_the_shapes_say(counted: NetworkCounts) -> None:
    expected = {one.name: one for one in work.count(networks.load(NAME)) if one.macs}
    for layer in counted.layers:
        if layer.name in expected:
            # The bias, and adding tiles to the result, are two more at a depth of 16 or above.
            assert layer.counts.macs == pytest.approx(expected[layer.name].macs, rel=2.1 / 16)
    total = sum(one.macs for one in expected.values())
    products = sum(layer.counts.macs for layer in counted.layers if layer.name in expected)
    assert products == pytest.approx(total, rel=0.03)


def test_passes_over_blobs_are_what_the_shapes_say(counted: NetworkCounts) -> None:
    expected = {one.name: one for one in work.count(networks.load(NAME))}
    for layer in counted.layers:
        if layer.type in ("ReLU", "Concat"):
            moved = (layer.counts.bytes_loaded + layer.counts.bytes_stored) / 4
            # Being called from Python takes some thousands.
            assert moved == pytest.approx(expected[layer.name].accesses, rel=0.02, abs=9000)


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
