"""The host's environment, here and on machines that report less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench import __version__
from pibench.records.environment import cpu_model, host_environment

if TYPE_CHECKING:
    from pathlib import Path


def test_this_host_reports_its_basics() -> None:
    host = host_environment(qemu_version="QEMU emulator version 7.2.0")
    assert host.pibench_version == __version__
    assert host.memory_bytes
    assert host.logical_cores
    assert host.qemu_version == "QEMU emulator version 7.2.0"


def test_cpu_model_comes_from_cpuinfo(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU: 2 GHz\n")
    assert cpu_model(cpuinfo, tmp_path / "none") == "Some CPU: 2 GHz"


def test_a_board_reports_its_model_in_the_device_tree(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"Raspberry Pi 3 Model B Rev 1.2\0")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nCPU part\t: 0xd03\n")
    model = cpu_model(tmp_path / "cpuinfo", tmp_path / "model")
    assert model == "Raspberry Pi 3 Model B Rev 1.2"
    assert cpu_model(tmp_path / "none", tmp_path / "none") is None
