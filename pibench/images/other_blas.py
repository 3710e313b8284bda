"""Debian's other BLAS libraries, preloaded instead of OpenBLAS and pinned by a lock.

They are kept beside the root file systems and not in them: those stay the ones that memory
is measured with, and small enough to send to a board.
"""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from pibench.images.recipe import (
    ARCHITECTURES,
    GNU_TRIPLET,
    Architecture,
    LockedPackage,
    Recipe,
    fingerprint,
    load_lock,
)
from pibench.images.rootfs import download, unpack
from pibench.settings import asset

Blas = Literal["openblas", "reference", "atlas"]
BLAS_NAMES: Final[tuple[Blas, ...]] = get_args(Blas)
OTHERS: Final = tuple(name for name in BLAS_NAMES if name != "openblas")

LOCK: Final = "docker/blas.lock.json"
_RECIPE: Final = "docker/blas.toml"


@dataclass(frozen=True, kw_only=True)
class OtherBlas:
    """One of `docker/blas.toml`, and the packages of both architectures that pin it."""

    name: Blas
    libraries: tuple[str, ...]
    packages: dict[Architecture, LockedPackage]
    suite_date: str

    def key(self, architecture: Architecture) -> str:
        """Return one hash of its image's inputs."""
        package = self.packages[architecture]
        return fingerprint([self.libraries, package.name, package.version, package.sha256])

    def build(self, recipe: Recipe, architecture: Architecture, content: Path, work: Path) -> None:
        """Fetch the package and put its libraries, links resolved, into `content`."""
        debs = download(recipe, architecture, [self.packages[architecture]], self.suite_date, work)
        unpack(debs, work / "root")
        for path in self.within(work / "root/usr/lib" / GNU_TRIPLET[architecture]):
            shutil.copy2(path.resolve(), content / path.name)

    def within(self, folder: Path) -> list[Path]:
        """Return its libraries in a folder laid out like the package."""
        return [folder / library for library in self.libraries]

    def files(self, content: Path) -> list[Path]:
        """Return its libraries in an image, in the order in which they are loaded."""
        return [content / Path(library).name for library in self.libraries]


def load(name: Blas) -> OtherBlas:
    """Load the description of a BLAS by name; OpenBLAS is not among them."""
    described = tomllib.loads(asset(_RECIPE).read_text())[name]
    lock = load_lock(LOCK)
    return OtherBlas(
        name=name,
        libraries=tuple(described["libraries"]),
        packages={
            architecture: next(one for one in packages if one.name == described["package"])
            for architecture, packages in lock.packages.items()
        },
        suite_date=lock.suite_date,
    )


def packages() -> tuple[str, ...]:
    """Return the Debian packages of all."""
    described = tomllib.loads(asset(_RECIPE).read_text())
    return tuple(one["package"] for one in described.values())


def kinds() -> dict[str, tuple[Blas, Architecture]]:
    """Return the kinds of images, with the BLAS and the architecture of each."""
    return {f"{name}-blas-{arch}": (name, arch) for name in OTHERS for arch in ARCHITECTURES}


def key_of(kind: str) -> str:
    """Return one hash of the inputs of a kind's image."""
    name, architecture = kinds()[kind]
    return load(name).key(architecture)
