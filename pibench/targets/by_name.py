"""Targets by the names that users give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.images.build import Builder
    from pibench.records.schema import Machine
    from pibench.targets.base import Target

# ruff: noqa: PLC0415  (only the target in use is imported: the Engine's SDK alone takes 0.2 s)


def make_target(
    name: str,
    device: Device,
    builder: Builder,
    *,
    machine: Machine | None = None,
    at_once: int | None = None,
) -> Target:
    """The target called `name`, for verdicts about `device`.

    `machine` is that of target vm, `at_once` how many networks it may run side
    by side; None takes the default of each. Raises InvalidInputError for a
    target that there is not, or one that has no machine.
    """
    if machine is not None and name != "vm":
        raise InvalidInputError(
            f"--machine {machine} belongs to target vm, not to {name}",
            hint="leave one of the two out",
        )
    if name == "twin":
        from pibench.targets.local import TwinTarget

        return TwinTarget(builder)
    if name == "native":
        from pibench.targets.local import NativeTarget

        return NativeTarget()
    if name == "container":
        from pibench.targets.container import ContainerTarget

        return ContainerTarget(device, builder, containers_at_once=at_once)
    if name == "sysroot":
        from pibench.targets.sysroot import SysrootTarget

        return SysrootTarget(device, builder, processes_at_once=at_once)
    if name == "vm":
        from pibench.targets.vm import VmTarget

        return VmTarget(device, builder, machine=machine or "virt", machines_at_once=at_once)
    raise InvalidInputError(f"there is no target {name}", hint="pibench doctor lists them")
