"""The targets by name, and how another package adds one.

A package adds a target by an entry point of the group `pibench.targets`: its name is the target's,
and its value a function without arguments that calls `register`. Only the plugin of the target in
use is loaded. A program may also call `register` itself; the cells of a sweep run in processes of
their own, so a sweep needs the entry point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pibench import target_kinds
from pibench.errors import HostError, InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from pibench.devices import Device
    from pibench.images.build import Builder
    from pibench.target_kinds import Machine, TargetKind
    from pibench.targets.base import Target

# ruff: noqa: PLC0415  (only the target in use is imported: the Engine's SDK alone takes 0.2 s)


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """What a target is made from; options that the target's kind does not have are None.

    `spec` is the value of `--target`: a name, or an address such as `ssh://USER@HOST`. `device`
    is the device whose memory limits the networks, `builder` builds images. `machine` is that of
    target vm, and `fresh_boot` has each of its machines boot. `at_once` is how many networks may
    run in parallel, None for the target's default. `identity` and `remote_dir` are the key and the
    folder on the machine behind an address.
    """

    spec: str
    device: Device
    builder: Builder
    machine: Machine | None = None
    fresh_boot: bool = False
    at_once: int | None = None
    identity: Path | None = None
    remote_dir: str | None = None


Factory = Callable[[TargetOptions], "Target"]


def register(kind: TargetKind, factory: Factory) -> None:
    """Add a target, or replace the one of the same name.

    Args:
        kind: what the target is; its name is the value of `--target`.
        factory: makes the target for one run.
    """
    _factories[kind.name] = factory
    target_kinds.add(kind)


def make_target(
    spec: str,
    device: Device,
    builder: Builder,
    *,
    machine: Machine | None = None,
    fresh_boot: bool = False,
    at_once: int | None = None,
    identity: Path | None = None,
    remote_dir: str | None = None,
) -> Target:
    """Return a target for verdicts about `device`; the arguments are those of TargetOptions.

    Raises:
        InvalidInputError: the target does not exist, or an option does not apply to it.
        HostError: the plugin of the target cannot be loaded.
    """
    kind = target_kinds.kind_of_spec(spec)
    if machine is not None and not kind.machines:
        raise InvalidInputError(
            f"--machine {machine} belongs to target vm, not to {spec}",
            hint="leave one of the two out",
        )
    if fresh_boot and not kind.machines:
        raise InvalidInputError(
            f"--fresh-boot belongs to target vm, not to {spec}", hint="leave one of the two out"
        )
    for option, value in (("--identity", identity), ("--remote-dir", remote_dir)):
        if value is not None and kind.address is None:
            raise InvalidInputError(
                f"{option} {value} belongs to a target ssh://USER@HOST, not to {spec}",
                hint="leave one of the two out",
            )
    if (failure := target_kinds.failure(spec)) is not None:
        raise HostError(
            f"the plugin of target {spec} cannot be loaded: {failure}",
            hint="reinstall or update its package",
        )
    if not kind.installed:
        raise InvalidInputError(f"there is no target {spec}", hint="pibench doctor lists them")
    options = TargetOptions(
        spec=spec, device=device, builder=builder, machine=machine,
        fresh_boot=fresh_boot, at_once=at_once, identity=identity, remote_dir=remote_dir,
    )  # fmt: skip
    return _factories[kind.name](options)


def _vm(options: TargetOptions) -> Target:
    from pibench.targets.vm import VmTarget

    return VmTarget(
        options.device,
        options.builder,
        machine=options.machine or "virt",
        machines_at_once=options.at_once,
        fresh_boot=options.fresh_boot,
    )


def _container(options: TargetOptions) -> Target:
    from pibench.targets.container import ContainerTarget

    return ContainerTarget(options.device, options.builder, containers_at_once=options.at_once)


def _sysroot(options: TargetOptions) -> Target:
    from pibench.targets.sysroot import SysrootTarget

    return SysrootTarget(options.device, options.builder, processes_at_once=options.at_once)


def _twin(options: TargetOptions) -> Target:
    from pibench.targets.local import TwinTarget

    return TwinTarget(options.builder, processes_at_once=options.at_once)


def _native(options: TargetOptions) -> Target:
    from pibench.targets.local import NativeTarget

    return NativeTarget(options.builder)


def _ssh(options: TargetOptions) -> Target:
    from pibench.targets.ssh import SshTarget
    from pibench.targets.ssh.connection import Login, parse

    if options.at_once not in (None, 1):
        raise InvalidInputError(
            f"--jobs {options.at_once}: a board runs one network at a time, or it would measure "
            "two",
            hint="leave --jobs out",
        )
    login = Login(address=parse(options.spec), identity=options.identity)
    return SshTarget(login, options.builder, folder=options.remote_dir)


_factories: Final[dict[str, Factory]] = {
    "vm": _vm,
    "container": _container,
    "sysroot": _sysroot,
    "twin": _twin,
    "native": _native,
    "ssh": _ssh,
}
