"""Build the images that targets run from the recipe and the lock.

There are four kinds: `twin`, the amd64 root; `sysroot`, the arm64 root; `vm`, kernel,
initial RAM disk, device trees and the disk made of the arm64 root; `carried`,
the part of the arm64 root that is copied to a board that has no Caffe.
In addition, built from source: the memory-only BLAS and the layers of Caffe's forks for each
architecture, and the instruction counter for each version of QEMU's plugin interface. From
Debian's packages: the BLAS libraries that can replace OpenBLAS. And from wheels: engines other
than Caffe.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

from pibench import settings, timings
from pibench.engines.registry import engine_of
from pibench.errors import HostError
from pibench.images import blas, layers, store, wheels
from pibench.images.blas import OtherBlas
from pibench.images.carried import CarriedRoot, carried, write_carried
from pibench.images.carried import key_of as carried_key
from pibench.images.initrd import module_files, write_initrd
from pibench.images.recipe import (
    Architecture,
    Lock,
    Recipe,
    file_sha256,
    fingerprint,
    load_lock,
    load_recipe,
)
from pibench.images.rootfs import RootLoader, byte_compile, download, settle, unpack
from pibench.images.store import Image
from pibench.process import require_program, run, stopped_together
from pibench.settings import asset
from pibench.setups import Blas

KINDS = ("twin", "sysroot", "vm", "carried")
ROOTS: dict[str, Architecture] = {"twin": "amd64", "sysroot": "arm64"}
BLAS_KINDS: dict[str, Architecture] = {"blas-arm64": "arm64", "blas-amd64": "amd64"}
LAYER_KINDS: dict[str, Architecture] = {"layers-arm64": "arm64", "layers-amd64": "amd64"}
_MIB = 1 << 20
DISK_SLACK_BYTES = 64 * _MIB
MKE2FS_DEADLINE_S = 300.0
COUNTER = "libpibench_counter.so"
COUNTER_DEADLINE_S = 120.0
API_VERSIONS = (3, 2, 1)
"""Versions of QEMU's plugin interface, latest first: 3 also loads where 4 and 5 are supported."""

Report = Callable[[str], None]


def _silent(_: str) -> None:
    pass


class Builder:
    """Builds each image once and returns it; `report` is called for each step."""

    def __init__(self, report: Report = _silent) -> None:
        self.recipe: Recipe = load_recipe()
        self.lock: Lock = load_lock()
        self.report = report

    def key(self, kind: str) -> str:
        """Return one hash of an image's inputs: recipe, package list, pibench's own sources."""
        recipe = file_sha256(asset("docker/rootfs.toml"))
        if kind == "carried":
            return carried_key(self.key("sysroot"))
        if kind in LAYER_KINDS:
            return layers.key(LAYER_KINDS[kind])
        if kind.startswith("counter-"):
            return counter_key(kind)
        if kind in blas.kinds():
            name, architecture = blas.kinds()[kind]
            return blas.load(name).key(architecture)
        if kind in wheels.kinds():
            return wheels.kinds()[kind].key
        inputs: list[object]
        if kind in ROOTS:
            inputs = [recipe, self.lock.digest(ROOTS[kind])]
        elif kind in BLAS_KINDS:
            sources = [(path.name, file_sha256(path)) for path in blas.source_files()]
            inputs = [kind, recipe, sources, settings.wants_real_loops()]
        elif kind == "vm":
            inputs = [self.key("sysroot"), file_sha256(asset("qemu/init"))]
        else:
            raise HostError(f"unknown image {kind}")
        return fingerprint(inputs)

    def image(self, kind: str) -> Image:
        """Return the image of a kind: one of `kinds`.

        Raises HostError where it cannot be built, or the kind does not exist.
        """
        if kind in BLAS_KINDS:
            return self._blas_image(BLAS_KINDS[kind])
        if kind in LAYER_KINDS:
            return self._layers_image(LAYER_KINDS[kind])
        if kind in blas.kinds():
            name, architecture = blas.kinds()[kind]
            return self._other_blas_image(architecture, blas.load(name))
        if kind in wheels.kinds():
            return self._wheel_image(wheels.kinds()[kind])
        makers = {
            "twin": self.twin,
            "sysroot": self.sysroot,
            "vm": self.vm,
            "carried": self._carried_image,
        }
        if kind not in makers:
            raise HostError(f"unknown image {kind}")
        return makers[kind]()

    def twin(self) -> Image:
        """Return the amd64 root."""
        if not on_x86_64():
            raise HostError(
                f"the twin needs an x86-64 host, and this is {platform.machine()}",
                hint="use --target native or --target vm",
            )
        return self._ensure("twin", "amd64", self._build_root("amd64"))

    def sysroot(self) -> Image:
        """Return the arm64 root."""
        return self._ensure("sysroot", "arm64", self._build_root("arm64"))

    def vm(self) -> Image:
        """Return kernel, initial RAM disk, device trees and root disk of the virtual machine."""
        found = store.find("vm", self.key("vm"))
        if found is not None:
            return found
        # The twin byte-compiles the sysroot: both are fetched at once.
        with ThreadPoolExecutor() as pool, stopped_together():
            twin = pool.submit(copy_context().run, self.twin) if on_x86_64() else None
            root = pool.submit(copy_context().run, self.sysroot).result()
            if twin is not None:
                twin.result()
        return self._ensure("vm", "arm64", lambda content, _: self._build_vm(root, content))

    def _carried_image(self) -> Image:
        found = store.find("carried", self.key("carried"))
        if found is not None:
            return found
        root = self.sysroot().content / "root"
        return self._ensure("carried", "arm64", lambda content, _: write_carried(root, content))

    def carried(self) -> CarriedRoot:
        """Return the archive that runs Caffe on a board that has none."""
        return carried(self._carried_image())

    def blas(self, architecture: Architecture) -> Path:
        """Return the memory-only BLAS, a library to preload; see also `blas.loops_beside`."""
        return self._blas_image(architecture).content / blas.LIBRARY

    def _blas_image(self, architecture: Architecture) -> Image:
        def build(content: Path, _: Path) -> None:
            # Only here: a machine that has loaded the library needs no root for it.
            blas.build_blas(
                architecture,
                self._root(architecture),
                content,
                twin=lambda: self.blas("amd64"),
            )

        return self._ensure(f"blas-{architecture}", architecture, build)

    def layers(self, architecture: Architecture) -> Path:
        """Return the layers of Caffe's forks, a library to preload."""
        return self._layers_image(architecture).content / layers.LIBRARY

    def _layers_image(self, architecture: Architecture) -> Image:
        def build(content: Path, work: Path) -> None:
            layers.build(self.recipe, architecture, self._root(architecture), content, work)

        return self._ensure(f"layers-{architecture}", architecture, build)

    def _root(self, architecture: Architecture) -> Path:
        image = self.sysroot() if architecture == "arm64" else self.twin()
        return image.content / "root"

    def other_blas(self, architecture: Architecture, name: Blas) -> list[Path]:
        """Return the libraries of another BLAS, to preload in this order; none for OpenBLAS."""
        if name == "openblas":
            return []
        wanted = blas.load(name)
        return wanted.files(self._other_blas_image(architecture, wanted).content)

    def _other_blas_image(self, architecture: Architecture, wanted: OtherBlas) -> Image:
        return self._ensure(
            f"{wanted.name}-blas-{architecture}",
            architecture,
            lambda content, work: wanted.build(self.recipe, architecture, content, work),
        )

    def engine(self, architecture: Architecture, spec: str) -> Path | None:
        """Return the folder of Python modules of an engine, None where the root has the engine."""
        engine = engine_of(spec)
        if engine.wheel is None:
            return None
        return self._wheel_image(wheels.find(engine, architecture)).content

    def _wheel_image(self, wheel: wheels.LockedWheel) -> Image:
        return self._ensure(
            wheel.kind,
            wheel.architecture,
            lambda content, work: wheels.build(wheel, content, work),
        )

    def counter(self, api: int) -> Path:
        """Return the instruction counter, a plugin for a QEMU with that interface version."""
        image = self._ensure(
            f"counter-{api}", "arm64", lambda content, _: build_counter(api, content)
        )
        return image.content / COUNTER

    def _ensure(
        self, kind: str, architecture: Architecture, build: Callable[[Path, Path], None]
    ) -> Image:
        def reporting(content: Path, work: Path) -> None:
            self.report(f"building the image {kind}")
            build(content, work)

        image, built = store.ensure(kind, self.key(kind), self.lock.digest(architecture), reporting)
        if built:
            self.report(f"built the image {kind}")
        return image

    def _build_root(self, architecture: Architecture) -> Callable[[Path, Path], None]:
        def build(content: Path, work: Path) -> None:
            locked = self.lock.packages[architecture]
            root, kernel = content / "root", work / "kernel"
            debs = download(self.recipe, architecture, locked, self.lock.suite_date, work)
            with timings.phase("packages"):
                unpack(debs, root, kernel=kernel)
            if kernel.exists():
                _keep_kernel(kernel, content / "kernel")
            settle(self.recipe, architecture, root)
            with timings.phase("wait for a Python"):
                compiler = self._compiler(architecture, root)
            with timings.phase("compile"):
                byte_compile(root, compiler)

        return build

    def _compiler(self, architecture: Architecture, own_root: Path) -> RootLoader:
        """Return a Python 3.9 of the host's own architecture."""
        if platform.machine() == "aarch64" and architecture == "arm64":
            return RootLoader(own_root, "arm64")
        if architecture == "amd64":
            return RootLoader(own_root, "amd64")
        return RootLoader(self.twin().content / "root", "amd64")

    def _build_vm(self, sysroot: Image, content: Path) -> None:
        kernel = sysroot.content / "kernel"
        release = next((kernel / "lib/modules").iterdir()).name
        shutil.copy2(kernel / "vmlinuz", content / "vmlinuz")
        for tree in kernel.glob("*.dtb"):
            shutil.copy2(tree, content / tree.name)
        (content / "release").write_text(release + "\n")
        root = sysroot.content / "root"
        write_initrd(
            content / "initrd.gz",
            init=asset("qemu/init"),
            busybox=root / "bin/busybox",
            modules=module_files(kernel, release),
        )
        with timings.phase("disk"):
            make_disk(root, content / "root.ext4")


def kinds() -> tuple[str, ...]:
    """Return the kinds of images that `Builder.image` makes."""
    return (*KINDS, *BLAS_KINDS, *LAYER_KINDS, *blas.kinds(), *wheels.kinds())


def _keep_kernel(unpacked: Path, target: Path) -> None:
    """Keep the kernel, its modules and the board's device tree."""
    target.mkdir()
    images = sorted((unpacked / "boot").glob("vmlinuz-*"))
    images[-1].rename(target / "vmlinuz")
    (target / "lib").mkdir()
    (unpacked / "lib/modules").rename(target / "lib/modules")
    for tree in unpacked.glob("usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb"):
        tree.rename(target / tree.name)


def counter_key(kind: str) -> str:
    """Return a hash of the plugin's inputs: source, kind, this machine's processor and C library.

    QEMU loads it with the machine's own C library: one linked to a later library does not load.
    """
    sources = sorted(asset("qemu/counter").glob("*.[ch]"))
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
            *("-fvisibility=hidden", "-fPIC", "-shared", f"-Wl,-soname,{COUNTER}"),
            *("-o", str(content / COUNTER), str(asset("qemu/counter/counter.c"))),
        ],
        deadline_s=COUNTER_DEADLINE_S,
    )


def make_disk(source: Path, disk: Path, *, free_bytes: int = DISK_SLACK_BYTES) -> None:
    """Write an ext4 file system: the files of `source` and `free_bytes` of space. Needs no root."""
    mke2fs = require_program("mke2fs", package="e2fsprogs")
    used_bytes = sum(
        # Each file and folder takes whole blocks of 4 KiB, and an inode.
        -(-path.lstat().st_size // 4096) * 4096 + 512
        for path in source.rglob("*")
    )
    size_kib = (used_bytes + used_bytes // 16 + free_bytes) // 1024
    run(
        # No journal: the guest mounts it read-only. No reserved blocks.
        [
            *(mke2fs, "-q", "-F", "-t", "ext4"),
            *("-O", "^has_journal", "-m", "0", "-E", "root_owner=0:0"),
            *("-d", str(source), str(disk), f"{size_kib}k"),
        ],
        deadline_s=MKE2FS_DEADLINE_S,
    )


def on_x86_64() -> bool:
    """Return whether this host runs amd64 programs itself."""
    return platform.machine() in ("x86_64", "AMD64")
