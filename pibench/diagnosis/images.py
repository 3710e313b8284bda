"""Check the requirements for building images, and list the images that are built."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from pibench import process, settings
from pibench.diagnosis.finding import Finding, program
from pibench.errors import PibenchError
from pibench.images import store
from pibench.images.apt import FROM_ELSEWHERE, debian_mirror
from pibench.images.build import Builder
from pibench.images.recipe import load_recipe

_GIB = 1 << 30
DISK_NEEDED_BYTES = 4 * _GIB
"""Both roots, the disk made of one, and the packages while they are unpacked."""
MEMORY_NEEDED_BYTES = int(1.5 * _GIB)
"""One machine of 1 GiB and what QEMU itself takes."""


_FOR_PACKAGES: Final = frozenset({"apt-get", "dpkg-deb", "debian keys", "debian mirror"})
"""Checks that matter only for fetching and unpacking packages."""


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
        return Finding(
            name="debian mirror",
            state="missing",
            found=error.message,
            fix=f"{error.hint}, or {FROM_ELSEWHERE}",
        )


def _disk() -> Finding:
    folder = settings.cache_dir()
    existing = next(parent for parent in (folder, *folder.parents) if in_reach(parent))
    free = shutil.disk_usage(existing).free
    usable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    enough = usable and (free >= DISK_NEEDED_BYTES or "vm" in built_kinds())
    return Finding(
        name="cache",
        state="ok" if enough else "missing",
        found=f"{folder}, {free / _GIB:.0f} GiB free",
        fix=None
        if enough
        else f"{DISK_NEEDED_BYTES >> 30} GiB are needed: choose a directory by PIBENCH_CACHE_DIR",
    )


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
    enough = available >= MEMORY_NEEDED_BYTES
    return Finding(
        name="memory",
        state="ok" if enough else "missing",
        found=f"{available / _GIB:.1f} GiB available to this process",
        fix=None
        if enough
        else f"vm needs {MEMORY_NEEDED_BYTES / _GIB:.1f} GiB: stop other programs, raise the "
        "limit of pibench's control group, or use --target twin",
    )


def built_images() -> list[Finding]:
    """Return which images are in the cache."""
    built = built_kinds()
    return [
        Finding(
            name="images",
            state="ok" if "vm" in built else "optional",
            found=", ".join(built) or "none built yet",
            fix=None
            if "vm" in built
            else "built when first needed, or now: pibench image build; or copied from "
            "another machine: pibench image load FILE",
        )
    ]
