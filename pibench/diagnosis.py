"""What this machine has and lacks for each target."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from pibench import settings
from pibench.errors import PibenchError
from pibench.images import store
from pibench.images.apt import debian_mirror
from pibench.images.recipe import load_recipe
from pibench.targets import containment

State = Literal["ok", "missing", "optional"]
_GIB = 1 << 30
DISK_NEEDED_BYTES = 4 * _GIB
"""Both roots, the disk made of one, and the packages while they are unpacked."""
MEMORY_NEEDED_BYTES = int(1.5 * _GIB)
"""One machine of 1 GiB and what QEMU itself takes."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check: its state, what was found, and the command that mends it."""

    name: str
    state: State
    found: str
    fix: str | None = None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All checks, and the targets that can run."""

    targets: tuple[str, ...]
    findings: tuple[Finding, ...]


def diagnose() -> Diagnosis:
    """Look at this machine; changes nothing."""
    build = _build_tools()
    vm = [_program("qemu-system-aarch64", "qemu-system-arm"), *build]
    cross = _program("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", optional=True)
    twin = [_architecture()]
    native = _program("caffe", "caffe", optional=True)
    targets = []
    if all(finding.state != "missing" for finding in vm):
        targets.append("vm")
    if all(finding.state != "missing" for finding in [*twin, *build]):
        targets.append("twin")
    if native.state == "ok":
        targets.append("native")
    findings = [*vm, cross, *twin, native, _containment(), *_images()]
    return Diagnosis(targets=tuple(targets), findings=tuple(findings))


def _build_tools() -> list[Finding]:
    return [
        _program("apt-get", "apt"),
        _program("dpkg-deb", "dpkg"),
        _program("mke2fs", "e2fsprogs"),
        _program("gcc", "gcc", optional=True),
        _keyring(),
        _mirror(),
        _disk(),
        _memory(),
    ]


def _program(name: str, package: str, *, optional: bool = False) -> Finding:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path:
        return Finding(name=name, state="ok", found=path)
    return Finding(
        name=name,
        state="optional" if optional else "missing",
        found="not installed",
        fix=f"sudo apt-get install {package}",
    )


def _keyring() -> Finding:
    path = Path(load_recipe().keyring)
    if path.exists():
        return Finding(name="debian keys", state="ok", found=str(path))
    return Finding(
        name="debian keys",
        state="missing",
        found=f"{path} is missing",
        fix="sudo apt-get install debian-archive-keyring",
    )


def _mirror() -> Finding:
    try:
        return Finding(name="debian mirror", state="ok", found=debian_mirror())
    except PibenchError as error:
        return Finding(name="debian mirror", state="missing", found=error.message, fix=error.hint)


def _disk() -> Finding:
    folder = settings.cache_dir()
    existing = next(parent for parent in (folder, *folder.parents) if _in_reach(parent))
    free = shutil.disk_usage(existing).free
    usable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    enough = usable and (free >= DISK_NEEDED_BYTES or "vm" in _built_kinds())
    return Finding(
        name="cache",
        state="ok" if enough else "missing",
        found=f"{folder}, {free / _GIB:.0f} GiB free",
        fix=None
        if enough
        else f"{DISK_NEEDED_BYTES >> 30} GiB in a directory that you may write: PIBENCH_CACHE_DIR",
    )


def _in_reach(path: Path) -> bool:
    """Whether the path exists and may be looked at."""
    try:
        return path.exists()
    except OSError:
        return False


def _built_kinds() -> list[str]:
    """Kinds of the images in the cache; none where it may not be looked into."""
    try:
        return sorted({image.kind for image in store.images()})
    except OSError:
        return []


def _memory() -> Finding:
    available = psutil.virtual_memory().available
    enough = available >= MEMORY_NEEDED_BYTES
    return Finding(
        name="memory",
        state="ok" if enough else "missing",
        found=f"{available / _GIB:.1f} GiB available",
        fix=None if enough else f"one machine needs {MEMORY_NEEDED_BYTES / _GIB:.1f} GiB",
    )


def _architecture() -> Finding:
    machine = platform.machine()
    if machine in ("x86_64", "AMD64"):
        return Finding(name="x86-64", state="ok", found=f"{machine}: the twin runs here")
    return Finding(name="x86-64", state="missing", found=machine, fix="use target native or vm")


def _containment() -> Finding:
    if containment.available():
        return Finding(name="bwrap", state="ok", found="twin and native run without network")
    return Finding(
        name="bwrap",
        state="optional",
        found="not usable: twin and native run with your rights",
        fix="sudo apt-get install bubblewrap",
    )


def _images() -> list[Finding]:
    built = _built_kinds()
    return [
        Finding(
            name="images",
            state="ok" if "vm" in built else "optional",
            found=", ".join(built) or "none built yet",
            fix=None if "vm" in built else "built when first needed, or now: pibench image build",
        )
    ]
