"""The guest's initial RAM disk: pibench's init, a shell, and the kernel modules of the machines."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from pibench.errors import HostError

MODULES = (
    # virt: the disks
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    # raspi3b: the SD card, on either of its two controllers
    "sdhci_iproc",
    "bcm2835",
    # both: the file system, and the fast checksum that it requests by name
    "ext4",
    "crc32c_generic",
)
"""Kernel modules by name; their dependencies are added."""


def module_files(kernel_root: Path, release: str, modules: Sequence[str] = MODULES) -> list[Path]:
    """Return the files of the modules and their dependencies, in an order in which they load.

    `modules.dep` does not exist, since no script has run depmod. The modules name their
    dependencies in their own `.modinfo` section, as `depends=a,b`.
    """
    folder = kernel_root / "lib/modules" / release / "kernel"
    by_name = {path.stem.replace("-", "_"): path for path in folder.rglob("*.ko")}
    ordered: list[Path] = []

    def add(name: str) -> None:
        path = by_name.get(name.replace("-", "_"))
        if path is None:
            raise HostError(f"the kernel {release} has no module {name}")
        if path in ordered:
            return
        for dependency in depends(path):
            add(dependency)
        ordered.append(path)

    for name in modules:
        add(name)
    return ordered


def depends(module: Path) -> list[str]:
    """Return the names of the modules that a module needs, from its `.modinfo` section."""
    content = module.read_bytes()
    start = content.find(b"\0depends=")
    if start < 0:
        return []
    start += len(b"\0depends=")
    names = content[start : content.index(b"\0", start)].decode("ascii")
    return [name for name in names.split(",") if name]


def write_initrd(target: Path, *, init: Path, busybox: Path, modules: Iterable[Path]) -> None:
    """Write the compressed archive that the kernel unpacks as its first root."""
    archive = _Cpio()
    for folder in ("bin", "dev", "proc", "sys", "modules", "root"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add_file("bin/busybox", busybox)
    archive.add_file("init", init)
    for index, module in enumerate(modules):
        # The shell's glob sorts by name: the number keeps the order of loading.
        archive.add_file(f"modules/{index:02d}-{module.name}", module)
    target.write_bytes(gzip.compress(archive.finish(), compresslevel=6, mtime=0))


class _Cpio:
    """An archive in the kernel's `newc` format (Documentation/driver-api/early-userspace)."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._inode = 0

    def add_file(self, name: str, file: Path) -> None:
        self.add(name, stat.S_IFREG | 0o755, file.read_bytes())

    def finish(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self._content)

    def add(
        self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        self._inode += 1
        # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor
        # namesize check, each as eight hexadecimal digits
        fields = (
            self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0,
        )  # fmt: skip
        self._content += b"070701" + b"".join(b"%08x" % field for field in fields)
        self._content += name.encode() + b"\0"
        self._pad()
        self._content += content
        self._pad()

    def _pad(self) -> None:
        self._content += b"\0" * (-len(self._content) % 4)
