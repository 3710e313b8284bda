"""Device profiles: a board's hardware and the memory it leaves to programs, as TOML files."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final, NamedTuple

from pibench.errors import InvalidInputError

_FOLDER: Final = resources.files(__package__)
_RESERVES: Final = "reserves.toml"
KIB = 1024
MIB = 2**20

BORDERLINE_BAND: Final = 0.02
"""Half the width of the borderline band, as a fraction of the usable memory.

2 % of the Raspberry Pi 3's 918.5 MiB are 18 MiB: a little more than the 10 to 15 MB of buffers that
a BLAS may or may not touch, and than the range of 878 to 889 MiB that one network (ResNet-101)
needed on different targets. The networks closest to the limit, at 884 and 1025 MiB, are both well
outside.
"""


@dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """What a board's memory takes for lines of 64 bytes in a stream, on one core.

    `line_copy_ns` reads one and writes another, `line_write_ns` writes only; `l2_ns` is how much
    longer L2 takes than the first cache. All cores together read `all_cores_bytes_per_s` at most.
    `line_short_run_ns` is of a core whose prefetcher does not follow runs of about 1 kB: each line
    is then a read at random, of which two are under way. None: it follows them.
    """

    line_read_ns: float
    line_write_ns: float
    line_copy_ns: float
    l2_ns: float
    all_cores_bytes_per_s: float
    source: str
    line_short_run_ns: float | None = None


@dataclass(frozen=True, kw_only=True)
class Device:
    """A board. Sizes in bytes, the clock in Hz; the `_source` fields give the source of a number.

    `memory` has the times of its memory, None where nobody has published them.
    Of `ram_bytes` the firmware takes `firmware_bytes`, and the kernel's image, page tables and
    reserves some more; `usable_bytes` (the kernel's MemTotal) is left to programs. Of these,
    `reserve_bytes` are for other programs, and no longer in `usable_bytes`.
    """

    id: str
    name: str
    aliases: tuple[str, ...]
    soc: str
    ram_bytes: int
    ram_source: str
    firmware_bytes: int
    firmware_source: str
    usable_bytes: int
    usable_source: str
    cores: int
    cpu: str
    clock_hz: int
    l1_data_bytes: int
    l1_instruction_bytes: int
    l2_bytes: int
    cpu_source: str
    qemu_cpu: str
    qemu_machine: str
    memory: MemoryTiming | None
    reserve_bytes: int = 0

    def with_reserve(self, reserve_mib: float) -> Device:
        """Return the device with that much less memory, which other programs on it take.

        Raises:
            InvalidInputError: Nothing would be left.
        """
        reserve_bytes = round(reserve_mib * MIB)
        if not 0 <= reserve_bytes < self.usable_bytes:
            raise InvalidInputError(
                f"a reserve of {reserve_mib:g} MiB leaves nothing of the "
                f"{self.usable_bytes / MIB:.1f} MiB that programs on {self.id} can use",
                hint="give what other programs on the board take, in MiB",
            )
        return replace(
            self,
            usable_bytes=self.usable_bytes - reserve_bytes,
            reserve_bytes=self.reserve_bytes + reserve_bytes,
        )


class Reserve(NamedTuple):
    """What usually runs on a board beside a network, in MiB, and the source of the figure."""

    title: str
    mib: float
    source: str


@cache
def reserves() -> dict[str, Reserve]:
    """Return the presets of a reserve by name."""
    presets = tomllib.loads((_FOLDER / _RESERVES).read_text(encoding="utf-8"))
    return {name: Reserve(**preset) for name, preset in presets.items()}


def reserve_mib(text: str) -> float:
    """Return a reserve in MiB, from a number or the name of a preset.

    Raises:
        InvalidInputError: It is neither.
    """
    preset = reserves().get(text.strip().lower())
    if preset is not None:
        return preset.mib
    try:
        return float(text)
    except ValueError:
        raise InvalidInputError(
            f"unknown reserve {text!r}", hint=f"give MiB, or a preset: {', '.join(reserves())}"
        ) from None


def reserve_name(size_mib: float) -> str:
    """Return a reserve as `--reserve` takes it: the name of a preset of this size, or MiB."""
    size_bytes = round(size_mib * MIB)
    names = (name for name, one in reserves().items() if round(one.mib * MIB) == size_bytes)
    return next(names, f"{size_mib:g}")


def names() -> tuple[str, ...]:
    """Return the ids of the known devices, sorted."""
    return tuple(sorted(_profiles()))


def load(id_or_name: str) -> Device:
    """Return the device with this id, alias or full name; case does not matter.

    Raises:
        InvalidInputError: No device has this name; the error lists the known ids.
    """
    wanted = _plain(id_or_name)
    for device in _profiles().values():
        if wanted in map(_plain, (device.id, device.name, *device.aliases)):
            return device
    # Without a size of memory, as `rpi4b`, it is the beginning of several.
    close = [
        device.id
        for device in _profiles().values()
        if any(_plain(name).startswith(wanted or "-") for name in (device.id, device.name))
    ] or difflib.get_close_matches(wanted, names(), n=1)
    meant = f"; did you mean {' or '.join(sorted(close))}?" if close else ""
    raise InvalidInputError(
        f"unknown device {id_or_name!r}", hint=f"known devices: {', '.join(names())}{meant}"
    )


def _plain(name: str) -> str:
    """Return a name without case, spaces and signs: people write Raspberry Pi 3 and rpi-3."""
    return "".join(letter for letter in name.casefold() if letter.isalnum() or letter == "+")


@cache
def _profiles() -> dict[str, Device]:
    devices = {}
    for file in _FOLDER.iterdir():
        device_id, _, kind = file.name.rpartition(".")
        if kind == "toml" and file.name != _RESERVES:
            profile = tomllib.loads(file.read_text(encoding="utf-8"))
            devices[device_id] = _device(device_id, profile)
    return devices


def _device(device_id: str, profile: dict[str, Any]) -> Device:
    memory, cpu, qemu = profile.pop("memory"), profile.pop("cpu"), profile.pop("qemu")
    timing = memory.pop("timing", None)
    return Device(
        id=device_id,
        aliases=tuple(profile.pop("aliases")),
        usable_bytes=memory.pop("usable_kib") * KIB,
        cpu=cpu.pop("model"),
        cpu_source=cpu.pop("source"),
        qemu_cpu=qemu["cpu"],
        qemu_machine=qemu["machine"],
        memory=MemoryTiming(**timing) if timing else None,
        **profile,
        **memory,
        **cpu,
    )
