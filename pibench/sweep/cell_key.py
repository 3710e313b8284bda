"""What decides a cell's result, as one key: the same key, the same result."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pibench import devices, process
from pibench._version import __version__
from pibench.assets import asset
from pibench.errors import PibenchError
from pibench.images.recipe import file_sha256, fingerprint

if TYPE_CHECKING:
    from pibench.networks.network import Network
    from pibench.sweep.matrix import Cell

EMULATORS: Final = {
    "vm": ("qemu-system-aarch64",),
    "container": ("qemu-aarch64", "qemu-aarch64-static"),
    "sysroot": ("qemu-aarch64", "qemu-aarch64-static"),
}
"""The programs of which the first that is there emulates for a target."""

ARCHITECTURE: Final = {"twin": "amd64"}
"""Whose packages a target runs; arm64 for all others."""


def cell_key(cell: Cell, network: Network) -> str:
    """The SHA-256 of all that decides what a cell's record says.

    The network and its weights, how it is run, the device's memory and cores, the image, the
    probe, the emulator, and this program's version. Not among them is the time allowed: a run
    that it cuts short is inconclusive, and made again.
    """
    options, request = cell.options, cell.options.request()
    return fingerprint(
        {
            "network": network.sha256,
            "name": network.name,
            "weights": weights_sha256(cell.weights) if cell.weights else None,
            "target": options.target,
            "machine": options.machine,
            "protocol": options.protocol,
            "compute": request.compute,
            "threads": request.threads or request.device.cores,
            # `caffe time` reads no weights, and its input decides no memory.
            "repeats": options.repeats if options.protocol == "inference" else None,
            "seed": options.seed if options.protocol == "inference" else None,
            "blas": options.blas,
            "device": _device(options.device),
            **made_with(options.target),
        }
    )


def made_with(target: str) -> dict[str, str | None]:
    """What a cell is run with on this machine, and on another may be run with otherwise."""
    return {
        "image": _image(target),
        "probe": _probe(),
        "emulator": _emulator(target),
        "pibench": __version__,
    }


@cache
def _device(name: str) -> str:
    return fingerprint(dataclasses.asdict(devices.load(name)))


@cache
def weights_sha256(path: str) -> str:
    """The SHA-256 of a file as it was when the study first looked."""
    return file_sha256(Path(path))


@cache
def _image(target: str) -> str:
    """The list of packages, with versions and hashes, that the target's image is made of."""
    from pibench.images.build import Builder  # noqa: PLC0415  (start-up time)

    lock = Builder().lock
    return lock.digest("amd64" if ARCHITECTURE.get(target) == "amd64" else "arm64")


@cache
def _probe() -> str:
    """The programs that run with Caffe: the probe, and ours in C."""
    digest = hashlib.sha256()
    for folder in (Path(__file__).parents[1] / "probe", asset("qemu")):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
                digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def _emulator(target: str) -> str | None:
    """The first line of the emulator's `--version`; None where there is none here."""
    program = next(filter(None, map(shutil.which, EMULATORS.get(target, ()))), None)
    if program is None:
        return None
    try:
        return process.run([program, "--version"], deadline_s=20).stdout.partition("\n")[0]
    except PibenchError:
        return None
