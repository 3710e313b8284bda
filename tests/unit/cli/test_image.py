"""`pibench image save` and `load`: files, pipes, exit codes, and interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench.images import store
from pibench.images.build import Builder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.cli.conftest import Pibench

OTHER_KEY = "ef" * 32
PIBENCH = (sys.executable, "-m", "pibench")


def build(content: Path, _work: Path) -> None:
    (content / "root").mkdir()
    # Not to be compressed, and longer than a pipe's buffer.
    (content / "root/file").write_bytes(os.urandom(1 << 20))


def make(kind: str, key: str = "") -> store.Image:
    return store.ensure(kind, key or Builder().key(kind), "cd" * 32, build)[0]


def in_cache(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path / name))
    return tmp_path / name / "images"


@pytest.fixture
def file(pibench: Pibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of twin and vm, made in another cache than the one to load into."""
    in_cache("maker", monkeypatch, tmp_path)
    make("twin")
    make("vm")
    pibench("image", "save", "images.tar.gz")
    in_cache("cache", monkeypatch, tmp_path)
    return tmp_path / "images.tar.gz"


def test_a_machine_without_packages_gets_its_images_from_a_file(
    pibench: Pibench, file: Path
) -> None:
    output = pibench("image", "load", file)
    assert [line.split()[0::4] for line in output.out.splitlines()] == [
        ["twin", "added"],
        ["vm", "added"],
    ]
    assert pibench("image", "verify").out.count("whole") == 2
    found = json.loads(pibench("image", "load", file, "--json").out)
    assert [(one["kind"], one["state"]) for one in found["images"]] == [
        ("twin", "present"),
        ("vm", "present"),
    ]


def test_all_that_is_current_is_saved_and_the_rest_by_name(
    pibench: Pibench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make("twin")
    make("vm")
    make("counter-1")
    make("guest", OTHER_KEY)
    old = make("twin", OTHER_KEY)
    found = json.loads(pibench("image", "save", "all", "--json").out)
    assert [(one["kind"], one["key"]) for one in found["images"]] == [
        ("twin", Builder().key("twin")),
        ("vm", Builder().key("vm")),
    ]
    found = json.loads(pibench("image", "save", "one", "vm", store.name_of(old), "--json").out)
    assert [one["key"] for one in found["images"]] == [OTHER_KEY, Builder().key("vm")]
    assert "no current image called sysroot" in pibench("image", "save", "s", "sysroot", code=2).err
    assert not Path("s").exists()

    in_cache("other", monkeypatch, tmp_path)
    result = pibench("image", "load", "one", code=1)
    key = Builder().key("twin")[:16]
    assert f"has key {OTHER_KEY[:16]}; this pibench" in result.out
    assert f"builds key {key}" in result.out
    assert [image.kind for image in store.images()] == ["vm"]


def test_an_empty_cache_has_nothing_to_save(pibench: Pibench) -> None:
    assert "no current images to save" in pibench("image", "save", "file", code=3).line
    assert not Path("file").exists()


def test_a_file_goes_through_pipes(file: Path, tmp_path: Path) -> None:
    # From one cache into another, with no file between them.
    maker = {**os.environ, "PIBENCH_CACHE_DIR": str(tmp_path / "maker")}
    with subprocess.Popen(
        [*PIBENCH, "image", "save", "-", "-q"], env=maker, stdout=subprocess.PIPE
    ) as saving:
        loaded = subprocess.run(
            [*PIBENCH, "image", "load", "-", "--json"],
            stdin=saving.stdout,
            capture_output=True,
            check=True,
        )
    assert saving.returncode == 0
    assert {one["state"] for one in json.loads(loaded.stdout)["images"]} == {"added"}
    again = subprocess.run(
        [*PIBENCH, "image", "save", "-", "-q"], capture_output=True, check=True
    ).stdout
    assert again == file.read_bytes()


def test_a_reader_that_ends_early_fails_the_save(file: Path, tmp_path: Path) -> None:
    assert file.exists()
    command = f"{sys.executable} -m pibench image save - -q | true; exit ${{PIPESTATUS[0]}}"
    maker = {**os.environ, "PIBENCH_CACHE_DIR": str(tmp_path / "maker")}
    done = subprocess.run(["bash", "-c", command], env=maker, capture_output=True, check=False)
    assert done.returncode == 3
    assert b"ended before it read all images" in done.stderr


def test_standard_output_is_for_one_thing(pibench: Pibench) -> None:
    make("vm")
    assert "--json goes there" in pibench("image", "save", "-", "--json", code=2).line


@pytest.mark.parametrize("name", ["none", "."])
def test_what_cannot_be_read_is_invalid_input(pibench: Pibench, name: str) -> None:
    assert pibench("image", "load", name, "-q", code=2).line.startswith(f"pibench: {name}: ")


@pytest.fixture
def loading(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A load that has got half of its file through a pipe, and waits for the rest."""
    content = file.read_bytes()
    with subprocess.Popen(
        [*PIBENCH, "image", "load", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as loader:
        assert loader.stdin is not None
        loader.stdin.write(content[: len(content) // 2])
        loader.stdin.flush()
        deadline = time.monotonic() + 20
        while not list(store.folder().glob(".partial-*/content/root/file")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield loader
        loader.kill()


def test_an_interrupted_load_leaves_nothing(loading: subprocess.Popen[bytes]) -> None:
    loading.send_signal(signal.SIGINT)
    assert loading.wait(20) == 130
    assert [path for path in store.folder().iterdir() if path.is_dir()] == []


def test_a_killed_load_is_not_an_image_and_the_next_one_loads(
    loading: subprocess.Popen[bytes], pibench: Pibench, file: Path
) -> None:
    loading.kill()
    loading.wait(20)
    assert list(store.images()) == []
    pibench("image", "load", file)
    assert all(store.verify(image) for image in store.images())
    assert len([path for path in store.folder().iterdir() if path.is_dir()]) == 2


def test_an_interrupted_save_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache("cache", monkeypatch, tmp_path)
    make("vm")
    (tmp_path / "images").write_text("as it was")
    saver = subprocess.Popen([*PIBENCH, "image", "save", tmp_path / "images"])
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob(".images.*")):
        assert saver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    saver.send_signal(signal.SIGINT)
    assert saver.wait(20) == 130
    assert (tmp_path / "images").read_text() == "as it was"
    assert list(tmp_path.glob(".images.*")) == []
