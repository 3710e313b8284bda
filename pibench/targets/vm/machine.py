"""The emulated machines, the command line that starts each, and the SD card of one."""

from __future__ import annotations

import contextlib
import shlex
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pibench.devices import KIB, Device
from pibench.images.build import make_disk
from pibench.process import require_program, run, running
from pibench.target_kinds import Machine as MachineName

if TYPE_CHECKING:
    from pibench.engines.base import Compute

Accelerator = Literal["tcg,thread=multi", "tcg,thread=single"]
"""How QEMU emulates the cores: each in a thread of its own, or all in turn in one thread."""
Aio = Literal["threads", "io_uring"]
"""How QEMU reads a disk's file."""
_AIO_DEADLINE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What differs between the emulated machines.

    `console` is the guest's name for the serial line; `usual_boot_s` is what a boot takes on an
    idle host of two cores, for people who wait; `boot_deadline_s` is for the time until the
    probe's first event on a busy host. A guest with `waits_for_job` boots without reading the job,
    and waits for the host's word (see qemu/init).
    """

    name: MachineName
    console: str
    usual_boot_s: float
    boot_deadline_s: float
    silence_deadline_s: float = 120
    device_tree: str | None = None
    one_card: bool = False
    waits_for_job: bool = False
    reboot_after_oom: bool = False


MACHINES: dict[MachineName, Machine] = {
    "virt": Machine(
        name="virt", console="ttyAMA0", waits_for_job=True, usual_boot_s=4, boot_deadline_s=180
    ),
    # Root and job share the SD card, the board's only disk. Its guest was seen
    # to stall (RCU) after an OOM kill, so it is not used after one.
    "raspi3b": Machine(
        name="raspi3b",
        console="ttyS1",
        device_tree="bcm2837-rpi-3-b.dtb",
        one_card=True,
        reboot_after_oom=True,
        usual_boot_s=15,
        boot_deadline_s=300,
    ),
}


SECTOR_BYTES = 512
_MIB = 1 << 20
_LINUX = 0x83
COPY_DEADLINE_S = 120.0
JOB_DISK_BYTES = 16 << 30
"""The size that the guest sees of virt's second disk, whatever job is on it.

A guest reads it when it boots: one restored from a snapshot still has the size of then.
"""

KERNEL_ARGUMENTS = (
    "loglevel=4",
    "panic=-1",
    # The board's own kernels have no huge pages. With them the kernel keeps tens
    # of MiB free for itself, and the resident size depends on how blobs align.
    "transparent_hugepage=never",
    # Between the kernel's default for 1 GB (about 4 MiB) and the 16 MiB that
    # Raspberry Pi OS sets: with the default, the guest spends a minute reading
    # its own programs back from disk before its OOM killer acts.
    "sysctl.vm.min_free_kbytes=8192",
    # A Cortex-A53 needs no page-table isolation against Meltdown, and the
    # board's firmware does not seed KASLR, which would enable the isolation anyway.
    # Isolation makes QEMU flush its TLB at each system call, which doubles the time.
    "nokaslr",
    "kpti=off",
    "mitigations=off",
    # Debian's hardening zeroes pages that are zeroed again before use.
    "init_on_alloc=0",
    # Slow vCPUs are not an error, and an OOM kill must not end the guest too.
    "rcupdate.rcu_cpu_stall_timeout=300",
    "nowatchdog",
    # QEMU keeps translated code by virtual address: the second process that maps
    # a library where the first did runs the code that is translated already.
    "norandmaps",
    # No group limits memory in the guest, and each page would be charged to one.
    "cgroup_disable=memory",
    # The kernel's tests of its own ciphers, which nothing uses.
    "cryptomgr.notests",
)
"""Kernel options of every guest; see the kernel's kernel-parameters.txt.

docs/trust.md lists what they change in the guest.
"""


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files that a machine boots from, and the sockets that control it.

    With a `snapshot` the machine does not boot, but continues as that one of a booted guest.
    """

    kernel: Path
    initrd: Path
    device_tree: Path | None
    root_disk: Path
    job_disk: Path | None
    qmp_socket: Path
    console_socket: Path
    snapshot: Path | None = None


def accelerator_for(computes: Iterable[Compute]) -> Accelerator:
    """Return the accelerator for jobs with this compute.

    Memory-only compute keeps one core busy. With a thread per core, the guest's kernel then
    spends most instructions in spin locks whose holders the host has not scheduled.
    """
    return "tcg,thread=multi" if "real" in computes else "tcg,thread=single"


def aio_for(machine: Machine, disk: Path) -> Aio:
    """Return how QEMU is to read the machine's disks; `disk` is any file, for a try.

    A card is read by the sector. QEMU's default hands each to a thread, which takes longer than the
    read itself. Not every build of QEMU has io_uring, and many containers forbid it.
    """
    if not machine.one_card:
        return "threads"
    trial = [
        *("qemu-system-aarch64", "-machine", "none", "-nodefaults", "-nographic"),
        *("-monitor", "stdio", "-drive"),
        f"if=none,file={_escaped(disk)},format=raw,readonly=on,file.locking=off,aio=io_uring",
    ]
    with (
        running(trial, stdin=subprocess.PIPE) as qemu,
        contextlib.suppress(subprocess.TimeoutExpired),
    ):
        qemu.communicate(b"quit\n", timeout=_AIO_DEADLINE_S)
    return "io_uring" if qemu.returncode == 0 else "threads"


def command_line(
    machine: Machine,
    device: Device,
    files: Files,
    accelerator: Accelerator,
    *,
    aio: Aio = "threads",
) -> list[str]:
    """Return the arguments of qemu-system-aarch64; the machine waits for the command to start."""
    kernel_arguments = [f"console={machine.console},115200", *KERNEL_ARGUMENTS]
    if device.reserve_bytes:
        # raspi3b has 1 GiB whatever -m asks for. Its firmware's share is not the kernel's to leave.
        seen_bytes = device.ram_bytes - (device.firmware_bytes if machine.one_card else 0)
        kernel_arguments.append(f"mem={(seen_bytes - device.reserve_bytes) // KIB}K")
    console = _escaped(files.console_socket)
    arguments = [
        "qemu-system-aarch64",
        *("-machine", machine.name),
        *("-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-S"),
        *("-kernel", str(files.kernel)),
        *("-initrd", str(files.initrd)),
        *("-append", " ".join(kernel_arguments)),
        *("-accel", f"{accelerator},tb-size=256"),
        *("-chardev", f"socket,id=console,path={console},server=on,wait=off"),
        *("-qmp", f"unix:{_escaped(files.qmp_socket)},server=on,wait=off"),
    ]
    if files.snapshot is not None:
        arguments += ["-incoming", f"exec:cat {shlex.quote(str(files.snapshot))}"]
    if machine.one_card:
        return arguments + _board(files, aio)
    return arguments + _virt(device, files)


def _virt(device: Device, files: Files) -> list[str]:
    return [
        # The default CPU offers features that a Pi lacks (SVE, half precision).
        *("-cpu", device.qemu_cpu),
        *("-smp", str(device.cores)),
        *("-m", f"{device.ram_bytes >> 20}M"),
        *("-serial", "chardev:console"),
        *_virtio_disk("root", files.root_disk),
        *(_virtio_disk("job", files.job_disk) if files.job_disk else []),
    ]


def _virtio_disk(name: str, path: Path) -> list[str]:
    # Several machines read the same root at once.
    shared = "readonly=on,file.locking=off"
    drive = f"if=none,id={name},file={_escaped(path)},format=raw,{shared}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]


def _board(files: Files, aio: Aio) -> list[str]:
    return [
        *("-dtb", str(files.device_tree)),
        # The first line is the PL011, which the board's device tree assigns to Bluetooth.
        *("-serial", "null", "-serial", "chardev:console"),
        *("-drive", f"if=sd,file={_escaped(files.root_disk)},format=raw,aio={aio}"),
    ]


def _escaped(path: Path) -> str:
    """Return a path as the value of an option: QEMU splits options at commas, unless doubled."""
    return str(path).replace(",", ",,")


def write_card(card: Path, root_disk: Path, job: Path) -> None:
    """Write the card: partition 1 is a copy of `root_disk`, partition 2 has the job's files.

    QEMU accepts only SD cards whose size is a power of two.
    """
    part = card.with_suffix(".job")
    make_disk(job, part)
    root_bytes, job_bytes = root_disk.stat().st_size, part.stat().st_size
    root_start = _MIB
    job_start = -(-(root_start + root_bytes) // _MIB) * _MIB
    with card.open("wb") as file:
        file.write(partition_table([(root_start, root_bytes), (job_start, job_bytes)]))
        file.truncate(1 << (job_start + job_bytes - 1).bit_length())
    _place(card, root_disk, root_start)
    _place(card, part, job_start)
    part.unlink()


def partition_table(parts: list[tuple[int, int]]) -> bytes:
    """Return the first sector: a master boot record of (start, size) pairs in bytes."""
    unused = b"\xfe\xff\xff"
    entries = b"".join(
        # status, first CHS (unused), type, last CHS (unused), first sector, sectors
        struct.pack("<B3sB3s", 0, unused, _LINUX, unused)
        + struct.pack("<II", start // SECTOR_BYTES, -(-size // SECTOR_BYTES))
        for start, size in parts
    )
    return b"\0" * 446 + entries.ljust(64, b"\0") + b"\x55\xaa"


def _place(card: Path, part: Path, start: int) -> None:
    """Copy a partition's content to its place; leave blocks of zeros as holes."""
    dd = [require_program("dd", package="coreutils"), f"if={part}", f"of={card}", "bs=1M"]
    options = [f"seek={start // _MIB}", "conv=sparse,notrunc", "status=none"]
    run([*dd, *options], deadline_s=COPY_DEADLINE_S)
