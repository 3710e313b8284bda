"""Read the host's environment for a record: the software, the machine, its load."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from pibench._version import __version__
from pibench.records.schema import Boot, HostEnvironment

CPUINFO = Path("/proc/cpuinfo")
DEVICE_TREE_MODEL = Path("/proc/device-tree/model")


def host_environment(
    *,
    qemu_version: str | None = None,
    qemu_accelerator: str | None = None,
    qemu_boot: Boot | None = None,
    engine: str | None = None,
) -> HostEnvironment:
    """Describe this machine; unavailable values are None.

    Memory is in bytes, the load is the kernel's one-minute average.

    Args:
        qemu_version: the version text of the QEMU in use, None for a run without QEMU.
        qemu_accelerator: how QEMU's system emulation runs the cores (`-accel`).
        qemu_boot: whether the guest booted for this run.
        engine: the container Engine and its version.
    """
    return HostEnvironment(
        pibench_version=__version__,
        python_version=platform.python_version(),
        kernel=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        cpu_model=cpu_model(),
        logical_cores=os.cpu_count(),
        memory_bytes=psutil.virtual_memory().total,
        load_1_minute=_load_1_minute(),
        qemu_version=qemu_version,
        qemu_accelerator=qemu_accelerator,
        qemu_boot=qemu_boot,
        engine=engine,
    )


def cpu_model(cpuinfo: Path = CPUINFO, device_tree_model: Path = DEVICE_TREE_MODEL) -> str | None:
    """Return the CPU's model name; on a board without one, its device tree's model."""
    for line in _text(cpuinfo).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    # Device tree properties end with a NUL.
    return _text(device_tree_model).rstrip("\0").strip() or None


def _text(path: Path) -> str:
    """Return the file's text, empty if the kernel does not provide the file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _load_1_minute() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None
