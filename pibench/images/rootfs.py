"""A Debian root file system with Caffe, unpacked without running any maintainer scripts.

Maintainer scripts of another architecture would run emulated and take
minutes. The effects that a run needs are produced here instead: the
BLAS link, and Python byte-compiled by a Python of the host's own architecture.
"""

from __future__ import annotations

import filecmp
import platform
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from pibench import timings
from pibench.errors import HostError
from pibench.images.apt import Apt, Package
from pibench.images.recipe import (
    GNU_TRIPLET,
    HOST_ARCHITECTURE,
    Architecture,
    LockedPackage,
    Recipe,
    file_sha256,
)
from pibench.process import require_program, run, stopped_together

UNPACK_DEADLINE_S = 300.0
COMPILE_DEADLINE_S = 300.0
_LOOK_S = 0.1
_KERNEL = "linux-image-"
_SOME = ("sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | { shift; tar --wildcards -xC "$@"; }', "sh")
_PYTHON = ("usr/lib/python3.9", "usr/lib/python3/dist-packages")
"""The folders of a root's Python modules."""

_LOADER: dict[Architecture, str] = {
    # Named after the architecture's ABI, a link that Debian's libc6 contains.
    "amd64": "lib/x86_64-linux-gnu/ld-2.31.so",
    "arm64": "lib/aarch64-linux-gnu/ld-2.31.so",
}

_OTHERS_SETTINGS = (
    "PYTHONPYCACHEPREFIX", "PYTHONOPTIMIZE", "PYTHONDONTWRITEBYTECODE", "PYTHONSTARTUP",
    "PYTHONMALLOC", "PYTHONDEVMODE", "PYTHONTRACEMALLOC", "PYTHONDEBUG", "PYTHONVERBOSE",
)  # fmt: skip


@dataclass(frozen=True)
class RootLoader:
    """The command lines that run a root's programs on a CPU of the same architecture."""

    root: Path
    architecture: Architecture

    @property
    def library_path(self) -> str:
        """Return the paths of the root's libraries; libgdal is in plain usr/lib."""
        triplet = GNU_TRIPLET[self.architecture]
        folders = (
            f"usr/lib/{triplet}/openblas-pthread",
            f"usr/lib/{triplet}",
            f"lib/{triplet}",
            "usr/lib",
        )
        return ":".join(str(self.root / folder) for folder in folders)

    def command(self, program: str, *, preload: Path | None = None) -> list[str]:
        """Return the command line prefix for a program of the root, such as `usr/bin/caffe`.

        A preload is passed to the loader and not in the environment, which the
        host's own programs would inherit.
        """
        prefix = [str(self.root / _LOADER[self.architecture]), "--library-path", self.library_path]
        if preload is not None:
            prefix += ["--preload", str(preload)]
        return [*prefix, str(self.root / program)]

    def python(self, *, preload: Path | None = None) -> list[str]:
        """Return the command line prefix of the root's Python 3.9."""
        return self.command("usr/bin/python3.9", preload=preload)

    def python_env(self) -> dict[str, str]:
        """Return the environment in which the root's Python finds its own modules and no others.

        Variables that a user has set for other Pythons would change its bytecode or measurements.
        An empty value counts as not set.
        """
        return {
            **dict.fromkeys(_OTHERS_SETTINGS, ""),
            "PYTHONHOME": str(self.root / "usr"),
            "PYTHONNOUSERSITE": "1",
            "PYTHONPATH": "",
        }


def compiler_for(
    architecture: Architecture, name: str, *, who_needs: str, otherwise: str = ""
) -> str:
    """Return a compiler for a root's architecture: the host's own, or Debian's cross compiler.

    The error that there is none begins with `who_needs`, and its hint ends with `otherwise`.

    Raises:
        HostError: there is no such compiler.
    """
    if HOST_ARCHITECTURE.get(platform.machine()) == architecture:
        return require_program(name, package=name)
    triplet = GNU_TRIPLET[architecture]
    cross = f"{triplet}-{name}"
    if shutil.which(cross) is None:
        raise HostError(
            f"{who_needs} the cross compiler {cross}, which is not installed",
            hint=f"sudo apt-get install {name}-{triplet.replace('_', '-')}{otherwise}",
        )
    return cross


def resolve(
    recipe: Recipe, architecture: Architecture, work: Path, *, alone: Sequence[str] = ()
) -> tuple[str, list[LockedPackage]]:
    """Return the suite's date and its current packages for the recipe: the list that a lock pins.

    Downloads every package into `work`, since only a file's own SHA-256 is worth locking. With
    `alone` it is exactly these packages, without their dependencies.
    """
    apt = Apt(work / "apt", recipe, architecture)
    apt.update()
    found = apt.resolve(alone or recipe.roots(architecture))
    wanted = [p for p in found if (p.name in alone if alone else p.name not in recipe.leave_out)]
    debs = work / "debs"
    apt.download(wanted, debs)
    return apt.suite_date(), [_locked(package, debs) for package in wanted]


def download(
    recipe: Recipe,
    architecture: Architecture,
    locked: Sequence[LockedPackage],
    suite_date: str,
    work: Path,
) -> Iterator[Path]:
    """Yield the files of the lock as they arrive, each checked against it.

    Raises HostError when the mirror does not have a version, or a file
    is not the one that the lock names.
    """
    apt = Apt(work / "apt", recipe, architecture)
    debs = work / "debs"
    # The kernel takes longest to unpack, in one process.
    ordered = sorted(locked, key=lambda one: not one.name.startswith(_KERNEL))
    waiting = {Path(package.path).name: package for package in ordered}
    looks: Counter[tuple[Path, int]] = Counter()
    with timings.phase("downloads"), ThreadPoolExecutor(1) as pool, stopped_together():
        fetching = pool.submit(apt.fetch, ordered, debs, suite_date=suite_date)
        while not wait([fetching], timeout=_LOOK_S).done:
            for path in debs.glob("*.deb"):
                package = waiting.get(path.name)
                if package and _has_arrived(path, package, looks):
                    del waiting[path.name]
                    yield path
        fetching.result()
        yield from (debs / name for name in waiting)


def _has_arrived(path: Path, package: LockedPackage, looks: Counter[tuple[Path, int]]) -> bool:
    """Return whether a file that no longer grows is the package; `looks` counts files by size.

    apt writes a file under its own name, and renames one with another content.
    """
    try:
        looked = (path, path.stat().st_size)
        looks[looked] += 1
        return looks[looked] == 2 and file_sha256(path) == package.sha256
    except FileNotFoundError:
        return False


def unpack(
    debs: Iterable[Path],
    root: Path,
    *,
    kernel: Path | None = None,
    parts: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Unpack packages into `root` while others arrive; run none of their scripts.

    Packages of a kernel go to the folder `kernel`, if given. Of the packages in `parts`, by name,
    only what the patterns match is unpacked.
    """
    dpkg_deb = require_program("dpkg-deb", package="dpkg")
    root.mkdir(parents=True, exist_ok=True)

    def unpack_one(deb: Path) -> None:
        into = kernel if kernel and deb.name.startswith(_KERNEL) else root
        wanted = (parts or {}).get(deb.name.partition("_")[0])
        command: list[str | Path] = [dpkg_deb, "-x", deb, into]
        if wanted is not None:
            command = [*_SOME, deb, into, *wanted]
        run(command, deadline_s=UNPACK_DEADLINE_S)

    # The links that Debian 11's usrmerge makes are left out: its packages still
    # name /bin, /lib and /sbin themselves.
    with ThreadPoolExecutor() as pool, stopped_together():
        started = pool.map(unpack_one, debs)
        with timings.phase("unpack"):
            for _ in started:
                pass


def settle(recipe: Recipe, architecture: Architecture, root: Path) -> None:
    """Remove what no run opens and make the links that maintainer scripts would have made."""
    for pattern in recipe.prune:
        for path in list(root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    libraries = root / "usr/lib" / GNU_TRIPLET[architecture]
    # Relative, so that they work under any prefix: in the VM and as a sysroot.
    for name in ("libblas.so.3", "liblapack.so.3", "libopenblas.so.0"):
        link = libraries / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"openblas-pthread/{name}")
    for folder in ("proc", "sys", "dev", "tmp", "run", "job", "root"):
        (root / folder).mkdir(exist_ok=True)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    )
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")


def byte_compile(root: Path, compiler: RootLoader) -> None:
    """Compile all Python of `root` with a Python 3.9 that runs at full speed, its own or another's.

    Byte code does not depend on the architecture, and compiling it emulated
    would take minutes: what another root has compiled of the same source is copied.
    Imports of pycaffe are three times slower without it.
    The check by hash is disabled: the content of an image never changes.
    """
    folders = [root / folder for folder in _PYTHON]
    listed = root.with_name("python-sources")
    what: list[str | Path] = [*folders]
    if compiler.root != root:
        sources = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
        left = [path for path in sources if not _copied(path, root, compiler.root)]
        listed.write_text("".join(f"{path}\n" for path in left))
        what = ["-i", listed]
    run(
        [
            *compiler.python(),
            *("-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"),
            *("-s", str(root), *what),
        ],
        env=compiler.python_env(),
        deadline_s=COMPILE_DEADLINE_S,
        # Debian ships a few files in the syntax of other Python versions.
        check=False,
    )
    listed.unlink(missing_ok=True)
    if not any((root / "usr/lib/python3/dist-packages/caffe/__pycache__").glob("*.pyc")):
        raise HostError("byte-compiling the root file system failed")


def _copied(source: Path, root: Path, compiled: Path) -> bool:
    """Copy the byte code of a file from a root that has compiled the same one, if it has."""
    other = compiled / source.relative_to(root)
    code = other.parent / "__pycache__" / f"{other.stem}.cpython-39.pyc"
    if not code.is_file() or not filecmp.cmp(source, other, shallow=False):
        return False
    folder = source.parent / "__pycache__"
    folder.mkdir(exist_ok=True)
    shutil.copy2(code, folder / code.name)
    return True


def _locked(package: Package, debs: Path) -> LockedPackage:
    matches = list(debs.glob(f"{package.name}_*.deb"))
    if len(matches) != 1:
        raise HostError(f"apt did not download {package.name} {package.version}")
    return LockedPackage(package.name, package.version, file_sha256(matches[0]), package.path)
