"""Which CPU an emulator was, by its main ID register."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pibench.probe.machine import seen_by_programs
from pibench.targets import emulation


@pytest.mark.parametrize(
    ("cpu", "register", "is_it"),
    [
        ("cortex-a53", 0x410FD034, True),
        ("cortex-a53", 0x411FD030, True),
        ("cortex-a72", 0x410FD083, True),
        ("cortex-a53", 0x410FD083, False),
        ("cortex-a72", 0x410FD034, False),
        # Another maker's core with the same part number.
        ("cortex-a53", 0x420FD034, False),
        # QEMU's `max`, which has no part of its own.
        ("cortex-a53", 0x000F0510, False),
        ("cortex-a53", 0, False),
        ("cortex-a53", None, False),
        ("cortex-a999", 0x410FD034, False),
    ],
)
def test_the_part_counts_and_not_the_revision(cpu: str, register: int | None, is_it: bool) -> None:
    assert emulation.is_cpu(cpu, register) is is_it


def test_an_emulator_gets_its_cpu_and_reserves_room_for_the_heap() -> None:
    reported = emulation.environment("cortex-a53")
    assert reported["QEMU_CPU"] == "cortex-a53"
    assert int(reported["QEMU_RESERVED_VA"], 16) == emulation.RESERVED_VA == 512 << 30


@pytest.mark.parametrize(("machine", "needed"), [("x86_64", True), ("aarch64", False)])
def test_an_arm64_machine_needs_no_emulator(
    on_machine: Callable[[str], None], machine: str, needed: bool
) -> None:
    on_machine(machine)
    assert emulation.needed() is needed


@pytest.mark.skipif(
    not emulation.needed() or shutil.which("qemu-aarch64") is None,
    reason="needs QEMU's user-mode emulator",
)
@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a72"])
def test_a_program_reports_the_cpu_that_programs_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: str
) -> None:
    monkeypatch.setenv("QEMU_CPU", cpu)
    program = tmp_path / "cpu-report"
    program.write_bytes(emulation.cpu_report_program())
    program.chmod(0o755)
    # As the kernel starts it where an emulator is registered.
    wrapper = script(tmp_path / "started", f'exec qemu-aarch64 "{program}"')
    found = seen_by_programs(str(wrapper))
    assert found["architecture"] == "aarch64"
    assert emulation.is_cpu(cpu, found["main_id_register"])


@pytest.mark.parametrize("body", ["exit 1", "echo too short", "head -c 399 /dev/zero"])
def test_no_cpu_is_reported_where_that_program_fails(tmp_path: Path, body: str) -> None:
    assert seen_by_programs(str(script(tmp_path / "broken", body))) == {}
    assert seen_by_programs(str(tmp_path / "absent")) == {}


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path
