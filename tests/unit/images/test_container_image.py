"""The archive that an Engine loads: arm64 whoever loads it, and the same for the same root."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pibench.images.archive import (
    CONTAINER_KEY_LABEL,
    container_key,
    container_tag,
    write_container_archive,
)
from pibench.images.store import Image


def image_at(path: Path, key: str = "k") -> Image:
    return Image(
        kind="sysroot",
        key=key * 64,
        path=path,
        created="2026-01-31",
        content_sha256="c" * 64,
        size_bytes=1,
        lock_sha256="l" * 64,
    )


def root_in(folder: Path, **files: str) -> Image:
    root = folder / "content" / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "tmp").mkdir()
    (root / "usr/bin/caffe").write_text("program")
    (root / "usr/bin/caffe").chmod(0o755)
    (root / "lib").symlink_to("usr/lib")
    for name, text in files.items():
        (root / name).write_text(text)
    return image_at(folder)


def archived(image: Image, archive: Path) -> dict[str, Any]:
    """What is in the archive: manifest, config, the layer's members, their digests."""
    write_container_archive(image, archive)
    with tarfile.open(archive) as tar:
        (manifest,) = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
        config = tar.extractfile(manifest["Config"]).read()  # type: ignore[union-attr]
        (layer_name,) = manifest["Layers"]
        layer = tar.extractfile(layer_name)
        assert layer is not None
        layer_sha256 = hashlib.sha256(layer.read()).hexdigest()
        layer.seek(0)
        with tarfile.open(fileobj=layer) as inner:
            members = {member.name: member for member in inner.getmembers()}
    return {
        "manifest": manifest,
        "config": json.loads(config),
        "config_sha256": hashlib.sha256(config).hexdigest(),
        "layer_sha256": layer_sha256,
        "members": members,
    }


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    return archived(root_in(tmp_path / "a"), tmp_path / "image.tar")


def test_it_is_labelled_arm64_linux(found: dict[str, Any]) -> None:
    assert (found["config"]["architecture"], found["config"]["os"]) == ("arm64", "linux")


def test_its_parts_are_named_by_what_is_in_them(found: dict[str, Any], tmp_path: Path) -> None:
    assert found["manifest"]["Config"] == found["config_sha256"] + ".json"
    assert found["config"]["rootfs"]["diff_ids"] == [f"sha256:{found['layer_sha256']}"]
    image = image_at(tmp_path / "a")
    assert found["manifest"]["RepoTags"] == [container_tag(image)]
    assert found["config"]["config"]["Labels"] == {CONTAINER_KEY_LABEL: container_key(image)}


def test_the_same_root_has_the_same_id_wherever_it_is_made(
    found: dict[str, Any], tmp_path: Path
) -> None:
    other = root_in(tmp_path / "elsewhere")
    for path in other.content.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    again = archived(other, tmp_path / "again.tar")
    assert again["manifest"] == found["manifest"]
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "image.tar").read_bytes()


def test_another_root_has_another_id(found: dict[str, Any], tmp_path: Path) -> None:
    other = archived(root_in(tmp_path / "b", more="text"), tmp_path / "b.tar")
    assert other["manifest"]["Config"] != found["manifest"]["Config"]


def test_another_key_has_another_tag(tmp_path: Path) -> None:
    one, other = (image_at(tmp_path, key) for key in "ab")
    assert container_tag(one) != container_tag(other)
    assert container_tag(one).startswith("pibench/root:")


def test_files_are_root_s_and_tmp_is_everybody_s(found: dict[str, Any]) -> None:
    members = found["members"]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members.values()} == {
        (0, 0, "root", "root", 0)
    }
    assert members["./usr/bin/caffe"].mode == 0o755
    # A tmpfs that is mounted there takes over its mode.
    assert members["./tmp"].mode == 0o1777
    assert members["./lib"].linkname == "usr/lib"
