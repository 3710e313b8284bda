"""Compute the key of a cell from all that determines its result: equal keys, equal results."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pibench import devices, process
from pibench._version import __version__
from pibench.assets import asset
from pibench.errors import PibenchError
from pibench.images.recipe import file_sha256, fingerprint
from pibench.target_kinds import kind_of_spec

if TYPE_CHECKING:
    from pibench.networks.network import Network
    from pibench.sweep.matrix import Cell


def cell_key(cell: Cell, network: Network) -> str:
    """Return the SHA-256 of everything that determines a cell's record.

    This is the network and its weights, the run options, the device's memory and cores, the image,
    the probe, the emulator, and pibench's version. The time limit is not included: a run that
    exceeds it is inconclusive and runs again.
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
            # `caffe time` reads no weights, and its input does not affect memory.
            "repeats": options.repeats if options.protocol == "inference" else None,
            "seed": options.seed if options.protocol == "inference" else None,
            "blas": options.blas,
            "device": _device(options.device),
            **made_with(options.target),
        }
    )


def made_with(target: str) -> dict[str, str | None]:
    """Return the software that runs a cell on this machine and may differ on another one."""
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
    """Return the SHA-256 of a file as it was when the study first read it."""
    return file_sha256(Path(path))


@cache
def _image(target: str) -> str:
    """Return the list of packages, with versions and hashes, of the target's image."""
    from pibench.images.build import Builder  # noqa: PLC0415  (start-up time)

    lock = Builder().lock
    return lock.digest(kind_of_spec(target).architecture or "arm64")


@cache
def _probe() -> str:
    """Return the programs that run with Caffe: the probe, and pibench's C programs."""
    digest = hashlib.sha256()
    for folder in (Path(__file__).parents[1] / "probe", asset("qemu")):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
                digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def _emulator(target: str) -> str | None:
    """Return the first line of the emulator's `--version`; None if it is not installed."""
    program = next(filter(None, map(shutil.which, kind_of_spec(target).emulators)), None)
    if program is None:
        return None
    try:
        return process.run([program, "--version"], deadline_s=20).stdout.partition("\n")[0]
    except PibenchError:
        return None
