"""Build the memory-only BLAS of `qemu/blas`, for the C library of a root."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from pibench.errors import HostError
from pibench.images.recipe import GNU_TRIPLET, Architecture
from pibench.process import require_program, run
from pibench.settings import asset

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
