"""The real targets, built once for all tests, and networks to push over the limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from pibench import devices, networks
from pibench.images.build import Builder
from pibench.networks.network import Network
from pibench.records.schema import Record
from pibench.sweep.reference import Reference
from pibench.sweep.run import Sweep
from pibench.sweep.work import Request
from pibench.targets.base import Target
from pibench.targets.local import TwinTarget
from pibench.targets.vm import VmTarget

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
    request = Request(device=DEVICE, **changes)  # type: ignore[arg-type]
    return Sweep(target=target, request=request, reference=reference).run(loaded)  # type: ignore[arg-type]


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
