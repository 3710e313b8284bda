"""The target that `auto` takes, and the reason that it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from pibench import devices
from pibench.diagnosis import Diagnosis, choice
from pibench.errors import ExitCode, HostError

PI = devices.load("rpi3b")


def chosen(
    monkeypatch: pytest.MonkeyPatch,
    *able: str,
    compute: str | None = None,
    model: Path = Path("/nonexistent"),
) -> choice.Choice:
    monkeypatch.setattr(choice, "diagnose", lambda: Diagnosis(targets=able, findings=()))
    return choice.choose(PI, compute, model=model)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The device tree's model, as the kernel ends it."""
    path = tmp_path / "model"
    path.write_text(f"{PI.name} Rev 1.2\0")
    return path


@pytest.mark.parametrize(
    ("able", "target", "lacking"),
    [
        (("vm", "container", "sysroot", "twin"), "vm", None),
        (("twin", "sysroot", "container"), "container", "vm"),
        (("sysroot", "twin"), "sysroot", "vm, container"),
        (("twin",), "twin", "vm, container, sysroot"),
    ],
)
def test_the_best_that_works_with_what_would_be_better(
    monkeypatch: pytest.MonkeyPatch, able: tuple[str, ...], target: str, lacking: str | None
) -> None:
    found = chosen(monkeypatch, *able)
    assert found.target == target
    assert found.reason.startswith(choice.REASONS[target])
    better = f"; not possible here: {lacking} (pibench doctor)" if lacking else ""
    assert found.reason == choice.REASONS[target] + better


def test_on_the_device_itself_nothing_stands_for_it(
    monkeypatch: pytest.MonkeyPatch, board: Path
) -> None:
    assert chosen(monkeypatch, "vm", "native", model=board).target == "native"
    assert chosen(monkeypatch, "vm", "native", compute="real", model=board).target == "native"


def test_a_caffe_of_another_machine_is_not_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, "native", "twin").target == "twin"


def test_the_device_itself_computes_for_real(monkeypatch: pytest.MonkeyPatch, board: Path) -> None:
    found = chosen(monkeypatch, "vm", "native", compute="memory-only", model=board)
    assert found.target == "vm"


def test_the_device_without_caffe_is_reported(monkeypatch: pytest.MonkeyPatch, board: Path) -> None:
    found = chosen(monkeypatch, "container", model=board)
    assert found.target == "container"
    assert "not possible here: native, vm" in found.reason


@pytest.mark.parametrize("able", [(), ("native",)])
def test_where_nothing_can_run_there_is_a_way_to_learn_why(
    monkeypatch: pytest.MonkeyPatch, able: tuple[str, ...]
) -> None:
    with pytest.raises(HostError, match="no target can run here") as fault:
        chosen(monkeypatch, *able)
    assert "pibench doctor" in fault.value.line()
    assert fault.value.exit_code == ExitCode.ENVIRONMENT
