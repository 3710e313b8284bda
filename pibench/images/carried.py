"""Caffe for a board that has none: the required part of the arm64 root, as one archive.

A board unpacks it into a folder of its user and runs it by the root's own
dynamic loader: no container, no root rights, nothing installed.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from pibench.images.archive import add, compressed_tar_into, link
from pibench.images.recipe import file_sha256, fingerprint
from pibench.images.rootfs import RootLoader
from pibench.images.store import find
from pibench.settings import asset

if TYPE_CHECKING:
    from pibench.images.store import Image

ARCHIVE: Final = "root.tar.gz"
_FACTS: Final = "facts.json"
# gzip, though xz packs to two thirds: a board unpacks it four times as fast, and
# every Python has it. Level 6 is zlib's own default.
_LEVEL: Final = 6
BLOCK_BYTES: Final = 4096
_ABOUT_BYTES: Final = 320 << 20


@dataclass(frozen=True, kw_only=True)
class CarriedRoot:
    """The archive, and what a board needs to know of it.

    `key` is its name in the cache on a board, `sha256` is the archive's,
    `unpacked_bytes` is the disk space of its files in whole blocks.
    """

    archive: Path
    key: str
    sha256: str
    packed_bytes: int
    unpacked_bytes: int
    lock: str


def key_of(sysroot_key: str) -> str:
    """Return one hash of the archive's inputs."""
    return fingerprint([sysroot_key, file_sha256(asset("docker/carried.toml"))])


def short(key: str) -> str:
    """Return the name of a key's root on a board."""
    return key[:16]


def loader_at(root: PurePosixPath | str) -> RootLoader:
    """Return the command lines that run it from its place on the board."""
    return RootLoader(Path(str(root)), "arm64")


def write_carried(root: Path, content: Path) -> None:
    """Pack the required part of `root`; the same root gives the same archive, byte for byte."""
    size_bytes = 0
    archive = content / ARCHIVE
    with archive.open("wb") as file, compressed_tar_into(file, level=_LEVEL) as tar:
        for path in _taken(root):
            name = path.relative_to(root).as_posix()
            if path.is_symlink():
                size_bytes += BLOCK_BYTES
                tar.addfile(link(name, str(path.readlink())))
            else:
                size = add(tar, path, name).size
                size_bytes += -(-size // BLOCK_BYTES) * BLOCK_BYTES
    facts = {"sha256": file_sha256(archive), "unpacked_bytes": size_bytes}
    (content / _FACTS).write_text(json.dumps(facts) + "\n")


def carried(image: Image) -> CarriedRoot:
    """Return the archive of an image and its facts."""
    archive = image.content / ARCHIVE
    facts = json.loads((image.content / _FACTS).read_text())
    return CarriedRoot(
        archive=archive,
        key=short(image.key),
        packed_bytes=archive.stat().st_size,
        lock=image.lock_sha256,
        **facts,
    )


def unpacked_bytes(key: str) -> int:
    """Return the size of a key's root on a board; an estimate where it is not built here yet."""
    found = find("carried", key)
    return carried(found).unpacked_bytes if found is not None else _ABOUT_BYTES


def _taken(root: Path) -> Iterator[Path]:
    """Yield the files and links to pack, in the order of their names."""
    recipe = tomllib.loads(asset("docker/carried.toml").read_text())
    found = {path for pattern in recipe["take"] for path in root.glob(pattern)}
    for path in sorted(found):
        name = path.relative_to(root).as_posix()
        if any(fnmatchcase(name, pattern) for pattern in recipe["leave"]):
            continue
        # An absolute link leads out of the root, to a file of the board.
        if not path.readlink().is_absolute() if path.is_symlink() else path.is_file():
            yield path
