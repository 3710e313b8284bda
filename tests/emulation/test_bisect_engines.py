"""Layers of other engines against Caffe's, and against each other's: real wheels, on the twin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pibench import networks
from pibench.bisection.search import LAYER_TOLERANCE, bisect
from pibench.bisection.sides import Runnable
from pibench.crosscheck.blobs import compare_layers, compare_outputs
from pibench.crosscheck.sides import entry_of
from pibench.engines.registry import engine_of
from pibench.images.build import Builder
from pibench.networks.network import Network
from pibench.runner.options import RunOptions
from pibench.targets.base import Target
from pibench.targets.sysroot import SysrootTarget
from tests.emulation.conftest import DEVICE

pytestmark = pytest.mark.emulation

HEAD = """layer { name: "data" type: "Input" top: "x"
  input_param { shape { dim: 1 dim: 8 dim: 8 dim: 8 } } }
"""
# What engines call otherwise, drop, or change in place: a blob of each layer is still its own.
NET = f"""name: "odd"
{HEAD}
layer {{ name: "p" type: "Power" bottom: "x" top: "x" power_param {{ scale: 0.02 shift: 1 }} }}
layer {{ name: "p" type: "Power" bottom: "x" top: "a" power_param {{ scale: 2 }} }}
layer {{ name: "drop" type: "Dropout" bottom: "a" top: "a" }}
layer {{ name: "two" type: "Split" bottom: "a" top: "a1" top: "a2" }}
layer {{ name: "conv" type: "Convolution" bottom: "a1" top: "c"
  convolution_param {{ num_output: 8 kernel_size: 3 pad: 1 }} }}
layer {{ name: "bn" type: "BatchNorm" bottom: "c" top: "c" }}
layer {{ name: "scale" type: "Scale" bottom: "c" top: "c" scale_param {{ bias_term: true }} }}
layer {{ name: "cut" type: "Slice" bottom: "c" top: "s1" top: "s2" }}
layer {{ name: "relu" type: "ReLU" bottom: "s2" top: "s2" relu_param {{ negative_slope: 0.1 }} }}
layer {{ name: "c1" type: "Convolution" bottom: "s1" top: "t1"
  convolution_param {{ num_output: 4 kernel_size: 3 pad: 1 }} }}
layer {{ name: "c2" type: "Convolution" bottom: "t1" top: "t2"
  convolution_param {{ num_output: 4 kernel_size: 3 pad: 1 }} }}
layer {{ name: "join" type: "Concat" bottom: "t2" bottom: "s2" top: "j" }}
layer {{ name: "norm" type: "LRN" bottom: "j" top: "n" lrn_param {{ alpha: 0.1 }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "n" top: "fc"
  inner_product_param {{ num_output: 10 }} }}
layer {{ name: "unread" type: "Silence" bottom: "a2" }}
layer {{ name: "prob" type: "Softmax" bottom: "fc" top: "prob" }}
"""
# OpenCV has another default than Caffe, and takes the bottoms in another order.
REWRITTEN = f"""name: "rewritten"
{HEAD}
layer {{ name: "mean" type: "Pooling" bottom: "x" top: "m"
  pooling_param {{ pool: AVE global_pooling: true }} }}
layer {{ name: "half" type: "Power" bottom: "x" top: "y" power_param {{ scale: 0.5 }} }}
layer {{ name: "axpy" type: "Axpy" bottom: "m" bottom: "y" bottom: "x" top: "z" }}
layer {{ name: "norm" type: "LRN" bottom: "z" top: "n" }}
"""


def network(folder: Path, text: str) -> Network:
    path = folder / "net.prototxt"
    path.write_text(text)
    return networks.load(str(path))


def side(target: Target, network: Network, engine: str, **more: bool) -> Runnable:
    options = RunOptions(
        engine=engine, protocol="inference", compute="real", repeats=0,
        layer_values=more.get("layer_values", True),
    )  # fmt: skip
    return Runnable(name=engine, network=network, target=target, options=options)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return network(tmp_path_factory.mktemp("net"), NET)


@pytest.fixture(scope="module")
def of_caffe(twin: Target, net: Network) -> Runnable:
    return side(twin, net, "caffe")


@pytest.mark.parametrize("engine", ["opencv", "opencv==4.5.1", "onnxruntime", "ncnn"])
def test_no_layer_of_an_engine_differs(
    twin: Target, net: Network, of_caffe: Runnable, engine: str
) -> None:
    other = side(twin, net, engine)
    found = bisect(of_caffe, other)
    assert found, found.cause
    assert len(found.layers.layers) == len(of_caffe.record.signatures) == 16
    assert not found.left_out
    # ncnn rounds the weights of products only.
    close = [one.relative or 0 for one in found.layers.layers if one.type == "Convolution"]
    assert max(close) < engine_of("caffe").layer_rtol
    # The values of layers take memory of their own.
    record = other.record
    assert (record.verdict, record.peak_rss_bytes, record.headroom_bytes) == (
        "inconclusive", None, None,
    )  # fmt: skip
    assert "takes memory of its own" in record.provenance["peak_rss_bytes"].reason
    settings = engine_of(engine).layer_settings or ()
    assert (record.engine_version or "").split(", ")[1:] == list(settings)
    assert found.surroundings[0][0] == "engine"


def test_emulated_an_engine_is_compared_with_another(
    builder: Builder, twin: Target, net: Network
) -> None:
    emulated = side(SysrootTarget(DEVICE, builder), net, "ncnn:fp16=off")
    found = bisect(side(twin, net, "onnxruntime"), emulated)
    assert found, found.cause
    assert found.tolerance.rtol == engine_of("caffe").layer_rtol
    assert found.surroundings[0] == (
        "engine", "ONNX Runtime 1.19.2, optimization=off", "ncnn 1.0.20261020, fp16=off",
    )  # fmt: skip
    assert ("architecture", "x86_64", "aarch64") in found.surroundings


@pytest.mark.parametrize(
    ("planted", "layer", "effect"),
    [
        (
            ("num_output: 10", "num_output: 10 transpose: true"),
            "fc",
            "takes no notice of `transpose: true`",
        ),
        (("alpha: 0.1", "alpha: 0.1 k: 2"), "norm", "takes no notice of `k`"),
    ],
)
def test_what_opencv_ignores_is_found_at_its_layer(
    tmp_path: Path, planted: tuple[str, str], layer: str, effect: str
) -> None:
    (tmp_path / "net.prototxt").write_text(NET.replace(*planted))
    command = ["bisect", str(tmp_path / "net.prototxt"), "caffe", "opencv", "--json"]
    result = subprocess.run(
        [sys.executable, "-m", "pibench", *command],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    found = json.loads(result.stdout)
    assert (found["first"], found["second"]) == ("caffe on twin", "opencv on twin")
    assert found["first_divergence"]["layer"] == layer
    assert all(one["agrees"] for one in found["inputs"])
    assert not found["isolated"]["agrees"]
    assert found["cause"].startswith(f"{layer} causes the difference")
    assert found["cause"].endswith(effect)


def test_what_opencv_takes_otherwise_is_written_for_it(twin: Target, tmp_path: Path) -> None:
    loaded = network(tmp_path, REWRITTEN)
    caffe = side(twin, loaded, "caffe")
    plain = side(twin, loaded, "opencv", layer_values=False)
    assert compare_outputs(entry_of(caffe.record), entry_of(plain.record))
    # As it is, both layers differ.
    as_it_is = side(twin, loaded, "opencv").record.signatures
    compared = compare_layers(caffe.record.signatures, as_it_is, LAYER_TOLERANCE)
    assert [one.layer for one in compared.layers if not one] == ["axpy", "norm"]
