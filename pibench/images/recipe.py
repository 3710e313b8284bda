"""The recipe of the root file systems and the lock that pins it, read from `docker/`."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from pibench.errors import HostError
from pibench.settings import asset

Architecture = Literal["arm64", "amd64"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

GNU_TRIPLET: dict[Architecture, str] = {
    "arm64": "aarch64-linux-gnu",
    "amd64": "x86_64-linux-gnu",
}
"""Debian's architecture name to the folder and compiler name of its libraries."""
HOST_ARCHITECTURE: Final = {"x86_64": "amd64", "aarch64": "arm64"}
"""Debian's architecture name by the machine's."""

ROOTFS_LOCK: Final = "docker/rootfs.lock.json"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`docker/rootfs.toml`, read."""

    suite: str
    components: tuple[str, ...]
    keyring: str
    both: tuple[str, ...]
    arm64: tuple[str, ...]
    amd64: tuple[str, ...]
    leave_out: frozenset[str]
    prune: tuple[str, ...]

    def roots(self, architecture: Architecture) -> tuple[str, ...]:
        """Return the packages requested by name."""
        return self.both + (self.arm64 if architecture == "arm64" else self.amd64)


@dataclass(frozen=True, order=True)
class LockedPackage:
    """One package of the lock: exactly this file and no other.

    `path` is its path on a mirror or in an archive of Debian, below the mirror's address.
    """

    name: str
    version: str
    sha256: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock in `docker/`, read: the packages of an image for each architecture.

    `suite_date` is the date of a state of the suite that has all of them, to look up
    in an archive of Debian's past states.
    """

    suite_date: str
    packages: dict[Architecture, tuple[LockedPackage, ...]]

    def digest(self, architecture: Architecture) -> str:
        """Return the SHA-256 of the lock's list for one architecture, wherever its files are."""
        return fingerprint([(p.name, p.version, p.sha256) for p in self.packages[architecture]])


def fingerprint(content: object) -> str:
    """Return the SHA-256 of a JSON-able value in its canonical form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_recipe() -> Recipe:
    """Read `docker/rootfs.toml`."""
    content = tomllib.loads(asset("docker/rootfs.toml").read_text())
    packages = content["packages"]
    leave_out = frozenset(packages.pop("leave_out"))
    return Recipe(
        suite=content["suite"],
        components=tuple(content["components"]),
        keyring=content["keyring"],
        leave_out=leave_out,
        **{name: tuple(names) for name, names in packages.items()},
    )


def load_lock(name: str = ROOTFS_LOCK) -> Lock:
    """Read a lock, by default that of the root file systems.

    Raises HostError when it is not in the format of `write_lock`.
    """
    path = asset(name)
    try:
        content = json.loads(path.read_text())
        return Lock(
            suite_date=content["suite_date"],
            packages={
                arch: tuple(LockedPackage(**entry) for entry in content["packages"][arch])
                for arch in ARCHITECTURES
            },
        )
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(
            f"{path} is not a lock ({error})", hint="create it again: pibench image lock"
        ) from error


def write_lock(
    packages: Mapping[Architecture, Sequence[LockedPackage]],
    suite_date: str,
    name: str = ROOTFS_LOCK,
) -> Path:
    """Write a lock beside the recipe, sorted, and return its path."""
    recipe = asset("docker/rootfs.toml")
    if "_assets" in recipe.parts:
        raise HostError(
            "pibench image lock needs a checkout, but this pibench was installed from a wheel",
            hint="clone the repository and run make setup there",
        )
    path = recipe.with_name(Path(name).name)
    content = {
        arch: [asdict(package) for package in sorted(entries)] for arch, entries in packages.items()
    }
    path.write_text(json.dumps({"suite_date": suite_date, "packages": content}, indent=1) + "\n")
    return path
