"""Save a guest that has booted and waits for its job, so that later machines need not boot.

It is kept among the images, keyed by all that the guest was booted from and with. What the first
job in such a guest finds out about the programs is kept beside the calibrations, by the same key:
every guest of one snapshot has the same, and so has each that boots in the same way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from pibench import cache, process, settings
from pibench.devices import Device
from pibench.errors import HostError
from pibench.images import store
from pibench.images.build import make_disk
from pibench.images.recipe import fingerprint
from pibench.images.store import Image
from pibench.targets.job import Libraries, Programs, probe_digest, write_job
from pibench.targets.probe_session import BareResult
from pibench.targets.sandbox import scratch
from pibench.targets.vm.machine import (
    JOB_DISK_BYTES,
    Accelerator,
    Files,
    Machine,
    command_line,
)

KIND: Final = "boot"
_FILE: Final = "snapshot"
_VM: Final = "vm"
"""The file with the key of the image that was booted."""

_ENGINE: Final = ("engine_version", "blas", "blas_core")
"""What a probe's `hello` reports of the engine where it is asked to."""

Save = Callable[[list[str], Files, Machine, Path], Awaitable[None]]


def pad(job_disk: Path) -> bool:
    """Give a job's disk the size that every guest sees; return whether that was possible."""
    if job_disk.stat().st_size > JOB_DISK_BYTES:
        return False
    try:
        # A hole at the end takes no space.
        os.truncate(job_disk, JOB_DISK_BYTES)
    except OSError:
        return False
    return True


def guest_key(
    machine: Machine,
    device: Device,
    accelerator: Accelerator,
    *,
    qemu_version: str | None,
    vm: Image,
) -> str:
    """Return one hash of all that a guest boots from and with, but for its job.

    Args:
        machine: the emulated machine.
        device: the board that it stands for.
        accelerator: how QEMU runs the cores.
        qemu_version: QEMU restores what the same QEMU saved.
        vm: the image that it boots.
    """
    # The command line without the places of files: their content is in the image's digest.
    unplaced = Files(
        kernel=Path("kernel"),
        initrd=Path("initrd"),
        device_tree=Path("device-tree") if machine.device_tree else None,
        root_disk=Path("root"),
        job_disk=Path("job"),
        qmp_socket=Path("qmp"),
        console_socket=Path("console"),
    )
    command = command_line(machine, device, unplaced, accelerator)
    return fingerprint(
        [command, vm.key, vm.content_sha256, qemu_version, JOB_DISK_BYTES, probe_digest()]
    )


def ensure(
    key: str,
    machine: Machine,
    device: Device,
    files: Files,
    accelerator: Accelerator,
    *,
    vm: Image,
    programs: Programs,
    save: Save,
) -> Path | None:
    """Return the snapshot for this machine, made where there is none or it has changed.

    Args:
        key: that of the guest.
        machine: the emulated machine.
        device: the board that it stands for.
        files: what it boots from; its job's disk and its sockets do not matter.
        accelerator: how QEMU runs the cores.
        vm: the image that `files` are of.
        programs: those of every job; the guest waits with its probe loaded.
        save: boots a machine and saves it to a file.

    Returns:
        None where it cannot be made or kept: the machine then has to boot.
    """

    def build(content: Path, _: Path) -> None:
        with scratch("vm") as folder:
            job_disk = folder / "job.ext4"
            write_job(folder / "job", [], programs, Libraries(), describe=False)
            make_disk(folder / "job", job_disk)
            if not pad(job_disk):
                raise HostError(f"{folder} takes no file of {JOB_DISK_BYTES >> 30} GiB with holes")
            booted = replace(
                files,
                job_disk=job_disk,
                qmp_socket=folder / "qmp",
                console_socket=folder / "console",
            )
            argv = command_line(machine, device, booted, accelerator)
            process.complete(_run(save(argv, booted, machine, content / _FILE)))
        (content / _VM).write_text(vm.key)

    with contextlib.suppress(HostError):
        for _ in range(2):
            image, built = store.ensure(KIND, key, vm.lock_sha256, build)
            if built or store.verify(image):
                return image.content / _FILE
            store.discard(image)
    return None


async def _run(saving: Awaitable[None]) -> None:
    await saving


@dataclass(frozen=True, kw_only=True)
class KnownPrograms:
    """What a job found out about its programs in a guest.

    `engine` has the versions of the engine and its BLAS, `baseline` is the result of the bare
    program, with the files that it had mapped.
    """

    engine: dict[str, Any]
    baseline: dict[str, Any]


def known_programs(path: Path) -> KnownPrograms | None:
    """Return what is stored, None where nothing is, or something else."""
    with contextlib.suppress(ValueError, TypeError):
        known = KnownPrograms(**(cache.kept_values(path) or {}))
        # Both become part of what the probe reports.
        BareResult.model_validate(known.baseline)
        mapped, engine = known.baseline.get("mapped"), known.engine
        if (
            isinstance(mapped, list)
            and all(isinstance(path, str) for path in mapped)
            and isinstance(engine, dict)
            and engine.keys() == set(_ENGINE)
            and all(value is None or isinstance(value, str) for value in engine.values())
        ):
            return known
    return None


def keep_programs(path: Path, machine: Mapping[str, Any], baseline: Mapping[str, Any]) -> None:
    """Store what a probe reported, for later guests of the same key."""
    if baseline["exit_status"] != 0 or not baseline.get("mapped"):
        return
    engine = {name: machine.get(name) for name in _ENGINE}
    known = KnownPrograms(engine=engine, baseline=dict(baseline))
    cache.keep_values(path, asdict(known), "is measured for each run")


def programs_path(guest: str, parts: Mapping[str, Any]) -> Path:
    """Return where to store what is known of the programs that `parts` describe in a guest."""
    key = fingerprint([guest, parts])
    return settings.cache_dir() / "calibrations" / f"{_VM}-{key[:16]}.json"


def current(vm_key: str) -> set[tuple[str, str]]:
    """Return kind and key of the snapshots of this image that the cache has."""
    found = set()
    for image in store.images():
        with contextlib.suppress(OSError):
            if image.kind == KIND and (image.content / _VM).read_text() == vm_key:
                found.add((image.kind, image.key))
    return found


def discard(snapshot: Path) -> None:
    """Remove a snapshot that no machine continues from, so that the next run makes another."""
    for image in store.images():
        if image.kind == KIND and image.content / _FILE == snapshot:
            store.discard(image)
