"""The real targets, built once for all tests, and networks to push over the limit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pibench import devices, networks
from pibench.images.build import Builder
from pibench.networks.model_file import Runnable
from pibench.networks.network import Network
from pibench.records.schema import Record
from pibench.runner.options import RunOptions
from pibench.runner.reference import Reference
from pibench.runner.runner import Runner
from pibench.targets.base import Target
from pibench.targets.container import ContainerTarget
from pibench.targets.local import TwinTarget
from pibench.targets.vm import VmTarget
from tests.emulation.engines import OwnEngine, require_means
from tests.emulation.guests import Guest, booted
from tests.wild.forks import FORKED

DEVICE = devices.load("rpi3b")
# Convolutions, layers in place, two ways that meet, pooling, a classifier: a second emulated.
SMALL = """
name: "small"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 16 dim: 24 dim: 24 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1"
  relu_param { negative_slope: 0.1 } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "left" type: "Convolution" bottom: "pool1" top: "left"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "right" type: "Convolution" bottom: "pool1" top: "right"
  convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "both" type: "Concat" bottom: "left" bottom: "right" top: "both" }
layer { name: "norm" type: "LRN" bottom: "both" top: "norm" lrn_param { alpha: 0.0001 } }
layer { name: "fc" type: "InnerProduct" bottom: "norm" top: "fc"
  inner_product_param { num_output: 50 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.fixture(scope="session")
def builder() -> Builder:
    return Builder()


@pytest.fixture(scope="session")
def virt(builder: Builder) -> VmTarget:
    return VmTarget(DEVICE, builder)


@pytest.fixture(scope="session")
def raspi3b(builder: Builder) -> VmTarget:
    return VmTarget(DEVICE, builder, machine="raspi3b")


@pytest.fixture(scope="session")
def twin(builder: Builder) -> TwinTarget:
    return TwinTarget(builder)


@pytest.fixture(scope="session")
def reference(builder: Builder) -> Reference:
    return Reference(builder)


def run(target: Target, loaded: Sequence[Runnable], **changes: object) -> list[Record]:
    """Run networks for the device and return their records."""
    reference = changes.pop("reference", None)
    request = RunOptions(**{"compute": "memory-only", **changes})  # type: ignore[arg-type]
    return Runner(target=target, options=request, reference=reference).run(loaded)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network whose arithmetic takes no time to speak of, emulated either."""
    path: Path = tmp_path_factory.mktemp("small") / "small.prototxt"
    path.write_text(SMALL)
    return networks.load(str(path))


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """One with layers of Caffe's forks, whose arithmetic takes seconds emulated."""
    path: Path = tmp_path_factory.mktemp("detector") / "detector.prototxt"
    path.write_text(FORKED["mobilenet_ssd"]())
    return networks.load(str(path))


@pytest.fixture(scope="session")
def vgg_with(tmp_path_factory: pytest.TempPathFactory):
    """VGG 16 with that many units in its two large inner products, a prototxt of our own."""
    folder: Path = tmp_path_factory.mktemp("vgg")

    def build(units: int) -> Network:
        text = networks.load("VGG 16").prototxt
        assert text.count("num_output: 4096") == 2
        path = folder / f"vgg-{units}.prototxt"
        path.write_text(text.replace("num_output: 4096", f"num_output: {units}"))
        return networks.load(str(path))

    return build


@pytest.fixture(scope="session")
def container(builder: Builder) -> ContainerTarget:
    """On this machine's Engine, the emulator measured before any test changes what runs there."""
    target = ContainerTarget(DEVICE, builder)
    run(target, [networks.load("SqueezeNet V1.1")])
    return target


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    require_means()
    # A socket's path has 108 bytes.
    engine = OwnEngine(tmp_path_factory.mktemp("e"))
    yield engine
    engine.stop()
    shutil.rmtree(engine.folder, ignore_errors=True)


@pytest.fixture
def own_engine(engines: OwnEngine, monkeypatch: pytest.MonkeyPatch) -> OwnEngine:
    """A running Engine of the tests, for everything that reads DOCKER_HOST."""
    engines.start()
    monkeypatch.setenv("DOCKER_HOST", engines.host)
    return engines


def sigmoids(path: Path, count: int) -> Path:
    """A network that takes a second per layer and little memory: nothing replaces Sigmoids."""
    path.write_text(
        f'name: "{path.stem}"\n'
        'layer { name: "data" type: "Input" top: "data"\n'
        "  input_param { shape { dim: 1 dim: 16 dim: 300 dim: 300 } } }\n"
        + "".join(
            f'layer {{ name: "sigmoid{i}" type: "Sigmoid" bottom: "data" top: "data" }}\n'
            for i in range(count)
        )
    )
    return path


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that takes half a minute."""
    return sigmoids(tmp_path_factory.mktemp("slow") / "slow.prototxt", 32)


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, over in a moment."""
    return sigmoids(tmp_path_factory.mktemp("quick") / "quick.prototxt", 1)


@pytest.fixture(scope="session")
def guest(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A plain Debian for arm64 with sshd and no Caffe, as a Pi's owner has it; shared by tests."""
    with booted(builder, tmp_path_factory.mktemp("guest")) as running:
        yield running
