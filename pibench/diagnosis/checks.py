"""Check this machine: its programs, what building images requires, and the images it has."""

from __future__ import annotations

import os
import shutil
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Final, Literal

from pibench import process, settings
from pibench.errors import PibenchError
from pibench.images import store
from pibench.images.apt import FROM_ELSEWHERE, debian_mirror
from pibench.images.build import Builder
from pibench.images.recipe import load_recipe
from pibench.targets import binfmt, emulation

State = Literal["ok", "missing", "optional"]

_GIB = 1 << 30
DISK_NEEDED_BYTES = 4 * _GIB
"""Both roots, the disk made of one, and the packages while they are unpacked."""
MEMORY_NEEDED_BYTES = int(1.5 * _GIB)
"""One machine of 1 GiB and what QEMU itself takes."""
_FOR_PACKAGES: Final = frozenset({"apt-get", "dpkg-deb", "debian keys", "debian mirror"})
"""Checks that matter only for fetching and unpacking packages."""


@dataclass(frozen=True)
class Finding:
    """One check: its state, what was found, and the command that fixes it."""

    name: str
    state: State
    found: str
    _: KW_ONLY
    fix: str | None = None


def program(name: str, package: str, *, optional: bool = False) -> Finding:
    """Return whether a program is installed; `package` is the Debian package that contains it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path:
        return Finding(name, "ok", path)
    state: State = "optional" if optional else "missing"
    return Finding(name, state, "not installed", fix=f"sudo apt-get install {package}")


def registration() -> list[Finding]:
    """Return what prevents containers for arm64, one finding for each problem."""
    if not emulation.needed():
        return [Finding("binfmt", "ok", "not needed: this processor is an arm64")]
    return registration_findings(binfmt.check())


def registration_findings(found: binfmt.Registration) -> list[Finding]:
    """Return a registration as findings: the handler, or one for each problem."""
    if found.handler is not None and not found.problems:
        text = f"{found.handler.name}, flags {found.handler.flags}: {found.qemu_version}"
        return [Finding("binfmt", "ok", text)]
    return [Finding("binfmt", "missing", one.text, fix=one.fix) for one in found.problems]


def user_emulator() -> Finding:
    """Return the emulator for single programs of a sysroot; the dynamic or the static one."""
    if shutil.which("qemu-aarch64") is None and shutil.which("qemu-aarch64-static"):
        return program("qemu-aarch64-static", "qemu-user-static")
    return program("qemu-aarch64", "qemu-user")


def build_tools() -> list[Finding]:
    """Return findings for everything that building an image requires."""
    return [
        program("apt-get", "apt"),
        program("dpkg-deb", "dpkg"),
        program("mke2fs", "e2fsprogs"),
        program("gcc", "gcc", optional=True),
        _keyring(),
        _mirror(),
        _disk(),
        _memory(),
    ]


def needed(tools: list[Finding], kind: str) -> list[Finding]:
    """Return the tools that are needed here, fewer if an image of that kind is built already.

    An image that was built or loaded needs no packages.
    """
    if store.find(kind, Builder().key(kind)) is None:
        return tools
    return [tool for tool in tools if tool.name not in _FOR_PACKAGES]


def _keyring() -> Finding:
    path = Path(load_recipe().keyring)
    if path.exists():
        return Finding("debian keys", "ok", str(path))
    fix = "sudo apt-get install debian-archive-keyring"
    return Finding("debian keys", "missing", f"{path} is missing", fix=fix)


def _mirror() -> Finding:
    try:
        return Finding("debian mirror", "ok", debian_mirror())
    except PibenchError as error:
        fix = f"{error.hint}, or {FROM_ELSEWHERE}"
        return Finding("debian mirror", "missing", error.message, fix=fix)


def _disk() -> Finding:
    folder = settings.cache_dir()
    existing = next(parent for parent in (folder, *folder.parents) if in_reach(parent))
    free = shutil.disk_usage(existing).free
    usable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    found = f"{folder}, {free / _GIB:.0f} GiB free"
    if usable and (free >= DISK_NEEDED_BYTES or "vm" in built_kinds()):
        return Finding("cache", "ok", found)
    fix = f"{DISK_NEEDED_BYTES >> 30} GiB are needed: choose a directory by PIBENCH_CACHE_DIR"
    return Finding("cache", "missing", found, fix=fix)


def in_reach(path: Path) -> bool:
    """Return whether the path exists and is readable."""
    try:
        return path.exists()
    except OSError:
        return False


def built_kinds() -> list[str]:
    """Return the kinds of images in the cache; none where the cache is not readable."""
    try:
        return sorted({image.kind for image in store.images()})
    except OSError:
        return []


def _memory() -> Finding:
    available = process.available_memory_bytes()
    found = f"{available / _GIB:.1f} GiB available to this process"
    if available >= MEMORY_NEEDED_BYTES:
        return Finding("memory", "ok", found)
    fix = (
        f"vm needs {MEMORY_NEEDED_BYTES / _GIB:.1f} GiB: stop other programs, raise the "
        "limit of pibench's control group, or use --target twin"
    )
    return Finding("memory", "missing", found, fix=fix)


def built_images() -> Finding:
    """Return which images are in the cache."""
    built = built_kinds()
    if "vm" in built:
        return Finding("images", "ok", ", ".join(built))
    fix = (
        "built when first needed, or now: pibench image build; or copied from "
        "another machine: pibench image load FILE"
    )
    return Finding("images", "optional", ", ".join(built) or "none built yet", fix=fix)
