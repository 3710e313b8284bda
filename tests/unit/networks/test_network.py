"""Loading and exporting networks, and the commands on top."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from pibench import devices, networks
from pibench.cli.networks import app
from pibench.engines.caffe import caffemodel
from pibench.errors import InvalidInputError
from pibench.latency import rates
from pibench.latency.model import predict
from pibench.networks import network
from pibench.networks.network import write_network
from pibench.plan import answers
from pibench.plan.environment import of_device
from pibench.plan.planner import plan

if TYPE_CHECKING:
    from pibench.engines.base import Protocol


def test_zoo_network() -> None:
    loaded = networks.load("squeezenet v1.1")
    assert (loaded.name, loaded.slug, loaded.source) == (
        "SqueezeNet V1.1",
        "squeezenet-v1.1",
        "zoo",
    )
    assert (loaded.paper_row, loaded.batch, loaded.weights, loaded.repairs) == (4, 1, None, ())
    assert loaded.entry is networks.find("squeezenet v1.1")
    assert loaded.sha256 == networks.load("SqueezeNet V1.1").sha256


def test_batch_is_put_in_and_checked() -> None:
    assert networks.load("NIN", batch=4).shapes.blobs["data"] == (4, 3, 224, 224)
    with pytest.raises(InvalidInputError, match="batch 0 is out of range"):
        networks.load("NIN", batch=0)
    with pytest.raises(InvalidInputError, match="more than 2"):
        networks.load("VGG 16", batch=60_000)


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "My Net_v2.prototxt"
    path.write_text('input: "data" input_dim: [1, 3, 5, 5]')
    loaded = networks.load(str(path))
    assert (loaded.name, loaded.slug, loaded.source) == ("My Net_v2", "my-net-v2", str(path))
    assert loaded.entry is None
    assert loaded.paper_row is None


def test_a_network_that_caffe_cannot_set_up_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.prototxt"
    path.write_text('layer { name: "r" type: "ReLU" bottom: "x" top: "y" }')
    with pytest.raises(InvalidInputError) as caught:
        networks.load(str(path))
    assert caught.value.line() == (
        f"{path}: layer 'r': bottom 'x' is written by no earlier layer; correct the blob's name"
    )


@pytest.mark.parametrize("spec", ["a/b", "x.prototxt", "./alexnet"])
def test_specs_that_are_paths(spec: str) -> None:
    with pytest.raises(InvalidInputError, match="no such file"):
        networks.load(spec)


def test_a_file_goes_before_a_name_but_a_directory_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "NIN").mkdir()
    (tmp_path / "AlexNet").write_text('input: "data" input_dim: [1, 3, 5, 5]')
    assert networks.load("NIN").source == "zoo"
    assert networks.load("AlexNet").source == "AlexNet"
    assert not network.is_path("x" * 5000)
    assert not network.is_path("a\0b")


TRAIN_ONLY = """
layer { name: "d" type: "DummyData" top: "d" include { phase: TRAIN }
  dummy_data_param { shape { dim: [2, 3, 16, 16] } } }
layer { name: "conv" type: "Convolution" bottom: "d" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
"""
ONE_PHASE = {
    "caffe-time": TRAIN_ONLY,
    "inference": TRAIN_ONLY.replace("TRAIN", "TEST"),
}


@pytest.mark.parametrize("protocol", ["caffe-time", "inference"])
def test_the_protocols_phase_decides(tmp_path: Path, protocol: Protocol) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(ONE_PHASE[protocol])
    network = networks.load(str(path))
    other: Protocol = "inference" if protocol == "caffe-time" else "caffe-time"
    assert network.runs_under(protocol)
    assert not network.runs_under(other)
    environment = of_device(devices.load("rpi3b"))
    planned = plan(network, protocol=protocol, environment=environment)
    assert {one.change for one in answers.optimizations(planned)} <= {"fold-bn"}
    with pytest.raises(InvalidInputError, match="has no source of bottom 'd': DummyData layer"):
        plan(network, protocol=other, environment=environment)
    assert predict(network, devices.load("rpi3b"), rates.shipped()).protocol == protocol
    # The parameters are known whichever phase has the source.
    assert network.parameter_count == 4 * 27 + 4 + 4 + 4 + 1
    text, file = write_network(networks.load(str(path)), tmp_path / "out", weights=True)
    assert file.stat().st_size > network.weights_file_bytes > 4 * network.parameter_count
    assert networks.load(str(text), weights=file, batch=3).batch_under(protocol) == 3


def test_a_layer_of_one_phase_is_a_fault_in_that_phase_only(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        TRAIN_ONLY.replace("include { phase: TRAIN }", "")
        + """layer { name: "p" type: "Pooling" bottom: "conv" top: "p" include { phase: TEST }
               pooling_param { kernel_size: 99 } }"""
    )
    network = networks.load(str(path))
    assert network.runs_under("caffe-time")
    with pytest.raises(InvalidInputError, match="layer 'p': the kernel is 99"):
        network.shapes_under("inference")


def test_export_and_load_back_with_weights(tmp_path: Path) -> None:
    text, weights = write_network(
        networks.load("SqueezeNet V1.1"), tmp_path / "new", weights=True, seed=1
    )
    assert (text.name, weights.name) == ("squeezenet-v1.1.prototxt", "squeezenet-v1.1.caffemodel")
    loaded = networks.load(str(text), weights=weights)
    assert loaded.weights == weights
    assert loaded.sha256 == networks.load("SqueezeNet V1.1").sha256
    with pytest.raises(InvalidInputError, match=r"layer 'conv1': blob 0 is 64 x 3 x 3 x 3 where"):
        networks.load("AlexNet", weights=weights)


def test_googlenet_exports_its_training_heads_weights_too(tmp_path: Path) -> None:
    _, weights = write_network(networks.load("GoogleNet"), tmp_path, weights=True)
    assert round(weights.stat().st_size / 1e6, 1) == 53.5
    assert networks.load("GoogleNet", weights=weights).weights == weights
    assert "loss1/fc" in {layer.name for layer in caffemodel.index(weights)}


def test_export_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="not written: File exists"):
        write_network(networks.load("NIN"), tmp_path / "file")


def test_list_command() -> None:
    result = CliRunner().invoke(app, ["list", "--json"])
    assert result.exit_code == 0
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert len(rows) == 34
    assert rows["AlexNet"]["parameters"] == 60_965_224
    assert rows["DenseNet-121-floor"]["variant_of"] == "DenseNet-121"
    assert "AlexNet" in CliRunner().invoke(app, ["list"]).stdout


def test_show_and_export_commands(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["show", "nin", "--batch", "2"])
    assert shown.stdout == networks.load("NIN", batch=2).prototxt
    written = CliRunner().invoke(app, ["export", "nin", str(tmp_path)])
    assert written.stdout.split() == [str(tmp_path / "nin.prototxt")]


@pytest.mark.parametrize("command", ["list", "show", "export"])
def test_every_help_has_an_example(command: str) -> None:
    assert "Example: pibench networks" in CliRunner().invoke(app, [command, "--help"]).stdout


def test_an_export_writes_over_nothing_unless_asked_to(tmp_path: Path) -> None:
    (tmp_path / "nin.caffemodel").write_bytes(b"trained for weeks")
    with pytest.raises(InvalidInputError, match=r"nin\.caffemodel: is there already"):
        write_network(networks.load("NIN"), tmp_path, weights=True)
    assert (tmp_path / "nin.caffemodel").read_bytes() == b"trained for weeks"
    assert not (tmp_path / "nin.prototxt").exists()
    write_network(networks.load("NIN"), tmp_path, weights=True, force=True)
    assert (tmp_path / "nin.caffemodel").stat().st_size > 10**6


@pytest.mark.parametrize(("image", "message"), [((256, 256), "256x256"), ((224, 224), None)])
def test_the_image_size_is_reported_where_it_is_not_the_networks_own(
    image: tuple[int, int], message: str | None
) -> None:
    assert networks.load("NIN", image=image).input_size == message


def test_a_source_is_recorded_as_short_as_it_distinguishes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }'
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for name in ("a/deploy.prototxt", "zoo"):
        (tmp_path / name).write_text(text)
    assert networks.load("SqueezeNet V1.1").recorded_source == "zoo"
    # A file of this name is not of the zoo.
    assert networks.load("./zoo").recorded_source == "./zoo"
    assert networks.load("a/deploy.prototxt").recorded_source == "a/deploy.prototxt"
    assert networks.load(str(tmp_path / "a/deploy.prototxt")).recorded_source == "a/deploy.prototxt"
    assert network.recorded("/elsewhere/deploy.prototxt") == "/elsewhere/deploy.prototxt"
    assert network.recorded(f"/{'x' * 300}/deploy.prototxt").endswith("xxx/deploy.prototxt")
    assert len(network.recorded(f"/{'x' * 300}/deploy.prototxt")) == 200
