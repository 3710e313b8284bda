"""The key of a cell: a hash of all that determines its result. The cache of cells by their keys."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pibench import cache, devices, file_io, process, settings
from pibench._version import __version__
from pibench.errors import InvalidInputError, PibenchError
from pibench.file_io import write_whole
from pibench.images.recipe import file_sha256, fingerprint
from pibench.records.store import RecordStore
from pibench.settings import asset
from pibench.sweep.journal import mark_of, sealed
from pibench.target_kinds import kind_of_spec

if TYPE_CHECKING:
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.sweep.matrix import Cell

_MOST_BYTES = 64 << 20


def cell_key(cell: Cell, network: Network) -> str:
    """Return the SHA-256 of everything that determines a cell's record.

    This is the network and its weights, the run options, the device's memory and cores, the image,
    the probe, the emulator, and pibench's version. The time limit is not included: a run that
    exceeds it is inconclusive and runs again.
    """
    options = cell.options
    return fingerprint(
        {
            "network": network.sha256,
            "name": network.name,
            "weights": weights_sha256(options.weights) if options.weights else None,
            "target": options.target,
            "machine": options.machine,
            "fresh_boot": options.fresh_boot,
            "engine": options.engine,
            "protocol": options.protocol,
            "compute": options.effective_compute,
            "threads": options.effective_threads,
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


@functools.cache
def _device(name: str) -> str:
    return fingerprint(dataclasses.asdict(devices.load(name)))


@functools.cache
def weights_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as it was when the study first read it."""
    return file_sha256(path)


@functools.cache
def _image(target: str) -> str:
    """Return the list of packages, with versions and hashes, of the target's image."""
    from pibench.images.build import Builder  # noqa: PLC0415  (start-up time)

    lock = Builder().lock
    return lock.digest(kind_of_spec(target).architecture or "arm64")


@functools.cache
def _probe() -> str:
    """Return the programs that run with Caffe: the probe, and pibench's C programs."""
    digest = hashlib.sha256()
    for folder in (Path(__file__).parents[1] / "probe", asset("qemu")):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
                digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.cache
def _emulator(target: str) -> str | None:
    """Return the first line of the emulator's `--version`; None if it is not installed."""
    program = next(filter(None, map(shutil.which, kind_of_spec(target).emulators)), None)
    if program is None:
        return None
    try:
        return process.run([program, "--version"], deadline_s=20).stdout.partition("\n")[0]
    except PibenchError:
        return None


class CellCache:
    """Records by the keys of their cells, one file each, written atomically and checked on read."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or settings.cache_dir() / "cells"

    def get(self, key: str) -> Record | None:
        """Return the record of a cell; a damaged file is removed and None returned.

        The record is sealed again: reading upgrades a record of an earlier version, and the old
        seal does not match the upgraded record.
        """
        path = self._path(key)
        try:
            line = file_io.read_input(path, most_bytes=_MOST_BYTES)
        except InvalidInputError:
            return None
        with contextlib.suppress(PibenchError):
            mark = mark_of(line.rstrip(b"\n"))
            if mark and mark[0] == key and mark[1] != "inconclusive":
                (record,) = RecordStore(path).read()
                return sealed(record, key, record.cell.attempt if record.cell else 1)
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def put(self, record: Record) -> None:
        """Store a sealed record if it is conclusive. Raises HostError."""
        if record.cell is not None and record.verdict != "inconclusive":
            path = self._path(record.cell.key)
            if path.is_relative_to(settings.cache_dir()):
                # If the folder cannot be created, the write below reports it.
                with contextlib.suppress(OSError):
                    cache.make_folder(path.parent)
            write_whole(path, record.model_dump_json() + "\n")

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.jsonl"
