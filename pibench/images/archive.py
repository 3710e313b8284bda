"""Write reproducible archives: the same files give the same bytes at any time.

One of them is the arm64 root as an image of a container Engine, labelled arm64 on any Engine.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from pibench.images.recipe import file_sha256, fingerprint
from pibench.images.store import Image

CONTAINER_FORMAT: Final = 2
CONTAINER_KEY_LABEL: Final = "org.pibench.key"
_REPOSITORY: Final = "pibench/root"
CONTAINER_ARCHITECTURE: Final = "arm64"
_OPEN_FOLDERS: Final = ("./tmp",)
"""Writable by everybody: a file system mounted there inherits the mode (runc 1.1)."""
DATE: Final = 315532800
"""The first of January 1980: GNU tar warns about 0, and about dates that are in the future
for a board without a battery."""


@contextlib.contextmanager
def compressed_tar_into(stream: IO[bytes], *, level: int) -> Iterator[tarfile.TarFile]:
    """Yield a new .tar.gz, without a time or a name in gzip's header; the stream may be a pipe."""
    with (
        gzip.GzipFile("", "wb", level, stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        yield tar


def member(name: str, *, size_bytes: int = 0, executable: bool = False) -> tarfile.TarInfo:
    """Return the header of a file: owned by root, with a fixed date and one of two modes.

    tarfile's gettarinfo is not used: it turns files that happen to be linked here into hard links.
    """
    info = tarfile.TarInfo(name)
    info.uname = info.gname = "root"
    info.size = size_bytes
    info.mtime = DATE
    info.mode = 0o755 if executable else 0o644
    return info


def link(name: str, target: str) -> tarfile.TarInfo:
    """Return the header of a symbolic link."""
    info = member(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return info


def directory(name: str) -> tarfile.TarInfo:
    """Return the header of a folder."""
    info = member(name, executable=True)
    info.type = tarfile.DIRTYPE
    return info


def add(tar: tarfile.TarFile, path: Path, name: str) -> tarfile.TarInfo:
    """Add a file under a name; a symbolic link is followed."""
    status = path.stat()
    info = member(name, size_bytes=status.st_size, executable=bool(status.st_mode & 0o100))
    content: IO[bytes]
    with path.open("rb") as content:
        tar.addfile(info, content)
    return info


def container_key(root: Image) -> str:
    """Return one hash of the container image's inputs."""
    return fingerprint([CONTAINER_FORMAT, root.key])


def container_tag(root: Image) -> str:
    """Return the image's name in an Engine."""
    return f"{_REPOSITORY}:{container_key(root)[:16]}"


def write_container_archive(root: Image, archive: Path) -> None:
    """Write an archive for `docker load`, with the root file system in `root`.

    It is loaded, not imported: an import labels every root with the Engine's
    own architecture (Engine 20.10). The same root gives the same image id
    everywhere, since times and owners are left out. The format is Docker's
    image specification 1.2.
    """
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        layer = Path(folder) / "layer.tar"
        with tarfile.open(layer, "w", format=tarfile.GNU_FORMAT) as tar:
            tar.add(root.content / "root", arcname=".", filter=_settled)
        config = _container_config(file_sha256(layer), {CONTAINER_KEY_LABEL: container_key(root)})
        name = hashlib.sha256(config).hexdigest() + ".json"
        tags = [container_tag(root)]
        manifest = [{"Config": name, "RepoTags": tags, "Layers": ["root/layer.tar"]}]
        with tarfile.open(archive, "w") as tar:
            _add_bytes(tar, name, config)
            tar.add(layer, arcname="root/layer.tar", filter=_settled)
            _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())


def _settled(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mtime = 0
    if info.name in _OPEN_FOLDERS:
        info.mode = 0o1777
    return info


def _container_config(layer_sha256: str, labels: dict[str, str]) -> bytes:
    config = {
        "architecture": CONTAINER_ARCHITECTURE,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Cmd": ["/usr/bin/caffe"], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_sha256}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "pibench"}],
    }
    return json.dumps(config, sort_keys=True).encode()


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(_settled(info), io.BytesIO(content))
