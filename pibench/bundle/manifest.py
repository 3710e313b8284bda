"""The manifest of a kit: its files, and all properties of its networks that a record needs.

The manifest's SHA-256 identifies the kit: a board's results refer to it, and
the manifest stays in the cache of the machine that made the kit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from pibench import cache, settings
from pibench._version import __version__
from pibench.images.carried import CarriedRoot
from pibench.records.schema import Frozen, Protocol, Sha256
from pibench.runner.facts import NetworkFacts
from pibench.targets.base import Work

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
            raise ValueError("is no path inside the kit")
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


class KitNetwork(Frozen):
    """A network of the kit: the facts for its record, and how it is run.

    `file_name` is its prototxt's path as records store it.
    """

    id: str
    name: str
    sha256: Sha256
    file_name: str
    parameter_count: NonNegativeInt
    weights_file_bytes: NonNegativeInt
    weights_sha256: Sha256 | None
    weights_drawn: bool
    repairs: tuple[str, ...]
    batch: PositiveInt
    input_size: str | None = None
    layer_types: dict[str, str]

    threads: PositiveInt
    timeout_s: PositiveFloat
    iterations: PositiveInt
    warmup: NonNegativeInt
    repeats: NonNegativeInt
    seed: NonNegativeInt

    @classmethod
    def of(cls, facts: NetworkFacts, work: Work) -> Self:
        """Convert a local network and its work."""
        return cls(
            id=work.id,
            name=facts.name,
            sha256=facts.sha256,
            file_name=facts.source,
            parameter_count=facts.parameter_count,
            weights_file_bytes=facts.weights_file_bytes,
            weights_sha256=facts.weights_sha256,
            weights_drawn=facts.weights_drawn,
            repairs=facts.repairs,
            batch=facts.batch,
            input_size=facts.input_size,
            layer_types=dict(facts.layer_types),
            threads=work.threads,
            timeout_s=work.timeout_s,
            iterations=work.iterations,
            warmup=work.warmup,
            repeats=work.repeats,
            seed=work.seed,
        )

    def facts(self) -> NetworkFacts:
        """Return the facts for its record."""
        return NetworkFacts(
            name=self.name,
            sha256=self.sha256,
            source=self.file_name,
            parameter_count=self.parameter_count,
            weights_file_bytes=self.weights_file_bytes,
            weights_sha256=self.weights_sha256,
            weights_drawn=self.weights_drawn,
            repairs=self.repairs,
            batch=self.batch,
            input_size=self.input_size,
            layer_types=self.layer_types,
        )


class Manifest(Frozen):
    """A kit; equal networks, options and pibench versions give an equal manifest."""

    format: Literal["pibench-kit"] = "pibench-kit"
    version: Literal[1] = 1
    pibench_version: str = __version__
    device: str
    protocol: Protocol
    networks: tuple[KitNetwork, ...]
    caffe: KitCaffe | None
    files: tuple[KitFile, ...]

    def text(self) -> bytes:
        """Return the text as stored in the kit, in ASCII, the only encoding some boards have."""
        import json  # noqa: PLC0415  (start-up time)

        return json.dumps(self.model_dump(mode="json"), indent=1).encode("ascii") + b"\n"

    def work_of(self, network: KitNetwork) -> Work:
        """Return the work that ran on the board; its files are not on this machine."""
        known: dict[str, Any] = {
            name: getattr(network, name)
            for name in ("id", "name", "threads", "timeout_s", "iterations", "warmup", "repeats")
        }
        return Work(
            **known,
            prototxt="",
            weights=None,
            protocol=self.protocol,
            compute="real",
            seed=network.seed,
        )


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
