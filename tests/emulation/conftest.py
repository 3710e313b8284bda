"""The real targets, built once for all tests, and networks to push over the limit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pibench import devices, networks
from pibench.images.build import Builder
from pibench.networks.network import Network
from pibench.records.schema import Record
from pibench.runner.options import RunOptions
from pibench.runner.runner import Reference, Runner
from pibench.targets.base import Target
from pibench.targets.container import ContainerTarget
from pibench.targets.local import TwinTarget
from pibench.targets.vm import VmTarget
from tests.emulation.engines import OwnEngine, require_means
from tests.emulation.guests import Guest, booted

DEVICE = devices.load("rpi3b")


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


def run(target: Target, loaded: list[Network], **changes: object) -> list[Record]:
    """Run networks for the device and return their records."""
    reference = changes.pop("reference", None)
    request = RunOptions(**{"compute": "memory-only", **changes})  # type: ignore[arg-type]
    return Runner(target=target, options=request, reference=reference).run(loaded)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def computed_in_vm(virt: VmTarget) -> dict[str, Record]:
    """SqueezeNet V1.1 and NIN in the virtual machine, their arithmetic done."""
    loaded = [networks.load(name) for name in ("SqueezeNet V1.1", "NIN")]
    return {record.network: record for record in run(virt, loaded, compute="real")}


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


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that takes half a minute and little memory: nothing replaces its Sigmoids."""
    path: Path = tmp_path_factory.mktemp("slow") / "slow.prototxt"
    path.write_text(
        'name: "slow"\n'
        'layer { name: "data" type: "Input" top: "data"\n'
        "  input_param { shape { dim: 1 dim: 16 dim: 300 dim: 300 } } }\n"
        + "".join(
            f'layer {{ name: "sigmoid{i}" type: "Sigmoid" bottom: "data" top: "data" }}\n'
            for i in range(32)
        )
    )
    return path


@pytest.fixture(scope="session")
def guest(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A plain Debian for arm64 with sshd and no Caffe, as a Pi's owner has it; shared by tests."""
    with booted(builder, tmp_path_factory.mktemp("guest")) as running:
        yield running
