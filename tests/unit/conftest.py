"""Networks of the zoo, built once, and whole records: one to be changed, and a run of the paper."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest

from pibench.networks import catalog, network
from tests import whole_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pibench.records.schema import Record


@pytest.fixture(scope="session", autouse=True)
def built_once() -> Iterator[None]:
    """Tests load networks of the zoo a thousand times; none may change what the others see."""
    by_name: dict[str, network.Network] = {}

    from_zoo = network.from_zoo

    def built(name: str) -> network.Network:
        if name not in by_name:
            by_name[name] = from_zoo(name)
        return by_name[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "from_zoo", built)
        yield
    for name, one in by_name.items():
        assert one.net == catalog.find(name).build(), f"a test, or pibench, changed {name}"


_NUMBERS = itertools.count()


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """As pytest's own, which reads the names of all folders for each new one."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    path = tmp_path_factory.getbasetemp() / f"{next(_NUMBERS)}-{name}"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def on_machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this machine another, as `uname -m` names them."""
    return lambda name: monkeypatch.setattr("platform.machine", lambda: name)


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """Builds a valid record; keyword arguments replace its fields."""
    return whole_records.record


@pytest.fixture
def probe_result() -> dict[str, Any]:
    """The `result` of a probe: `caffe time` that ended well."""
    return whole_records.probe_result()


@pytest.fixture(scope="session")
def paper_run() -> list[Record]:
    """All 26 networks as they came out of the VM, in the paper's order."""
    return whole_records.paper_run()
