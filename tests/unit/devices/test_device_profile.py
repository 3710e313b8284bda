"""The Raspberry Pi 3 as data, and names that are none."""

from __future__ import annotations

import dataclasses
import re

import pytest

from pibench import devices
from pibench.errors import ExitCode, InvalidInputError


@pytest.mark.parametrize("name", ["rpi3b", "RPI3B", "raspi3b", " Raspberry Pi 3 Model B "])
def test_a_device_is_found_by_id_alias_and_name(name: str) -> None:
    assert devices.load(name).id == "rpi3b"


def test_the_memory_of_the_pi_adds_up() -> None:
    device = devices.load("rpi3b")
    assert device.ram_bytes == 2**30
    assert device.usable_bytes == 940_500 * 1024 == 963_072_000
    kernel_bytes = device.ram_bytes - device.usable_bytes - device.firmware_bytes
    assert 0 < kernel_bytes < 64 * 2**20


def test_the_cpu_of_the_pi() -> None:
    device = devices.load("rpi3b")
    assert (device.cores, device.cpu, device.qemu_cpu) == (4, "cortex-a53", "cortex-a53")
    assert device.clock_hz == 1_200_000_000


@pytest.mark.parametrize("device_id", devices.names())
def test_every_argued_number_has_a_source(device_id: str) -> None:
    fields = dataclasses.asdict(devices.load(device_id))
    sources = [value for key, value in fields.items() if key.endswith("_source")]
    assert len(sources) == 4
    assert all(sources)


def test_an_unknown_device_names_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match="unknown device 'rpi9'") as caught:
        devices.load("rpi9")
    assert "rpi3b" in caught.value.line()
    assert caught.value.exit_code == ExitCode.INVALID_INPUT


@pytest.mark.parametrize("name", ["rpi4b", "Raspberry Pi 4"])
def test_a_name_without_its_memory_suggests_each_size(name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        devices.load(name)
    assert "did you mean rpi4b_1gb or rpi4b_2gb or rpi4b_4gb?" in caught.value.line()


@pytest.mark.parametrize("name", devices.reserves())
def test_a_preset_has_a_source_and_leaves_memory_of_the_smallest_board(name: str) -> None:
    preset = devices.reserves()[name]
    assert preset.title
    # The source gives what is available, or what is used.
    total_mib, other_mib = map(float, re.findall(r"(\d+(?:\.\d)?) MiB", preset.source))
    used_mib = total_mib - other_mib if "MiB available" in preset.source else other_mib
    assert preset.mib == pytest.approx(used_mib)
    left = devices.load("rpi_zero2w").with_reserve(devices.reserve_mib(name))
    assert devices.reserve_name(left.reserve_bytes / devices.MIB) == name


def test_a_reserve_of_another_size_has_no_name() -> None:
    assert devices.reserve_name(devices.reserve_mib("200")) == "200"
    with pytest.raises(InvalidInputError, match="unknown reserve 'huge'"):
        devices.reserve_mib("huge")
