"""Compare the stand-ins for Caffe's own loops with the loops: page faults and peak memory.

The networks in `qemu/blas/check` contain each layer type that has stand-ins. A page that a
stand-in does not touch, or touches without need, is a page fault less or more.
"""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pibench.errors import HostError
from pibench.images.recipe import HOST_ARCHITECTURE, Architecture
from pibench.images.rootfs import RootLoader
from pibench.process import run, stopped_together
from pibench.settings import asset
from pibench.target_kinds import kind_of

NETWORKS: Final = "qemu/blas/check"
DEADLINE_S: Final = 300.0
MOST_PAGES: Final = 256
"""The largest difference of faults and of the peak, in pages of 4 KiB.

Each blob of the networks has 529. Between two runs, the layout of the heap causes up to 160, and
an emulator's translated code up to 120.
"""
_PAGE_KIB: Final = 4
_BLAS_LINE: Final = re.compile(
    r"^memory-only BLAS: .* minor_faults (\d+) peak_rss_kib (\d+)$", re.M
)
_LOOPS_LINE: Final = re.compile(r"^memory-only loops: (.*)$", re.M)
_COUNT: Final = re.compile(r"(\w+) (\d+)")
_KINDS: Final = ("vector", "im2col", "layer", "filler")
"""The counts that each kind of stand-in must raise in one of the networks."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one run took, and how often stand-ins of each kind were called."""

    minor_faults: int
    peak_rss_kib: int
    calls: dict[str, int]


def failure_of(
    architecture: Architecture, root: Path, blas: Path, loops: Path, twin: Callable[[], Path]
) -> str | None:
    """Return why the stand-ins must not be used, None where they do what the loops do.

    Args:
        architecture: that of the root.
        root: the root with Caffe.
        blas: the memory-only BLAS.
        loops: the stand-ins to check.
        twin: returns the memory-only BLAS of the amd64 root. Where this machine does not run
            programs of `architecture`, the result of its check counts: the sources, Caffe's
            version and the layout of its classes are the same.
    """
    prefix = _emulator(architecture)
    if prefix is None:
        if HOST_ARCHITECTURE.get(platform.machine()) != "amd64":
            return "they cannot be checked here: there is no qemu-aarch64 (package qemu-user)"
        beside = twin().with_name(loops.name)
        return None if beside.exists() else "they failed their check on the amd64 root"
    called: set[str] = set()
    for network in sorted(asset(NETWORKS).glob("*.prototxt")):
        try:
            with ThreadPoolExecutor() as pool, stopped_together():
                sides = [
                    pool.submit(_run, architecture, root, prefix, libraries, network)
                    for libraries in ([blas], [blas, loops])
                ]
                real, stand_ins = (side.result() for side in sides)
        except HostError as error:
            return f"their check failed: {network.stem}: {error.message}"
        failure = difference(real, stand_ins)
        if failure is not None:
            return f"their check failed: {network.stem}: {failure}"
        called.update(kind for kind, count in stand_ins.calls.items() if count)
    missing = [kind for kind in _KINDS if kind not in called]
    return f"their check called none of kind {missing[0]}" if missing else None


def difference(real: Usage, stand_ins: Usage) -> str | None:
    """Return in words what differs by more than `MOST_PAGES`; None if nothing does."""
    if abs(stand_ins.minor_faults - real.minor_faults) > MOST_PAGES:
        return f"{stand_ins.minor_faults} page faults in place of {real.minor_faults}"
    if abs(stand_ins.peak_rss_kib - real.peak_rss_kib) > MOST_PAGES * _PAGE_KIB:
        return f"a peak of {stand_ins.peak_rss_kib} KiB in place of {real.peak_rss_kib}"
    return None


def usage_of(messages: str) -> Usage:
    """Return what the libraries reported at the end of a run.

    Raises:
        HostError: the memory-only BLAS reported nothing.
    """
    found = _BLAS_LINE.search(messages)
    if found is None:
        raise HostError("the memory-only BLAS was not in effect")
    counts = _LOOPS_LINE.search(messages)
    return Usage(
        minor_faults=int(found[1]),
        peak_rss_kib=int(found[2]),
        calls={name: int(count) for name, count in _COUNT.findall(counts[1] if counts else "")},
    )


def _emulator(architecture: Architecture) -> list[str] | None:
    """Return the command that runs programs of the architecture here: none or an emulator's."""
    if HOST_ARCHITECTURE.get(platform.machine()) == architecture:
        return []
    emulators = kind_of("sysroot").emulators if architecture == "arm64" else ()
    path = next(filter(None, map(shutil.which, emulators)), None)
    return [path] if path else None


def _run(
    architecture: Architecture, root: Path, prefix: list[str], libraries: list[Path], model: Path
) -> Usage:
    """Run Caffe with preloaded libraries. Raises HostError where it fails."""
    loader = RootLoader(root, architecture)
    preload = ":".join(map(str, libraries))
    program = loader.command("usr/bin/caffe")
    if prefix:
        settings = {"LD_PRELOAD": preload, "LD_LIBRARY_PATH": loader.library_path}
        options = [word for name, value in settings.items() for word in ("-E", f"{name}={value}")]
        program = [*prefix, *options, "-L", str(root), str(root / "usr/bin/caffe")]
    env = {
        "OPENBLAS_NUM_THREADS": "1",
        "GLOG_logtostderr": "1",
        "GLOG_minloglevel": "2",
        "PIBENCH_BLAS_REPORT": "1",
        **({} if prefix else {"LD_PRELOAD": preload}),
    }
    done = run(
        [*program, "time", "-model", str(model), "-iterations", "1"],
        deadline_s=DEADLINE_S,
        env=env,
    )
    return usage_of(done.stderr)
