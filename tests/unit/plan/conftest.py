"""Networks in published styles as files, and the boards to plan for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pibench import devices, networks
from pibench.networks.network import Network
from pibench.plan.environment import Environment, of_device
from tests.wild.networks import WILD


@pytest.fixture
def wild(tmp_path: Path) -> Callable[..., Network]:
    """Loads a network of `tests.wild` by name, or the given prototxt text."""

    def load(name_or_text: str, **options: object) -> Network:
        text = WILD[name_or_text]() if name_or_text in WILD else name_or_text
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return networks.load(str(path), **options)  # type: ignore[arg-type]

    return load


@pytest.fixture(scope="session")
def pi() -> Environment:
    return of_device(devices.load("rpi3b"))
