"""Which CPU an emulator was, by its main ID register."""

from __future__ import annotations

import pytest

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
    monkeypatch: pytest.MonkeyPatch, machine: str, needed: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert emulation.needed() is needed
