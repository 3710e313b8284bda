"""The arm64 root as an image of a container Engine, labelled arm64 on any Engine."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pibench.images.recipe import fingerprint
from pibench.images.store import Image

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 2
KEY_LABEL: Final = "org.pibench.key"
REPOSITORY: Final = "pibench/root"
ARCHITECTURE: Final = "arm64"
OPEN_FOLDERS: Final = ("./tmp",)
"""Writable by everybody: a file system mounted there inherits the mode (runc 1.1)."""


def key_of(root: Image) -> str:
    """Return one hash of the container image's inputs."""
    return fingerprint([FORMAT, root.key])


def tag_of(root: Image) -> str:
    """Return the image's name in an Engine."""
    return f"{REPOSITORY}:{key_of(root)[:16]}"


def write_archive(root: Image, archive: Path) -> None:
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
        with layer.open("rb") as file:
            layer_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        config = _config(layer_sha256, {KEY_LABEL: key_of(root)})
        name = hashlib.sha256(config).hexdigest() + ".json"
        manifest = [{"Config": name, "RepoTags": [tag_of(root)], "Layers": ["root/layer.tar"]}]
        with tarfile.open(archive, "w") as tar:
            _add(tar, name, config)
            tar.add(layer, arcname="root/layer.tar", filter=_settled)
            _add(tar, "manifest.json", json.dumps(manifest).encode())


def _settled(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = 0
    if member.name in OPEN_FOLDERS:
        member.mode = 0o1777
    return member


def _config(layer_sha256: str, labels: Mapping[str, str]) -> bytes:
    config = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Cmd": ["/usr/bin/caffe"], "Labels": dict(labels)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_sha256}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "pibench"}],
    }
    return json.dumps(config, sort_keys=True).encode()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(_settled(member), io.BytesIO(content))
