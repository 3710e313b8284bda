"""The manifest of a kit: its files, the options of the run, and what records say of its networks.

The manifest's SHA-256 identifies the kit: a board's results refer to it, and
the manifest stays in the cache of the machine that made the kit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import Field, NonNegativeInt, field_validator

from pibench import cache, settings
from pibench._version import __version__
from pibench.images.carried import CarriedRoot
from pibench.records.schema import Frozen, Sha256
from pibench.runner.options import NetworkFacts, RunOptions
from pibench.targets.base import Job

NAME: Final = "manifest.json"
TOP: Final = "pi-kit"
"""The top folder of the archive."""
ROOT_ARCHIVE: Final = "root.tar.gz"


class KitFile(Frozen):
    """A file of the kit, by its path below the kit's folder."""

    path: str
    sha256: Sha256
    size_bytes: NonNegativeInt

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\0" in path:
            raise ValueError("is not a path inside the kit")
        return path


class KitCaffe(Frozen):
    """pibench's Caffe in the kit: see CarriedRoot in pibench/images/carried.py."""

    archive: str = ROOT_ARCHIVE
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    sha256: Sha256
    unpacked_bytes: NonNegativeInt
    lock: Sha256

    @classmethod
    def of(cls, root: CarriedRoot) -> Self:
        """Convert a local root."""
        return cls(
            key=root.key, sha256=root.sha256, unpacked_bytes=root.unpacked_bytes, lock=root.lock
        )


class KitNetwork(NetworkFacts):
    """A network of the kit, as records describe it, with its id in the job."""

    id: str


class Manifest(Frozen):
    """A kit; equal networks, options and pibench versions give an equal manifest."""

    format: Literal["pibench-kit"] = "pibench-kit"
    version: Literal[2] = 2
    pibench_version: str = __version__
    options: RunOptions
    networks: tuple[KitNetwork, ...]
    caffe: KitCaffe | None
    files: tuple[KitFile, ...]

    def text(self) -> bytes:
        """Return the text as stored in the kit, in ASCII, the only encoding some boards have."""
        import json  # noqa: PLC0415  (start-up time)

        return json.dumps(self.model_dump(mode="json"), indent=1).encode("ascii") + b"\n"

    def job_of(self, network: KitNetwork) -> Job:
        """Return the job that ran on the board; its files are not on this machine."""
        return self.options.job(id=network.id, name=network.name, prototxt="", weights=None)


def digest_of(text: bytes) -> str:
    """Return the id of the kit."""
    return hashlib.sha256(text).hexdigest()


def remember(text: bytes) -> None:
    """Store a manifest, for later results."""
    path = _kept(digest_of(text))
    cache.keep_if_possible(
        path, lambda partial: partial.write_bytes(text), "takes `pibench import --kit KIT`"
    )


def remembered(digest: str) -> bytes | None:
    """Return the text of a stored manifest; None if it is missing or was changed."""
    try:
        text = _kept(digest).read_bytes()
    except OSError:
        return None
    return text if digest_of(text) == digest else None


def _kept(digest: str) -> Path:
    return settings.cache_dir() / "kits" / f"{digest}.json"
