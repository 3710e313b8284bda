"""The BLAS libraries that replace OpenBLAS, each preloaded into a root's programs.

The memory-only one is compiled from `qemu/blas`. Debian's others are pinned by a lock and stored
beside the root file systems, not in them: those stay the ones that memory is measured with, and
small enough to send to a board.
"""

from __future__ import annotations

import platform
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from pibench.errors import HostError
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
from pibench.process import require_program, run
from pibench.settings import asset

Blas = Literal["openblas", "reference", "atlas"]
BLAS_NAMES: Final[tuple[Blas, ...]] = get_args(Blas)
OTHERS: Final = tuple(name for name in BLAS_NAMES if name != "openblas")

LOCK: Final = "docker/blas.lock.json"
_RECIPE: Final = "docker/blas.toml"

LIBRARY = "libpibench_blas.so"
COMPILE_DEADLINE_S = 120.0
_HOST = {"x86_64": "amd64", "aarch64": "arm64"}


def build_blas(architecture: Architecture, root: Path, content: Path) -> None:
    """Compile the library into `content`; raises HostError without a compiler.

    No headers of the target are needed. The result can be loaded in the root because it is
    linked to the root's own C library, not to the host's newer one.
    """
    triplet = GNU_TRIPLET[architecture]
    run(
        [
            _compiler(architecture),
            *("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"),
            *("-ffreestanding", "-fno-stack-protector", "-fvisibility=hidden", "-fPIC"),
            *("-shared", "-nostdlib", f"-Wl,-soname,{LIBRARY}"),
            *("-Wl,-z,defs", "-Wl,--allow-shlib-undefined"),
            *("-o", str(content / LIBRARY), str(asset("qemu/blas/memory_only_blas.c"))),
            *(str(root / "lib" / triplet / name) for name in ("libdl.so.2", "libc.so.6")),
        ],
        deadline_s=COMPILE_DEADLINE_S,
    )


def _compiler(architecture: Architecture) -> str:
    """Return a compiler for the architecture: the host's own, or Debian's cross compiler."""
    if _HOST.get(platform.machine()) == architecture:
        return require_program("gcc", package="gcc")
    cross = f"{GNU_TRIPLET[architecture]}-gcc"
    if shutil.which(cross) is None:
        raise HostError(
            f"memory-only compute needs the cross compiler {cross}, which is not installed",
            hint=f"sudo apt-get install gcc-{GNU_TRIPLET[architecture].replace('_', '-')}, "
            "or compute for real: --compute real",
        )
    return cross


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
        folder = work / "root/usr/lib" / GNU_TRIPLET[architecture]
        for library, copy in zip(self.libraries, self.files(content), strict=True):
            shutil.copy2((folder / library).resolve(), copy)

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
