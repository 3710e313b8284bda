"""Images as one file: the same bytes each time, all or nothing, and no trust in what comes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from pibench.errors import HostError, InvalidInputError, PibenchError
from pibench.images import image_file, store
from pibench.images.archive import directory, link, member

LOCK = "cd" * 32
KEYS = {"sysroot": "ab" * 32, "vm": "12" * 32}
NOISE = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(256)) * 2
"""Not to be compressed: in runs of zeros a changed byte of the file can mean the same."""
NAME = f"sysroot-{KEYS['sysroot'][:16]}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_cache(tmp_path / "cache", monkeypatch)


def use_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(folder))
    return folder


def build_root(content: Path, _work: Path) -> None:
    (content / "root/bin").mkdir(parents=True)
    (content / "root/empty").mkdir()
    (content / "root/bin/caffe").write_bytes(b"\x7fELF" + NOISE)
    (content / "root/bin/caffe").chmod(0o755)
    (content / "root" / ("long" * 40)).write_text("a name longer than a tar header has room for")
    (content / "root/link").symlink_to("bin/caffe")
    (content / "root/up").symlink_to("../kernel/vmlinuz")
    (content / "root/absolute").symlink_to("/etc/passwd")
    (content / "kernel").mkdir()
    (content / "kernel/vmlinuz").write_bytes(NOISE[:1000])


def build_disk(content: Path, _work: Path) -> None:
    (content / "root.ext4").write_bytes(NOISE[::-1])
    (content / "release").write_text("5.10\n")


def built() -> list[store.Image]:
    return [
        store.ensure(kind, KEYS[kind], LOCK, build)[0]
        for kind, build in (("vm", build_disk), ("sysroot", build_root))
    ]


def saved(images: list[store.Image] | None = None) -> bytes:
    stream = io.BytesIO()
    image_file.save(images or built(), stream, lambda _done, _total: None)
    return stream.getvalue()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Both images as a file, made in a cache that is not the one to load into."""
    use_cache(tmp_path / "maker", monkeypatch)
    content = saved()
    use_cache(tmp_path / "cache", monkeypatch)
    return content


def load(content: bytes, keys: dict[str, str] | None = None) -> dict[str, str]:
    """What became of each kind."""
    expected = KEYS if keys is None else keys
    loading = image_file.load(
        Path("images.tar.gz"), io.BytesIO(content), expected.get, lambda _done, _total: None
    )
    return {one.kind: one.state for one in loading.images}


def shape_of(folder: Path) -> dict[str, tuple[int, str | bytes | None]]:
    """Mode and content of everything below a folder."""
    return {
        path.relative_to(folder).as_posix(): (
            path.lstat().st_mode,
            str(path.readlink())
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else None,
        )
        for path in sorted(folder.rglob("*"))
    }


def folders(cache: Path) -> list[str]:
    """What a load left in the cache besides locks."""
    return [path.name for path in (cache / "images").glob("*") if path.suffix != ".lock"]


# ---------------------------------------------------------------- whole files


def test_what_is_loaded_is_what_was_saved(file: bytes, tmp_path: Path, cache: Path) -> None:
    assert load(file) == {"sysroot": "added", "vm": "added"}
    assert shape_of(cache / "images" / NAME) == shape_of(tmp_path / "maker/images" / NAME)
    assert sorted(folders(cache)) == [NAME, f"vm-{KEYS['vm'][:16]}"]
    images = list(store.images())
    assert all(store.verify(image) for image in images)
    # Nothing is built again, and a file made of the loaded images is the same file.
    assert [image.key for image in built()] == [KEYS["vm"], KEYS["sysroot"]]
    assert saved(images) == file
    assert load(file) == {"sysroot": "present", "vm": "present"}
    assert saved(images[::-1]) == file


def test_the_kind_of_an_engine_s_image_has_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, key = "litert-2.1.0-arm64", "ef" * 32
    use_cache(tmp_path / "maker", monkeypatch)
    content = saved([store.ensure(kind, key, LOCK, build_disk)[0]])
    use_cache(tmp_path / "cache", monkeypatch)
    assert load(content, {kind: key}) == {kind: "added"}


def test_an_image_of_another_key_is_left_out_and_named(file: bytes, cache: Path) -> None:
    assert load(file, {"sysroot": "ef" * 32, "vm": KEYS["vm"]}) == {
        "sysroot": "other",
        "vm": "added",
    }
    assert folders(cache) == [f"vm-{KEYS['vm'][:16]}"]
    # A kind that this pibench does not have.
    assert load(file, {"sysroot": KEYS["sysroot"]}) == {"sysroot": "added", "vm": "other"}


def test_an_image_that_is_there_stays_as_it_is(file: bytes) -> None:
    image = store.ensure(
        "sysroot", KEYS["sysroot"], LOCK, lambda content, _: (content / "mine").touch()
    )[0]
    assert load(file) == {"sysroot": "present", "vm": "added"}
    assert [path.name for path in image.content.iterdir()] == ["mine"]


def test_progress_is_in_bytes_and_ends_at_the_total(file: bytes) -> None:
    seen: list[tuple[int, int]] = []
    image_file.load(
        Path("f"), io.BytesIO(file), KEYS.get, lambda done, total: seen.append((done, total))
    )
    total = sum(image.size_bytes for image in store.images())
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


def test_two_loads_at_once_add_each_image_once(file: bytes) -> None:
    together = threading.Barrier(2)
    seen: list[dict[str, str]] = []

    def loader() -> None:
        together.wait()
        seen.append(load(file))

    threads = [threading.Thread(target=loader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(states["vm"] for states in seen) == ["added", "present"]
    assert all(store.verify(image) for image in store.images())


def test_a_changed_image_is_not_saved() -> None:
    images = built()
    (images[0].content / "release").write_text("5.11\n")
    with pytest.raises(HostError, match="differs from what was built") as fault:
        saved(images)
    assert "pibench image build vm" in (fault.value.hint or "")


# ---------------------------------------------------------------- damaged files


def refused(content: bytes, cache: Path) -> str:
    """The line for a file that is refused; and nothing of it may be in the cache."""
    with pytest.raises(InvalidInputError) as caught:
        load(content)
    line = caught.value.line()
    assert line.startswith("images.tar.gz: ")
    assert "\n" not in line
    assert not (cache / "images").exists() or folders(cache) == []
    return line


@pytest.mark.parametrize("part", [0, 1, 9, 100, 0.3, 0.9, -9, -1])
def test_a_file_that_ends_early_loads_nothing(part: float, file: bytes, cache: Path) -> None:
    end = int(part * len(file)) if isinstance(part, float) else part
    refused(file[:end], cache)


def test_no_flipped_byte_is_taken(file: bytes, cache: Path) -> None:
    # gzip's header has a time and an operating system, which mean nothing here.
    for place in range(10, len(file), len(file) // 50):
        refused(file[:place] + bytes([file[place] ^ 0x10]) + file[place + 1 :], cache)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b""), gzip.compress(b"x")],
    ids=["empty", "text", "packed nothing", "packed text"],
)
def test_what_is_not_an_archive_is_refused(content: bytes, cache: Path) -> None:
    assert "a file that pibench image save wrote" in refused(content, cache)


def test_an_archive_of_something_else_is_refused(cache: Path) -> None:
    assert "is not an image file" in refused(packed([(member("other", size_bytes=1), b"x")]), cache)


def test_what_follows_the_archive_is_bounded(file: bytes, cache: Path) -> None:
    assert "more than its headers" in refused(file + gzip.compress(bytes(1 << 24)), cache)


# ---------------------------------------------------------------- hostile files

Member = tuple[tarfile.TarInfo, bytes]


def packed(members: list[Member], *, form: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def manifest(*, images: list[dict[str, Any]] | None = None, **changes: Any) -> Member:
    entry = {
        "kind": "sysroot",
        "key": KEYS["sysroot"],
        "created": "2026-01-01T00:00:00+00:00",
        "content_sha256": "0" * 64,
        "size_bytes": 100,
        "lock_sha256": LOCK,
        "entries": 5,
    }
    whole = {
        "format": 1,
        "pibench_version": "9.9",
        "architecture": "x86_64",
        "images": [entry | change for change in (images or [{}])],
    }
    text = json.dumps(whole | changes).encode()
    return member("pibench-images.json", size_bytes=len(text)), text


def plain(name: str, content: bytes = b"x") -> Member:
    return member(name, size_bytes=len(content)), content


def special(name: str, kind: bytes, target: str = "") -> Member:
    info = member(name)
    info.type, info.linkname = kind, target
    return info, b""


def sparse() -> Member:
    info = member(f"{NAME}/holes", size_bytes=512)
    info.type = tarfile.GNUTYPE_SPARSE
    return info, bytes(512)


def to(name: str, target: str) -> Member:
    return link(f"{NAME}/{name}", target), b""


HOSTILE: dict[str, list[Member]] = {
    "a name that climbs": [plain(f"{NAME}/../../../outside")],
    "a name that climbs in the middle": [plain(f"{NAME}/root/../../../outside")],
    "a name of no image": [plain("../outside")],
    "an absolute name": [plain("/outside")],
    "an absolute name in an image": [plain(f"{NAME}//outside")],
    "another image": [plain("vm-0000000000000000/file")],
    "the image's own folder": [plain(NAME)],
    "its manifest's place": [plain(f"{NAME}/../manifest.json")],
    "a link that climbs": [to("root/a", "../../../outside")],
    "an absolute link beside a root": [to("a", "/outside")],
    "a file through a link": [to("root/a", "/var"), plain(f"{NAME}/root/a/outside")],
    "a file over a link": [to("root/a", "/outside"), plain(f"{NAME}/root/a")],
    "a folder through a link": [
        (directory(f"{NAME}/root"), b""),
        to("b", "root"),
        plain(f"{NAME}/b/outside"),
    ],
    "a file twice": [plain(f"{NAME}/a"), plain(f"{NAME}/a")],
    "a file below a file": [plain(f"{NAME}/a"), plain(f"{NAME}/a/b")],
    "a hard link": [special(f"{NAME}/a", tarfile.LNKTYPE, "/etc/passwd")],
    "a device": [special(f"{NAME}/a", tarfile.CHRTYPE)],
    "a pipe": [special(f"{NAME}/a", tarfile.FIFOTYPE)],
    "a file with holes": [sparse()],
    "more bytes than declared": [plain(f"{NAME}/a", b"x" * 101)],
    "more entries than declared": [plain(f"{NAME}/{number}") for number in range(6)],
    "a name too long for a file system": [plain(f"{NAME}/" + "x" * 300)],
    "a header beyond all bounds": [plain(f"{NAME}/" + "x" * (1 << 20))],
    "a name that is not text": [plain(f"{NAME}/\udcff")],
    "other content": [plain(f"{NAME}/root/file")],
    "no content": [],
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_a_hostile_file_leaves_nothing(case: str, form: int, tmp_path: Path, cache: Path) -> None:
    before = sorted(tmp_path.iterdir())
    refused(packed([manifest(), *HOSTILE[case]], form=form), cache)
    assert [path for path in sorted(tmp_path.iterdir()) if path not in before] in ([], [cache])
    assert not Path("/outside").exists()
    assert not Path("/var/outside").exists()


@pytest.mark.parametrize(
    "text",
    [
        manifest(images=[{"kind": "../vm"}]),
        manifest(images=[{"kind": "vm\n"}]),
        manifest(images=[{"kind": ".."}]),
        manifest(images=[{"key": "../" + "a" * 61}]),
        manifest(images=[{"key": 5}]),
        manifest(images=[{"size_bytes": -1}]),
        manifest(images=[{"size_bytes": 1 << 50}]),
        manifest(images=[{"entries": 10**9}]),
        manifest(images=[{"created": "yesterday"}]),
        manifest(images=[{"path": "/outside"}]),
        manifest(images=[{}, {}]),
        manifest(images=[{}, {"key": KEYS["sysroot"][:16] + "0" * 48}]),
        manifest(images=[{"key": f"{number:064x}"} for number in range(100)]),
        manifest(more="x"),
        plain("pibench-images.json", b"{"),
        plain("pibench-images.json", b"[]"),
        plain("pibench-images.json", b" " * (1 << 21)),
    ],
)
def test_a_manifest_that_save_does_not_write_is_refused(text: Member, cache: Path) -> None:
    assert "pibench-images.json: " in refused(packed([text]), cache)


def test_a_later_format_names_the_pibench_that_wrote_it(cache: Path) -> None:
    line = refused(packed([manifest(format=2)]), cache)
    assert "format 2;" in line
    assert line.endswith("use pibench 9.9, which wrote it")


def test_modes_are_two_and_none_of_them_is_setuid(cache: Path) -> None:
    info, content = plain(f"{NAME}/root/su")
    info.mode = 0o4777
    (cache / "by-hand/root").mkdir(parents=True)
    (cache / "by-hand/root/su").write_bytes(content)
    sha256, size_bytes = store.tree_sha256(cache / "by-hand")
    entry = {"content_sha256": sha256, "size_bytes": size_bytes}
    assert load(packed([manifest(images=[entry]), (info, content)])) == {"sysroot": "added"}
    assert (cache / "images" / NAME / "content/root/su").stat().st_mode & 0o7777 == 0o755


def test_a_cache_without_room_is_named_before_anything_is_written(cache: Path) -> None:
    largest = image_file.MOST_IMAGE_BYTES
    images = [{"kind": f"k-{number}", "size_bytes": largest} for number in range(64)]
    if shutil.disk_usage(cache.parent).free > 64 * largest:
        pytest.skip("this disk has room for all that a file may declare")
    file = packed([manifest(images=images)])
    with pytest.raises(PibenchError, match="MB free"):
        image_file.load(Path("f"), io.BytesIO(file), lambda _: KEYS["sysroot"], lambda _d, _t: None)
    assert folders(cache) == []
