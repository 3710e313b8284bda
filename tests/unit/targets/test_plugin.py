"""A target from another package: it runs, and its records are read, compared and swept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pibench import api, devices, diagnosis, target_kinds
from pibench.errors import HostError, InvalidInputError
from pibench.images.build import Builder
from pibench.records.store import RecordStore
from pibench.target_kinds import TargetKind
from pibench.targets import registry, sandbox
from tests.unit.targets import toy_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pibench.records.schema import Record

ROOT = Path(__file__).resolve().parents[3]
PI = devices.load("rpi3b")
METADATA = "Metadata-Version: 2.1\nName: toy-target\nVersion: 1.0\n"


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(sandbox, "available", lambda: False)


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(target_kinds, "_kinds", dict(target_kinds._kinds))
    monkeypatch.setattr(target_kinds, "_failures", {})
    monkeypatch.setattr(target_kinds, "_entry_points", None)
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A folder with the toy's package, installed as pip does it: a module and its metadata."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(toy_target.__file__, folder / "toy_target.py")
    info = folder / "toy_target-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text("[pibench.targets]\ntoy = toy_target:register_toy\n")
    yield folder
    sys.modules.pop("toy_target", None)


@pytest.fixture
def pibench(package: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `pibench ARGUMENTS` in a process that has the package installed."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join((str(package), str(ROOT)))
        return subprocess.run(
            [sys.executable, "-m", "pibench", *arguments],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return run


def assert_is_a_toys(record: Record) -> None:
    assert (record.target, record.network) == ("toy", "SqueezeNet V1.1")
    assert record.provenance["peak_rss_bytes"].kind == "emulated"
    assert record.evidence.exit_status == 0
    assert record.layers[0].name == "conv1"
    assert record.is_emulated_or_twin


def test_a_program_registers_a_target_and_runs_a_network(tmp_path: Path) -> None:
    toy_target.register_toy()
    out = tmp_path / "records.jsonl"
    (record,) = api.run("SqueezeNet V1.1", target="toy", out=out)
    assert_is_a_toys(record)
    assert list(RecordStore(out).read()) == [record]
    assert api.reconcile([out, out]) is not None
    assert "toy" in diagnosis.diagnose().targets


def test_an_installed_package_adds_a_target(
    pibench: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    ran = pibench("run", "SqueezeNet V1.1", "--target", "toy", "--out", "records.jsonl")
    assert ran.returncode in (0, 4), ran.stderr
    (record,) = RecordStore(tmp_path / "records.jsonl").read()
    assert_is_a_toys(record)
    (tmp_path / "plan.json").write_text(pibench("plan", "SqueezeNet V1.1", "--json").stdout)
    compared = pibench("reconcile", "records.jsonl", "plan.json")
    assert compared.returncode in (0, 1, 4), compared.stderr
    assert "toy" in compared.stdout
    swept = pibench("sweep", "--networks", "SqueezeNet V1.1", "--target", "toy", "--out", "study")
    assert swept.returncode in (0, 4), swept.stderr
    (cell,) = RecordStore(tmp_path / "study" / "journal.jsonl").read()
    assert_is_a_toys(cell)
    offered = pibench("run", "NIN", "--target", "toaster")
    assert "not one of auto, vm, container, sysroot, twin, native, ssh://USER@HOST, toy" in (
        offered.stderr
    )


def test_a_record_of_a_target_that_is_not_installed_is_still_read(
    make_record: Callable[..., Record],
) -> None:
    fields: dict[str, Any] = {"target": "elsewhere", "machine": None}
    record = make_record(**fields)
    assert record.target_kind == TargetKind(name="elsewhere", installed=False)
    assert record.is_emulated_or_twin
    provenance = {
        name: found.model_copy(update={"kind": "measured"}) if found.kind == "emulated" else found
        for name, found in record.provenance.items()
    }
    measured = make_record(**fields, provenance=provenance)
    assert not measured.is_emulated_or_twin
    # Nothing is claimed about a board.
    assert not measured.target_kind.is_board


def test_a_plugin_that_fails_costs_nothing_but_its_target(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "toy_target.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(package)
    assert "toy" in target_kinds.names()
    assert not target_kinds.kind_of("toy").installed
    with pytest.raises(HostError, match="toy cannot be loaded: RuntimeError: no licence"):
        api.run("NIN", target="toy")
    assert target_kinds.kind_of("vm").installed


def test_a_plugin_has_to_register_the_target_that_it_names(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "toy_target.py").write_text("def register_toy():\n    pass\n")
    monkeypatch.syspath_prepend(package)
    with pytest.raises(HostError, match="it registers no target called toy"):
        registry.make_target("toy", PI, Builder())


def test_a_target_with_an_address_is_known_by_its_scheme() -> None:
    assert target_kinds.kind_of_spec("ssh://pi@board").name == "ssh"
    assert not target_kinds.kind_of_spec("ssh").installed
    assert not target_kinds.kind_of_spec("ftp://board").installed
    with pytest.raises(InvalidInputError, match="there is no target ssh"):
        registry.make_target("ssh", PI, Builder())
