"""Make targets from the names that users give."""

from __future__ import annotations

from pathlib import Path
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
    identity: Path | None = None,
    remote_dir: str | None = None,
) -> Target:
    """Return the target called `name`, for verdicts about `device`.

    Args:
        name: a target's name, or `ssh://[USER@]HOST[:PORT]`.
        device: the device whose memory limits the networks.
        builder: builds the images that the target needs.
        machine: the machine of target vm.
        at_once: how many networks may run in parallel; None is the target's default.
        identity: the SSH key of a target `ssh://USER@HOST`.
        remote_dir: the folder on the board of a target `ssh://USER@HOST`.

    Raises:
        InvalidInputError: the target does not exist, or an option does not apply to it.
    """
    if machine is not None and name != "vm":
        raise InvalidInputError(
            f"--machine {machine} belongs to target vm, not to {name}",
            hint="leave one of the two out",
        )
    if name.startswith("ssh://"):
        return _over_ssh(name, builder, at_once, identity, remote_dir)
    for option, value in (("--identity", identity), ("--remote-dir", remote_dir)):
        if value is not None:
            raise InvalidInputError(
                f"{option} {value} belongs to a target ssh://USER@HOST, not to {name}",
                hint="leave one of the two out",
            )
    if name == "twin":
        from pibench.targets.local import TwinTarget

        return TwinTarget(builder, processes_at_once=at_once)
    if name == "native":
        from pibench.targets.local import NativeTarget

        return NativeTarget(builder)
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


def _over_ssh(
    url: str, builder: Builder, at_once: int | None, identity: Path | None, remote_dir: str | None
) -> Target:
    from pibench.targets.ssh import SshTarget
    from pibench.targets.ssh.address import parse
    from pibench.targets.ssh.connection import Login

    if at_once not in (None, 1):
        raise InvalidInputError(
            f"--jobs {at_once}: a board runs one network at a time, or it would measure two",
            hint="leave --jobs out",
        )
    return SshTarget(Login(address=parse(url), identity=identity), builder, folder=remote_dir)
