"""The BLAS libraries that replace OpenBLAS, each preloaded into a root's programs.

The memory-only one is compiled from `qemu/blas`, with the stand-ins for Caffe's own loops.
Debian's others are pinned by a lock and stored beside the root file systems, not in them: those
stay the ones that memory is measured with, and small enough to send to a board.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pibench.images.loops_check import failure_of
from pibench.images.recipe import (
    ARCHITECTURES,
    GNU_TRIPLET,
    Architecture,
    LockedPackage,
    Recipe,
    fingerprint,
    load_lock,
)
from pibench.images.rootfs import compiler_for, download, unpack
from pibench.process import run
from pibench.settings import asset, wants_real_loops
from pibench.setups import BLAS_NAMES, Blas

OTHERS: Final = tuple(name for name in BLAS_NAMES if name != "openblas")

LOCK: Final = "docker/blas.lock.json"
_RECIPE: Final = "docker/blas.toml"

SOURCES: Final = "qemu/blas"
LIBRARY = "libpibench_blas.so"
FORKS_LIBRARY: Final = "libpibench_forks.so"
"""Beside the BLAS: the same, which also loads a program once and forks it for each network."""
LOOPS_LIBRARY: Final = "libpibench_loops.so"
"""Beside the BLAS, where its check passed."""
WHY_NO_LOOPS: Final = "why_no_loops.txt"
"""Beside the BLAS, where there are no stand-ins for Caffe's own loops: the reason, on a line."""
COMPILE_DEADLINE_S = 120.0


def source_files() -> list[Path]:
    """Return what an image of the memory-only BLAS is made of: sources, and networks to check."""
    folder = asset(SOURCES)
    kinds = ("memory_only_*.c", "*.h", "check/*.prototxt")
    return sorted(path for kind in kinds for path in folder.glob(kind))


def build_blas(
    architecture: Architecture, root: Path, content: Path, twin: Callable[[], Path]
) -> None:
    """Compile the BLAS into `content`, and the stand-ins for Caffe's own loops if they pass.

    Args:
        architecture: that of the root.
        root: the root that they are for.
        content: the image's folder.
        twin: returns the same image for the amd64 root, whose check counts where this machine
            does not run programs of `architecture`.

    Raises:
        HostError: there is no compiler.
    """
    sources = asset(SOURCES)
    library = compile_library(architecture, root, sources / "memory_only_blas.c", content)
    # Instead of the other, not beside it: one more would move a program's other libraries.
    compile_library(
        architecture,
        root,
        sources / "memory_only_forks.c",
        content,
        also=(sources / "memory_only_blas.c",),
    )
    if wants_real_loops():
        failure: str | None = "PIBENCH_MEMORY_ONLY_TIER=blas asked for the real ones"
    else:
        loops = compile_library(architecture, root, sources / "memory_only_loops.c", content)
        failure = failure_of(architecture, root, library, loops, twin)
        if failure is not None:
            loops.unlink()
    if failure is not None:
        (content / WHY_NO_LOOPS).write_text(failure + "\n")


def compile_library(
    architecture: Architecture,
    root: Path,
    source: Path,
    folder: Path,
    *,
    also: Sequence[Path] = (),
) -> Path:
    """Compile `memory_only_NAME.c` into `folder` as `libpibench_NAME.so`, and return its path.

    `also` are further sources of it. No headers of the target are needed. The result can be loaded
    in the root because it is linked to the root's own C library, not to the host's newer one.

    Raises:
        HostError: there is no compiler.
    """
    triplet = GNU_TRIPLET[architecture]
    library = folder / f"libpibench_{source.stem.removeprefix('memory_only_')}.so"
    compiler = compiler_for(
        architecture,
        "gcc",
        who_needs="memory-only compute needs",
        otherwise=", or compute for real: --compute real",
    )
    run(
        [
            compiler,
            *("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"),
            *("-ffreestanding", "-fno-stack-protector", "-fvisibility=hidden", "-fPIC"),
            *("-shared", "-nostdlib", f"-Wl,-soname,{library.name}"),
            *("-Wl,-z,defs", "-Wl,--allow-shlib-undefined"),
            *("-o", str(library), str(source), *map(str, also)),
            *(str(root / "lib" / triplet / name) for name in ("libdl.so.2", "libc.so.6")),
        ],
        deadline_s=COMPILE_DEADLINE_S,
    )
    return library


def loops_beside(blas: Path) -> tuple[Path | None, str | None]:
    """Return the stand-ins for Caffe's own loops beside a memory-only BLAS, or why there are none.

    Neither is known of a library that is not from an image.
    """
    loops, reason = blas.with_name(LOOPS_LIBRARY), blas.with_name(WHY_NO_LOOPS)
    if loops.exists():
        return loops, None
    return None, reason.read_text().strip() if reason.exists() else None


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
