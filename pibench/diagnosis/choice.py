"""Choose a target where the user does not name one, and give the reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pibench.devices import Device
from pibench.diagnosis import diagnose
from pibench.errors import HostError

DEVICE_TREE_MODEL: Final = Path("/proc/device-tree/model")

REASONS: Final = {
    "native": "this machine is the device",
    "vm": "a separate machine, whose kernel decides what fits",
    "container": "the Engine's cgroup limits it to the device's memory and cores",
    "sysroot": "the same programs under qemu-user, with no root and no daemon",
    "twin": "the same packages at full speed, judged by peak memory alone",
}
"""From best to worst: each is further from the device in what decides the verdict."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A target that can run here and the reason for it."""

    target: str
    reason: str


def choose(device: Device, compute: str | None, *, model: Path = DEVICE_TREE_MODEL) -> Choice:
    """Return the best target that works here.

    Args:
        device: the device to run for.
        compute: the requested compute, None for the default.
        model: the device tree's file with this machine's model.

    Raises:
        HostError: none works.
    """
    able = diagnose().targets
    on_device = _text(model).startswith(device.name)
    better: list[str] = []
    for target, reason in REASONS.items():
        if target == "native" and not (on_device and compute != "memory-only"):
            continue
        if target in able:
            lacking = f"; not possible here: {', '.join(better)} (pibench doctor)"
            return Choice(target=target, reason=reason + (lacking if better else ""))
        better.append(target)
    raise HostError("no target can run here", hint="pibench doctor lists what each target lacks")


def _text(path: Path) -> str:
    try:
        return path.read_text().rstrip("\0")
    except OSError:
        return ""
