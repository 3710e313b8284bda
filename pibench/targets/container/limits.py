"""The limits of a container: requested, available on the host, and found in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pibench.errors import HostError
from pibench.probe.cgroup import limit_of
from pibench.targets import emulation
from pibench.targets.confined import PAGE_BYTES, EffectiveLimits, effective_limits

if TYPE_CHECKING:
    from pibench.devices import Device

PERIOD_US: Final = 100_000
"""The kernel's default period of the CPU quota."""
PIDS_LIMIT: Final = 64
"""Processes and threads: the probe, Caffe with its BLAS threads, and two of QEMU for each."""
ULIMITS: Final = {"nofile": 1024, "nproc": 4096, "core": 0}
"""Processes are limited by the cgroup: `nproc` counts all of the user's on the host."""
TMP_BYTES: Final = 16 << 20
NOBODY: Final = 65534


class CapNotInForceError(HostError):
    """A requested limit is not in force, so a run there would show nothing about the device."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits requested for a container. `memory_bytes` includes swap: there is none.

    `cores` is how many of the device's `device_cores` the host can provide. `cpu` is the
    CPU model for an emulator.
    """

    memory_bytes: int
    cores: int
    device_cores: int
    cpu: str

    @property
    def cpuset(self) -> str:
        """Return the CPUs by number, as the kernel writes such lists."""
        return f"0-{self.cores - 1}" if self.cores > 1 else "0"


def limits_for(device: Device, *, allowance_bytes: int, host_cores: int) -> Limits:
    """Return limits for the device's memory and cores, with room for the allowance.

    The memory is rounded to whole pages, as the kernel counts it. The cores are at most
    the host's: the Engine rejects more.

    Args:
        device: the device to limit to.
        allowance_bytes: memory that the device itself would not need.
        host_cores: the cores that the Engine offers.
    """
    memory_bytes = device.usable_bytes + allowance_bytes
    return Limits(
        memory_bytes=memory_bytes // PAGE_BYTES * PAGE_BYTES,
        cores=min(device.cores, host_cores),
        device_cores=device.cores,
        cpu=device.qemu_cpu,
    )


def attest(machine: Mapping[str, Any], asked: Limits, *, emulated: bool) -> None:
    """Raise CapNotInForceError unless every requested limit is in force inside the container."""
    found = effective_limits(machine)
    for check in (_memory_fault, _swap_fault, _cpu_fault):
        fault = check(found, asked)
        if fault is not None:
            raise fault
    usable = machine.get("cores_usable")
    if usable != asked.cores:
        raise CapNotInForceError(
            f"the CPU set is not in force: {asked.cores} cores were asked for, "
            f"{usable} can be used",
            hint="the kernel needs cpuset cgroups (CONFIG_CPUSETS)",
        )
    if emulated and not emulation.is_cpu(asked.cpu, machine.get("main_id_register")):
        raise CapNotInForceError(
            f"the emulated CPU is no {asked.cpu} (MIDR_EL1 {machine.get('main_id_register')})",
            hint="the registered QEMU does not heed QEMU_CPU: sudo pibench doctor --fix",
        )
    _attest_sandbox(machine)


def _memory_fault(found: EffectiveLimits, asked: Limits) -> CapNotInForceError | None:
    if found.memory_bytes == asked.memory_bytes:
        return None
    has = "no limit" if found.memory_bytes is None else f"{found.memory_bytes} bytes"
    return CapNotInForceError(
        f"the memory limit is not in force: {asked.memory_bytes} bytes were asked for, "
        f"the container has {has}",
        hint="switch the memory cgroup on; on a Raspberry Pi add cgroup_enable=memory to "
        "/boot/cmdline.txt and reboot",
    )


def _swap_fault(found: EffectiveLimits, asked: Limits) -> CapNotInForceError | None:
    del asked
    if found.swap_bytes == 0:
        return None
    has = "an unknown amount" if found.swap_bytes is None else f"{found.swap_bytes} bytes"
    return CapNotInForceError(
        f"the swap limit is not in force: the container may swap {has}",
        hint="boot with swapaccount=1, or switch swap off: sudo swapoff -a",
    )


def _cpu_fault(found: EffectiveLimits, asked: Limits) -> CapNotInForceError | None:
    if found.cores == asked.cores:
        return None
    has = "no quota" if found.cores is None else f"{found.cores:g}"
    return CapNotInForceError(
        f"the CPU quota is not in force: {asked.cores} cores were asked for, "
        f"the container has {has}",
        hint="the kernel needs CPU quotas (CONFIG_CFS_BANDWIDTH), and a cgroup v2 user "
        "the delegated cpu controller",
    )


def _attest_sandbox(machine: Mapping[str, Any]) -> None:
    held = machine.get("sandbox") or {}
    faults = {
        "the container runs as root": held.get("uid") == 0,
        "the container has capabilities": int(held.get("capabilities") or "1", 16) != 0,
        "the container can gain privileges": held.get("no_new_privileges") != "1",
        "the container can write to its root": held.get("root_read_only") is not True,
        "the container has a network": held.get("interfaces") != ["lo"],
        "the container may start any number of processes": (
            limit_of(machine.get("cgroup_pids")) != PIDS_LIMIT
        ),
    }
    for said, holds in faults.items():
        if holds:
            raise CapNotInForceError(
                f"{said}: a model is not trusted that far",
                hint="look for settings of the Engine that override a container's own",
            )
