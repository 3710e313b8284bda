"""Engines that come as wheels: each unpacked into an image of its own, beside the root.

The lock names the file of each version and architecture for the Python of the root file systems.
A run puts the image's folder on that Python's path; the root stays as it is.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pibench.engines.registry import engine_of, with_wheels
from pibench.errors import HostError
from pibench.images.recipe import ARCHITECTURES, Architecture, file_sha256, fingerprint
from pibench.process import run
from pibench.settings import asset

if TYPE_CHECKING:
    from pibench.engines.base import Engine

LOCK: Final = "docker/wheels.lock.json"
PYTHON_VERSION: Final = "3.9"
_MACHINE: Final[dict[Architecture, str]] = {"arm64": "aarch64", "amd64": "x86_64"}
_GLIBC: Final = range(5, 32)
"""Minor versions of glibc 2 that Debian 11's, 2.31, stands for."""
_DEADLINE_S: Final = 900.0


@dataclass(frozen=True, kw_only=True)
class LockedWheel:
    """One wheel of the lock: exactly this file and no other."""

    engine: str
    version: str
    architecture: Architecture
    file: str
    sha256: str

    @property
    def kind(self) -> str:
        """The kind of its image, such as `opencv-4.6.0.66-arm64`."""
        return f"{self.engine}-{self.version}-{self.architecture}"

    @property
    def key(self) -> str:
        """One hash of its image's inputs."""
        return fingerprint([self.file, self.sha256])

    @property
    def platforms(self) -> list[str]:
        """The platforms that its file name lists."""
        return self.file.removesuffix(".whl").rpartition("-")[2].split(".")


def kinds() -> dict[str, LockedWheel]:
    """Return the wheels of the lock by the kinds of their images. Raises HostError."""
    path = asset(LOCK)
    try:
        wheels = [LockedWheel(**entry) for entry in json.loads(path.read_text())]
    except (ValueError, TypeError) as error:
        raise HostError(
            f"{path} is not a lock ({error})", hint="create it again: pibench image lock"
        ) from error
    return {wheel.kind: wheel for wheel in wheels}


def find(engine: Engine, architecture: Architecture) -> LockedWheel:
    """Return the wheel of an engine's version. Raises HostError where the lock has none."""
    kind = f"{engine.id}-{engine.wheel_version}-{architecture}"
    known = kinds()
    if kind not in known:
        raise HostError(
            f"the lock {LOCK} has no {engine.label} {engine.wheel_version} for {architecture}",
            hint="create it again: pibench image lock",
        )
    return known[kind]


def build(wheel: LockedWheel, content: Path, work: Path) -> None:
    """Fetch a wheel by pip, compare it with the lock and unpack it into `content`.

    Raises:
        HostError: It cannot be fetched, or is not the file that the lock names.
    """
    engine = engine_of(wheel.engine)
    file = _fetch(f"{engine.wheel}=={wheel.version}", wheel.platforms, work)
    if file.name != wheel.file or file_sha256(file) != wheel.sha256:
        raise HostError(
            f"the package index has another {file.name} than the lock names",
            hint="create the lock again: pibench image lock",
        )
    with zipfile.ZipFile(file) as archive:
        archive.extractall(content)


def resolve(work: Path) -> list[LockedWheel]:
    """Fetch the wheels of all engines and versions; return what a lock pins. Raises HostError."""
    found = []
    for engine in with_wheels():
        for architecture in ARCHITECTURES:
            machine = _MACHINE[architecture]
            platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC]
            folder = work / f"{engine.id}-{engine.wheel_version}-{architecture}"
            folder.mkdir()
            file = _fetch(
                f"{engine.wheel}=={engine.wheel_version}",
                [*platforms, f"manylinux2014_{machine}"],
                folder,
            )
            found.append(
                LockedWheel(
                    engine=engine.id,
                    version=engine.wheel_version,
                    architecture=architecture,
                    file=file.name,
                    sha256=file_sha256(file),
                )
            )
    return found


def write_lock(wheels: list[LockedWheel]) -> Path:
    """Write the lock into the checkout's folder docker and return its path."""
    path = asset("docker/rootfs.toml").with_name(Path(LOCK).name)
    path.write_text(json.dumps([asdict(wheel) for wheel in wheels], indent=1) + "\n")
    return path


def _fetch(requirement: str, platforms: list[str], folder: Path) -> Path:
    """Download one wheel for the root's Python into an empty folder."""
    done = run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--python-version", PYTHON_VERSION),
            *(part for platform in platforms for part in ("--platform", platform)),
            *("--dest", folder, requirement),
        ],
        deadline_s=_DEADLINE_S,
        check=False,
    )
    files = list(folder.glob("*.whl"))
    if done.returncode or len(files) != 1:
        no_pip = re.search(r"No module named pip", done.stderr)
        raise HostError(
            f"pip could not download {requirement}: {done.last_lines(1) or done.ending}",
            hint="install pip in pibench's environment: python -m ensurepip"
            if no_pip
            else "see whether pip reaches the package index, "
            "or load the image from another machine: pibench image load",
        )
    return files[0]
