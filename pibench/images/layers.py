"""The layers of Caffe's forks, a library that stock Caffe preloads.

It is compiled from `qemu/caffe-layers` with the headers of the root's own suite, which are
fetched for that and not kept.
"""

from __future__ import annotations

import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from pibench.engines.base import PYTHON
from pibench.images.recipe import (
    GNU_TRIPLET,
    HOST_ARCHITECTURE,
    Architecture,
    Recipe,
    file_sha256,
    fingerprint,
    load_lock,
)
from pibench.images.rootfs import compiler_for, download, unpack
from pibench.process import run, stopped_together
from pibench.settings import asset

LOCK: Final = "docker/layers.lock.json"
_RECIPE: Final = "docker/layers.toml"
_SOURCES: Final = "qemu/caffe-layers"
LIBRARY: Final = "libpibench_layers.so"
COMPILE_DEADLINE_S = 300.0
_UNITS: Final = 2
"""Compiled at a time, each of many layers: Caffe's headers take half of the time of a unit."""
_LINKED = (
    "usr/lib/{triplet}/libcaffe.so.1.0.0",
    "usr/lib/{triplet}/libprotobuf.so.23",
    "usr/lib/{triplet}/libglog.so.0",
    "usr/lib/{triplet}/libstdc++.so.6",
    "lib/{triplet}/libm.so.6",
    "lib/{triplet}/libgcc_s.so.1",
    "lib/{triplet}/libc.so.6",
)
"""The root's own libraries: a link to the host's newer ones would not load there."""
_TRIAL = """\
import ctypes, os, sys
if os.uname()[4] not in {machines} or sys.maxsize < 2 ** 32:
    sys.exit("pibench's layers of Caffe's forks are for a 64-bit {architecture} system")
try:
    for name in {libraries}:
        ctypes.CDLL(name)
except OSError as error:
    sys.exit("pibench's layers of Caffe's forks need Debian 11's Caffe: " + str(error))
"""


def trial(architecture: Architecture) -> list[str]:
    """Return a command that succeeds where a Caffe can preload the library."""
    code = _TRIAL.format(
        machines=[machine for machine, of in HOST_ARCHITECTURE.items() if of == architecture],
        architecture=architecture,
        libraries=[Path(name).name for name in _LINKED[:3]],
    )
    return [PYTHON, "-c", code]


def packages() -> tuple[str, ...]:
    """Return the Debian packages that have the headers."""
    return tuple(tomllib.loads(asset(_RECIPE).read_text())["packages"])


def key(architecture: Architecture) -> str:
    """Return one hash of the image's inputs: sources and headers."""
    sources = sorted(asset(_SOURCES).glob("*.[ch]*"))
    content = [(path.name, file_sha256(path)) for path in sources]
    return fingerprint([content, load_lock(LOCK).digest(architecture)])


def build(
    recipe: Recipe, architecture: Architecture, root: Path, content: Path, work: Path
) -> None:
    """Compile the library for a root into `content`.

    Raises:
        HostError: There is no compiler for the architecture, or the headers cannot be fetched.
    """
    compiler = compiler_for(architecture, "g++", who_needs="the layers of Caffe's forks need")
    lock = load_lock(LOCK)
    unpack(
        download(recipe, architecture, lock.packages[architecture], lock.suite_date, work),
        work / "headers",
        parts=tomllib.loads(asset(_RECIPE).read_text())["parts"],
    )
    triplet = GNU_TRIPLET[architecture]
    include = work / "headers/usr/include"
    own = run([compiler, "-print-file-name=include"], deadline_s=30).stdout.strip()
    folders = (
        include / "c++/10",
        include / triplet / "c++/10",
        include / "c++/10/backward",
        own,
        include / triplet,
        include / triplet / "openblas-pthread",
        include,
    )
    # Calls of libgcc's helpers for atomics would need a libgcc that the root does not have.
    options = ["-mno-outline-atomics"] if architecture == "arm64" else []
    source = asset(_SOURCES)
    compile_one = [
        *(compiler, "-std=c++14", "-Os", "-Wall", "-Wextra", "-Werror", "-fPIC", "-DCPU_ONLY"),
        *(*options, "-include", str(source / "stock_headers.h"), "-nostdinc", f"-I{source}"),
        *(part for folder in folders for part in ("-isystem", str(folder))),
    ]
    objects = [work / f"unit{number}.o" for number in range(_UNITS)]
    layers = sorted(source.glob("*.cc"), key=lambda path: path.stat().st_size)

    def compile_unit(number: int) -> None:
        unit = objects[number].with_suffix(".cc")
        unit.write_text("".join(f'#include "{path.name}"\n' for path in layers[number::_UNITS]))
        run([*compile_one, "-c", "-o", objects[number], unit], deadline_s=COMPILE_DEADLINE_S)

    with ThreadPoolExecutor(_UNITS) as pool, stopped_together():
        list(pool.map(compile_unit, range(_UNITS)))
    linked = [root / name.format(triplet=triplet) for name in _LINKED]
    run(
        [
            *(compiler, "-shared", "-nostdlib", "-s", f"-Wl,-soname,{LIBRARY}"),
            *("-Wl,-z,defs", "-Wl,--allow-shlib-undefined", "-Wl,--as-needed"),
            *("-o", str(content / LIBRARY)),
            *objects,
            *linked,
        ],
        deadline_s=COMPILE_DEADLINE_S,
    )
