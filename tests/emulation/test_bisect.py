"""What differs is found at the very layer: in real Caffe, on the twin and emulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pibench import networks
from pibench.bisection.search import Bisection, bisect
from pibench.bisection.sides import Runnable
from pibench.crosscheck.blobs import compare_outputs
from pibench.crosscheck.sides import entry_of
from pibench.crosscheck.values import Tolerance
from pibench.engines.caffe import caffemodel
from pibench.networks.network import Network
from pibench.runner.model_files import seeded_weights
from pibench.runner.options import RunOptions
from pibench.runner.runner import Runner
from pibench.targets.sysroot import SysrootTarget
from tests.emulation.conftest import DEVICE, SMALL

pytestmark = pytest.mark.emulation

EXACT = Tolerance(0.0, 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bisect")


@pytest.fixture(scope="module")
def network(folder: Path) -> Network:
    """The small network, with weights of its own."""
    return loaded(folder, "small", SMALL)


def loaded(folder: Path, name: str, text: str) -> Network:
    (folder / f"{name}.prototxt").write_text(text)
    network = networks.load(str(folder / f"{name}.prototxt"))
    weights = folder / "small.caffemodel"
    if not weights.exists():
        caffemodel.write_seeded(network.net, weights)
    return networks.load(str(folder / f"{name}.prototxt"), weights=weights)


def side(target, network: Network, **changes: object) -> Runnable:
    request = RunOptions(protocol="inference", compute="real", repeats=0, **changes)  # type: ignore[arg-type]
    return Runnable(name=target.name, network=network, target=target, options=request)


@pytest.fixture(scope="module")
def intact(twin, network) -> Runnable:
    """The network as it is, on the twin."""
    return side(twin, network)


def at_fault(found: Bisection) -> tuple[str, bool, bool]:
    """Return the first layer that differs, whether its inputs agree and it differs alone."""
    assert not found
    assert found.first_divergence is not None
    assert found.isolated is not None
    return found.first_divergence.layer, all(found.inputs), not found.isolated


def test_equal_runs_part_at_no_layer_even_exactly(twin, network, intact) -> None:
    found = bisect(intact, side(twin, network), EXACT)
    assert found
    assert found.first_divergence is None
    assert len(found.layers.layers) == 10
    assert all(layer.identical for layer in found.layers.layers)


def test_one_perturbed_weight_is_found_at_its_layer(twin, network, intact, folder) -> None:
    net = caffemodel.read(network.weights)
    (left,) = [layer for layer in net.layer if layer.name == "left"]
    left.blobs[0].data[3] *= 1.01
    (folder / "perturbed.caffemodel").write_bytes(net.SerializeToString())
    weights = folder / "perturbed.caffemodel"
    changed = networks.load(str(folder / "small.prototxt"), weights=weights)
    found = bisect(intact, side(twin, changed))
    assert at_fault(found) == ("left", True, True)
    assert found.cause.endswith("the weights differ")
    # One weight is one channel's: what differs lies there.
    assert found.blob is not None
    assert found.blob.place[1] == 0


def test_a_broken_layer_is_found(twin, intact, folder) -> None:
    assert SMALL.count("negative_slope: 0.1 ") == 1
    broken = SMALL.replace("negative_slope: 0.1 ", "negative_slope: 0.11 ")
    found = bisect(intact, side(twin, loaded(folder, "broken", broken)))
    assert at_fault(found) == ("relu1", True, True)
    assert len(found.definition) == 2
    assert found.cause.endswith("its definition differs")


def test_a_layer_in_place_that_one_side_adds_is_named(twin, intact, folder) -> None:
    added = """layer { name: "half" type: "Power" bottom: "conv1" top: "conv1"
      power_param { scale: 0.5 } }
    layer { name: "pool1" """
    assert SMALL.count('layer { name: "pool1" ') == 1
    text = SMALL.replace('layer { name: "pool1" ', added)
    found = bisect(intact, side(twin, loaded(folder, "added", text)))
    assert found.layers.only_second == ("half",)
    assert found.first_divergence is not None
    assert found.first_divergence.layer == "pool1"
    assert "as relu1 wrote it in twin, and as half did" in found.cause


def test_another_blas_is_found_at_the_first_layer_that_computes(twin, network, intact) -> None:
    other = side(twin, network, blas="reference")
    found = bisect(intact, other, EXACT)
    assert found.surroundings[0] == ("BLAS", "OpenBLAS 0.3.13", "reference/libblas.so.3")
    assert at_fault(found) == ("conv1", True, True)
    assert found.cause.endswith("computed in another way")
    # The same to within what rounding does.
    assert bisect(intact, other)
    assert compare_outputs(entry_of(intact.record), entry_of(other.record)).top5
    third = side(twin, network, blas="atlas")
    assert third.record.environment.guest.blas_name == "atlas/libblas.so.3"
    assert bisect(intact, third)


def test_emulated_it_is_the_same_network_and_its_faults_are_found(
    builder, twin, network, intact, folder
) -> None:
    sysroot = SysrootTarget(DEVICE, builder)
    emulated = side(sysroot, network)
    assert bisect(intact, emulated)
    outputs = compare_outputs(entry_of(intact.record), entry_of(emulated.record))
    assert outputs
    assert outputs.top5
    broken = loaded(folder, "emulated", SMALL.replace("pool: MAX", "pool: AVE"))
    found = bisect(side(twin, broken), emulated)
    assert at_fault(found) == ("pool1", True, True)
    assert ("architecture", "x86_64", "aarch64") in found.surroundings


def test_kept_blobs_are_what_the_signatures_say(twin, network, tmp_path) -> None:
    request = RunOptions(
        protocol="inference",
        compute="real",
        repeats=0,
        keep=("relu1", "prob"),
        blobs=tmp_path,
    )
    (record,) = Runner(target=twin, options=request).run([network])
    assert record.kept_blobs is not None
    with np.load(tmp_path / record.kept_blobs.file) as arrays:
        kept = dict(arrays)
    assert list(kept) == ["relu1", "prob"]
    signed = {one.layer: one for one in record.signatures}
    for layer, array in kept.items():
        assert float(np.linalg.norm(array.astype(float))) == pytest.approx(signed[layer].l2_norm)
        assert array.shape == signed[layer].shape
    # Behind the layer in place, and not as the convolution left it.
    assert kept["relu1"].min() > signed["conv1"].minimum  # type: ignore[operator]


def test_without_weights_both_sides_have_the_same_seeded_ones(twin, folder) -> None:
    network = networks.load(str(folder / "small.prototxt"))
    first, second = side(twin, network), side(twin, network)
    assert first.record.weights_sha256 == second.record.weights_sha256
    assert seeded_weights(network, 0).exists()
    assert bisect(first, second, EXACT)


# The logarithm of what is negative is NaN: of about half of the values.
LOG = """
name: "log"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "log" type: "Log" bottom: "conv" top: "log" }
"""


def test_nan_on_both_sides_differs_unless_it_counts_as_equal(twin, tmp_path) -> None:
    (tmp_path / "log.prototxt").write_text(LOG)
    network = networks.load(str(tmp_path / "log.prototxt"))
    sides = [side(twin, network), side(twin, network, blas="reference")]
    entries = [entry_of(one.record) for one in sides]
    (output,) = sides[0].record.outputs
    assert 0 < output.non_finite_count < 8 * 14 * 14

    found = bisect(*sides)
    assert not found
    assert found.first_divergence is not None
    assert found.first_divergence.layer == "log"
    assert "log is the first layer with values that are not finite" in found.cause
    outputs = compare_outputs(*entries)
    assert outputs.agrees is False
    for message in (found.cause, outputs.why):
        assert f"{output.non_finite_count} of 1568 values are NaN, the first at [0, " in message

    # The signatures differ by what rounding does: whole blobs show that NaN is in the same places.
    assert sides[0].record.outputs[0].sha256 != sides[1].record.outputs[0].sha256
    # The logarithm of what is small makes much of rounding.
    tolerance = Tolerance(1e-3, 1e-3, equal_nan=True)
    assert bisect(*sides, tolerance=tolerance)
    assert compare_outputs(*entries, tolerance=tolerance)
