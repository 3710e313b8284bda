"""`pibench networks convert`: where its files go, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from pibench import networks
from pibench.engines.caffe import caffemodel
from tests.unit.cli.conftest import Pibench
from tests.wild.single_layers import CASES


@pytest.fixture
def weights() -> str:
    """A caffemodel for net.prototxt, beside it."""
    Path("net.prototxt").write_text(CASES["Convolution"].text)
    caffemodel.write_seeded(networks.load("net.prototxt").net, "own.caffemodel", seed=5)
    return "own.caffemodel"


def test_files_are_named_after_the_network_or_as_asked(pibench: Pibench, weights: str) -> None:
    command = ("networks", "convert", "net.prototxt", "--weights", weights)
    assert pibench(*command, "--to", "ncnn").out == "net.param\nnet.bin\n"
    assert pibench(*command, "--to", "onnx", "-o", "a/b.onnx").out == "a/b.onnx\n"
    (kernel, _) = onnx.load("a/b.onnx").graph.initializer
    stored = dict(caffemodel.mapped_values(weights))["Convolution"][0]
    assert onnx.numpy_helper.to_array(kernel).reshape(-1).tolist() == stored.tolist()
    line = pibench(*command, "--to", "ncnn", "-o", "net.bin", code=2).line
    assert line == "pibench: net.param: is there already; name another file, or add --force"
    assert pibench(*command, "--to", "ncnn", "--force").code == 0


def test_random_weights_are_those_of_a_run(pibench: Pibench) -> None:
    Path("net.prototxt").write_text(CASES["InnerProduct"].text)
    command = ("networks", "convert", "net.prototxt", "--to", "ncnn", "--force")
    assert pibench(*command).code == 0
    first = Path("net.bin").read_bytes()
    assert pibench(*command, "--seed", "1").code == 0
    assert Path("net.bin").read_bytes() != first
    assert pibench(*command).code == 0
    assert Path("net.bin").read_bytes() == first


def test_what_a_format_lacks_is_one_line(pibench: Pibench) -> None:
    Path("net.prototxt").write_text(CASES["ArgMax"].text)
    line = pibench("networks", "convert", "net.prototxt", "--to", "ncnn", code=2).line
    assert line == (
        "pibench: net.prototxt: layer 'ArgMax': ncnn has no exact equal of ArgMax; "
        "replace the layer, or use --engine onnxruntime or opencv"
    )
    assert not Path("net.bin").exists()
    assert "<onnx|ncnn>" in pibench("networks", "convert", "--help").out
