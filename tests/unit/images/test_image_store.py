"""Images are whole or not there: builders at once, broken builds, changed bytes, pruning."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pibench.errors import HostError
from pibench.images import store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY, LOCK = "ab" * 32, "cd" * 32


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(folder))
    return folder


def builds(text: str = "built") -> Callable[[Path, Path], None]:
    def build(content: Path, work: Path) -> None:
        (work / "package.deb").write_text("scratch")
        (content / "root").mkdir()
        (content / "root" / "file").write_text(text)
        (content / "root" / "link").symlink_to("file")

    return build


def never(_content: Path, _work: Path) -> None:
    pytest.fail("it was built again")


def ensure(kind: str = "vm", key: str = KEY) -> store.Image:
    return store.ensure(kind, key, LOCK, builds())[0]


def test_an_image_is_built_once_and_found_again(cache: Path) -> None:
    image, built = store.ensure("vm", KEY, LOCK, builds())
    assert built
    assert image.path == cache / "images" / f"vm-{KEY[:16]}"
    assert (image.content / "root/file").read_text() == "built"
    assert sorted(path.name for path in image.path.iterdir()) == ["content", "manifest.json"]
    assert (image.size_bytes, image.lock_sha256) == (5, LOCK)
    assert store.ensure("vm", KEY, LOCK, never) == (image, False)
    assert list(store.images()) == [image]
    assert store.find("twin", KEY) is None


def test_two_builders_at_once_build_once() -> None:
    count: list[int] = []
    together = threading.Barrier(2)

    def slowly(content: Path, _work: Path) -> None:
        count.append(1)
        time.sleep(0.2)
        (content / "file").write_text("built")

    seen: list[tuple[store.Image, bool]] = []

    def builder() -> None:
        together.wait()
        seen.append(store.ensure("vm", KEY, LOCK, slowly))

    threads = [threading.Thread(target=builder) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(count) == 1
    assert sorted(built for _, built in seen) == [False, True]
    assert seen[0][0] == seen[1][0]


@pytest.mark.parametrize("error", [HostError("no"), OSError(28, "No space"), KeyboardInterrupt()])
def test_a_build_that_breaks_leaves_nothing(error: BaseException, cache: Path) -> None:
    def breaks(content: Path, _work: Path) -> None:
        (content / "half").write_text("a file")
        raise error

    with pytest.raises((HostError, KeyboardInterrupt)) as caught:
        store.ensure("vm", KEY, LOCK, breaks)
    if isinstance(error, OSError):
        assert "No space" in str(caught.value)
        assert "PIBENCH_CACHE_DIR" in getattr(caught.value, "hint", "")
    assert store.find("vm", KEY) is None
    assert [path for path in (cache / "images").iterdir() if path.is_dir()] == []
    assert store.ensure("vm", KEY, LOCK, builds())[1]


BUILDER = """
    import os, sys, time
    from pibench.images import store
    def build(content, work):
        (content / "half").write_text("a file")
        print("building", flush=True)
        time.sleep(60)
    store.ensure("vm", sys.argv[1], "cd" * 32, build)
"""


@pytest.fixture
def other_builder() -> Iterator[subprocess.Popen[bytes]]:
    """Another process that is in the middle of building the same image."""
    builder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BUILDER), KEY], stdout=subprocess.PIPE
    )
    assert builder.stdout is not None
    assert builder.stdout.readline() == b"building\n"
    yield builder
    builder.kill()
    builder.communicate()


def test_the_partial_of_a_dead_builder_is_swept(
    other_builder: subprocess.Popen[bytes], cache: Path
) -> None:
    other_builder.kill()
    other_builder.wait()
    assert (cache / "images" / f".partial-vm-{KEY[:16]}" / "content" / "half").exists()
    assert store.find("vm", KEY) is None
    assert not (ensure().content / "half").exists()
    assert not list((cache / "images").glob(".partial-*"))


def test_pruning_keeps_what_is_being_built_and_what_is_current(
    other_builder: subprocess.Popen[bytes], cache: Path
) -> None:
    current, old = ensure("twin"), ensure("twin", "ef" * 32)
    other = ensure("sysroot")
    partial = cache / "images" / f".partial-vm-{KEY[:16]}"
    assert store.prune({("twin", KEY), ("vm", KEY)}) == [other.path, old.path]
    assert list(store.images()) == [current]
    assert partial.exists()

    other_builder.kill()
    other_builder.wait()
    assert store.prune({("twin", KEY), ("vm", KEY)}) == [partial]
    assert store.prune(set()) == [current.path]


def test_pruning_an_empty_cache_removes_nothing() -> None:
    assert store.prune(set()) == []
    assert list(store.images()) == []


def changed_byte(content: Path) -> None:
    (content / "root/file").write_text("bui1t")


def removed_file(content: Path) -> None:
    (content / "root/file").unlink()


def added_file(content: Path) -> None:
    (content / "root/more").touch()


def other_link(content: Path) -> None:
    (content / "root/link").unlink()
    (content / "root/link").symlink_to("/etc/passwd")


@pytest.mark.parametrize("change", [changed_byte, removed_file, added_file, other_link])
def test_verifying_notices_every_change(change: Callable[[Path], None]) -> None:
    image = ensure()
    assert store.verify(image)
    change(image.content)
    assert not store.verify(image)


@pytest.mark.parametrize("change", [changed_byte, removed_file])
def test_a_damaged_image_is_discarded(change: Callable[[Path], None]) -> None:
    image = ensure()
    assert store.discard_damaged([image]) == []
    change(image.content)
    of_size = ["vm"] if change is removed_file else []
    assert store.discard_damaged([image], by_size=True) == of_size
    assert store.discard_damaged([image]) == ["vm"]
    assert store.find("vm", KEY) is None


@pytest.mark.parametrize(
    "manifest",
    ["", "{", "[]", "{}", '{"kind": "vm"}', "[" * 100_000, {"size_bytes": "x"}, {"created": 1}],
)
def test_a_folder_without_a_whole_manifest_is_not_an_image(manifest: str | dict[str, Any]) -> None:
    image = ensure()
    path = image.path / "manifest.json"
    if isinstance(manifest, dict):
        manifest = json.dumps(json.loads(path.read_text()) | manifest)
    path.write_text(manifest)
    assert store.find("vm", KEY) is None
    assert list(store.images()) == []
    assert ensure().content_sha256 == image.content_sha256


def test_a_dead_builders_child_that_still_writes_disturbs_no_build(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = cache / "images" / f".partial-vm-{KEY[:16]}"
    (partial / "content").mkdir(parents=True)
    real = shutil.rmtree

    def refilled(path: Path, ignore_errors: bool = False) -> None:
        if "~" in path.name:
            # Directory not empty: an error that rmtree itself meets and passes over.
            assert ignore_errors
            return
        real(path, ignore_errors=ignore_errors)

    with monkeypatch.context() as while_it_writes:
        while_it_writes.setattr(shutil, "rmtree", refilled)
        image, built = store.ensure("vm", KEY, "1" * 64, lambda _, __: None)
    assert built
    assert list(image.content.iterdir()) == []
    left = partial.with_name(f"{partial.name}~{os.getpid()}")
    assert left.exists()
    assert store.prune({("vm", KEY)}) == [left]


def test_a_partial_is_not_an_image_even_when_its_manifest_is_written(cache: Path) -> None:
    image = ensure()
    image.path.rename(cache / "images" / f".partial-{image.path.name}")
    assert list(store.images()) == []


def test_a_cache_that_cannot_be_written_is_reported(cache: Path) -> None:
    cache.write_text("a file where the folder would be")
    with pytest.raises(HostError, match=r"the cache directory .* cannot be written") as caught:
        ensure()
    assert caught.value.hint == "choose another one: PIBENCH_CACHE_DIR=DIR"
