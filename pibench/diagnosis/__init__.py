"""Check what this machine has and lacks for each target, and choose the best that works."""

from __future__ import annotations

import platform
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from pibench import target_kinds
from pibench.devices import Device
from pibench.diagnosis import checks, engine
from pibench.diagnosis.checks import Finding, program, registration, user_emulator
from pibench.errors import HostError
from pibench.target_kinds import TargetKind
from pibench.targets import sandbox

DEVICE_TREE_MODEL: Final = Path("/proc/device-tree/model")


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All checks, and the targets that can run."""

    targets: tuple[str, ...]
    findings: tuple[Finding, ...]


def diagnose() -> Diagnosis:
    """Check this machine; change nothing."""
    question = engine.Question()
    build = checks.build_tools()
    qemu = program("qemu-system-aarch64", "qemu-system-arm")
    cross = program("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", optional=True)
    user, binfmt = user_emulator(), registration()
    twin = _architecture()
    native, ssh = program("caffe", "caffe", optional=True), _ssh()
    others = [_sandbox(), checks.built_images()]
    docker = question.findings()
    # The parts of Caffe that a board lacks are built here.
    own = {"vm": [qemu], "container": [*docker, *binfmt], "sysroot": [user], "twin": [twin]}
    own["ssh"] = [ssh]
    plugins = [kind for kind in target_kinds.installed() if kind not in target_kinds.built_in()]
    own |= {kind.name: _emulator_of(kind) for kind in plugins}
    targets = [
        name
        for name, findings in own.items()
        for kind in [target_kinds.kind_of(name)]
        for tools in [checks.needed(build, kind.images[0]) if kind.images else []]
        if all(finding.state != "missing" for finding in (*findings, *tools))
    ]
    can_build = all(finding.state != "missing" for finding in checks.needed(build, "sysroot"))
    if native.state == "ok" or (platform.machine() == "aarch64" and can_build):
        targets.append("native")
    return Diagnosis(
        targets=tuple(targets),
        findings=(
            qemu,
            *build,
            cross,
            *docker,
            *binfmt,
            user,
            twin,
            native,
            ssh,
            *others,
            *(finding for kind in plugins for finding in own[kind.name]),
        ),
    )


def _emulator_of(kind: TargetKind) -> list[Finding]:
    """Return whether one of the emulators of another package's target is installed."""
    tried = [program(name, name) for name in kind.emulators]
    return next(([found] for found in tried if found.state == "ok"), tried[:1])


def _architecture() -> Finding:
    machine = platform.machine()
    if machine in ("x86_64", "AMD64"):
        return Finding("x86-64", "ok", f"{machine}: the twin runs here")
    return Finding("x86-64", "missing", machine, fix="use target native or vm")


def _ssh() -> Finding:
    try:
        found = f"asyncssh {version('asyncssh')}; what a board has: pibench board check ssh://..."
        return Finding("ssh", "ok", found)
    except PackageNotFoundError:
        found, fix = "the Python package asyncssh is missing", "pip install --upgrade pibench"
        return Finding("ssh", "missing", found, fix=fix)


def _sandbox() -> Finding:
    if sandbox.available():
        return Finding("bwrap", "ok", "twin and native run without network")
    found = "not usable: twin and native run with your rights"
    return Finding("bwrap", "optional", found, fix="sudo apt-get install bubblewrap")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A target that can run here and the reason for it."""

    target: str
    reason: str


def choose(
    device: Device,
    compute: str | None,
    *,
    model: Path = DEVICE_TREE_MODEL,
    able: Collection[str] | None = None,
) -> Choice:
    """Return the best target that works here.

    Args:
        device: the device to run for.
        compute: the requested compute, None for the default.
        model: the device tree's file with this machine's model.
        able: the targets that can run here; None to find out.

    Raises:
        HostError: none works.
    """
    able = diagnose().targets if able is None else able
    on_device = _text(model).startswith(device.name)
    better: list[str] = []
    for kind in _from_best_to_worst():
        target, reason = kind.name, kind.summary
        if kind.is_board and not (on_device and compute != "memory-only"):
            continue
        if target in able:
            lacking = f"; not possible here: {', '.join(better)} (pibench doctor)"
            return Choice(target=target, reason=reason + (lacking if better else ""))
        better.append(target)
    raise HostError("no target can run here", hint="pibench doctor says what each of them lacks")


def _from_best_to_worst() -> list[TargetKind]:
    """Return the targets to choose from: each is further from the device in what decides."""
    ranked = [(kind.auto_rank, kind) for kind in target_kinds.installed()]
    chosen = [(rank, kind) for rank, kind in ranked if rank is not None]
    return [kind for _, kind in sorted(chosen, key=lambda pair: pair[0])]


def _text(path: Path) -> str:
    try:
        return path.read_text().rstrip("\0")
    except OSError:
        return ""
