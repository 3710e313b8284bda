"""Build the instruction counter of `qemu/counter`, a plugin for this machine's QEMU."""

from __future__ import annotations

import platform
from pathlib import Path

from pibench.images.recipe import file_sha256, fingerprint
from pibench.process import require_program, run
from pibench.settings import asset

LIBRARY = "libpibench_counter.so"
COMPILE_DEADLINE_S = 120.0
API_VERSIONS = (3, 2, 1)
"""Versions of QEMU's plugin interface, latest first: 3 also loads where 4 and 5 are supported."""
_FOLDER = "qemu/counter"


def counter_key(kind: str) -> str:
    """Return a hash of the plugin's inputs: source, kind, this machine's processor and C library.

    QEMU loads it with the machine's own C library: one linked to a later library does not load.
    """
    sources = sorted(asset(_FOLDER).glob("*.[ch]"))
    host = (platform.machine(), *platform.libc_ver())
    return fingerprint([kind, host, [(path.name, file_sha256(path)) for path in sources]])


def build_counter(api: int, content: Path) -> None:
    """Compile the plugin into `content`; raises HostError without a compiler.

    It runs in QEMU, so it is built for this machine and not for the guest.
    """
    run(
        [
            require_program("gcc", package="gcc"),
            *("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", f"-DAPI={api}"),
            *("-fvisibility=hidden", "-fPIC", "-shared", f"-Wl,-soname,{LIBRARY}"),
            *("-o", str(content / LIBRARY), str(asset(f"{_FOLDER}/counter.c"))),
        ],
        deadline_s=COMPILE_DEADLINE_S,
    )
