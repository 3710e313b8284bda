"""What images are made of: apt's answers, recipe and lock, modules, archive, disks, keys."""

from __future__ import annotations

import gzip
import json
import shutil
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench import settings
from pibench.errors import HostError, InvalidInputError
from pibench.images import blas, build, carried, initrd, recipe
from pibench.images.apt import Apt, Package, package_of
from pibench.images.build import Builder, make_disk
from pibench.process import Completed, run
from pibench.settings import asset
from pibench.targets.vm.machine import partition_table, write_card

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20

# ---------------------------------------------------------------- apt


@pytest.mark.parametrize(
    ("line", "package"),
    [
        (
            (
                "'http://mirror.example/debian/pool/main/c/caffe/caffe_1.0.0%2bgit20180821.99bd997-8"
                "%2bb2_arm64.deb' caffe_1.0.0+git20180821.99bd997-8+b2_arm64.deb 101548 SHA256:57"
            ),
            (
                "caffe",
                "1.0.0+git20180821.99bd997-8+b2",
                "pool/main/c/caffe/caffe_1.0.0+git20180821.99bd997-8+b2_arm64.deb",
                101548,
            ),
        ),
        (
            "'http://h/pool/main/b/b.deb' busybox-static_1%3a1.30.1-6+b3_arm64.deb 900 SHA256:2b",
            ("busybox-static", "1:1.30.1-6+b3", "pool/main/b/b.deb", 900),
        ),
    ],
)
def test_a_package_of_print_uris(line: str, package: tuple[str, str, str, int]) -> None:
    found = package_of(line)
    assert (found.name, found.version, found.path, found.size_bytes) == package
    assert isinstance(found, Package)


def check(stderr: str, returncode: int = 100) -> None:
    apt = Apt(Path("home"), recipe.load_recipe(), "arm64")
    apt.check(Completed(argv=("apt-get",), returncode=returncode, stdout="", stderr=stderr))


def test_other_complaints_of_apt_are_passed_on() -> None:
    with pytest.raises(HostError, match="for arm64: E: Could not resolve") as caught:
        check("E: Could not resolve 'mirror'\nE: Second\n")
    assert "pibench image load FILE" in (caught.value.hint or "")
    with pytest.raises(HostError, match="for arm64: killed by somebody"):
        check("killed by somebody\n")


def test_an_update_that_fetched_nothing_and_ended_with_0_is_noticed() -> None:
    with pytest.raises(HostError, match="Failed to fetch http://m"):
        check("W: Failed to fetch http://m/InRelease  Could not resolve 'm'\n", returncode=0)
    check("W: Download is performed unsandboxed as root\n", returncode=0)


# ---------------------------------------------------------------- recipe and lock


def test_recipe_and_lock_of_the_repository_agree() -> None:
    made, lock = recipe.load_recipe(), recipe.load_lock()
    for architecture in recipe.ARCHITECTURES:
        names = {package.name for package in lock.packages[architecture]}
        assert set(made.roots(architecture)) - made.leave_out <= names
        assert not made.leave_out & names
        assert all(len(package.sha256) == 64 for package in lock.packages[architecture])
    assert lock.digest("arm64") != lock.digest("amd64")


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The assets as a copy that a test may change."""
    for folder in ("docker", "qemu"):
        shutil.copytree(asset(folder), tmp_path / folder)
    for module in (recipe, build, carried, blas):
        monkeypatch.setattr(module, "asset", lambda relative: tmp_path / relative)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"packages": {"arm64": []}}', '{"packages": {"arm64": [{"name": "a"}]}}'],
)
def test_a_broken_lock_is_named(text: str, copied: Path) -> None:
    (copied / "docker/rootfs.lock.json").write_text(text)
    with pytest.raises(HostError, match=r"rootfs\.lock\.json is not a lock") as caught:
        recipe.load_lock()
    assert caught.value.hint == "create it again: pibench image lock"


def test_a_lock_that_is_written_is_the_one_that_is_read(copied: Path) -> None:
    lock = recipe.load_lock()
    before = (copied / "docker/rootfs.lock.json").read_bytes()
    recipe.write_lock(
        {name: entries[::-1] for name, entries in lock.packages.items()}, lock.suite_date
    )
    assert (copied / "docker/rootfs.lock.json").read_bytes() == before


KINDS = ("twin", "sysroot", "vm", "carried", "blas-arm64", "blas-amd64")


def append(relative: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / relative).open("a") as file:
            file.write("\n# changed\n")

    return change


def relock(architecture: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "docker/rootfs.lock.json"
        content = json.loads(path.read_text())
        content["packages"][architecture][0]["sha256"] = "0" * 64
        path.write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (append("docker/rootfs.toml"), set(KINDS)),
        (relock("arm64"), {"sysroot", "vm", "carried"}),
        (append("docker/carried.toml"), {"carried"}),
        (relock("amd64"), {"twin"}),
        (append("qemu/init"), {"vm"}),
        (append("qemu/blas/memory_only_blas.c"), {"blas-arm64", "blas-amd64"}),
        (append("qemu/blas/memory_only_loops.c"), {"blas-arm64", "blas-amd64"}),
        (append("qemu/blas/page_touch.h"), {"blas-arm64", "blas-amd64"}),
        (append("qemu/blas/check/pooling.prototxt"), {"blas-arm64", "blas-amd64"}),
        (append("qemu/blas/README.md"), set()),
    ],
    ids=[
        *("recipe", "lock arm64", "carried", "lock amd64", "init"),
        *("blas", "loops", "header", "check", "readme"),
    ],
)
def test_what_an_image_is_made_of_is_in_its_key(
    change: Callable[[Path], None], kinds: set[str], copied: Path
) -> None:
    before = {kind: Builder().key(kind) for kind in KINDS}
    assert len(set(before.values())) == len(KINDS)
    change(copied)
    after = {kind: Builder().key(kind) for kind in KINDS}
    assert {kind for kind in KINDS if before[kind] != after[kind]} == kinds


def test_the_tier_of_memory_only_compute_is_in_the_key_of_its_blas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = ("blas-arm64", "blas-amd64", "sysroot")
    before = [Builder().key(kind) for kind in kinds]
    monkeypatch.setenv("PIBENCH_MEMORY_ONLY_TIER", "loops")
    assert [Builder().key(kind) for kind in kinds] == before
    monkeypatch.setenv("PIBENCH_MEMORY_ONLY_TIER", "blas")
    after = [Builder().key(kind) for kind in kinds]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, True]
    monkeypatch.setenv("PIBENCH_MEMORY_ONLY_TIER", "all")
    with pytest.raises(InvalidInputError, match="there is no such tier"):
        Builder().key("blas-arm64")


def test_there_is_no_key_for_an_unknown_kind() -> None:
    with pytest.raises(HostError, match="unknown image floppy"):
        Builder().key("floppy")


# ---------------------------------------------------------------- settings and assets


def test_settings_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", "~/images")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.cache_dir() == tmp_path / "images"
    monkeypatch.delenv("PIBENCH_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert settings.cache_dir() == tmp_path / "xdg" / "pibench"
    monkeypatch.setenv("PIBENCH_DEBIAN_MIRROR", "")
    assert settings.debian_mirror() is None


def test_a_missing_asset_is_named() -> None:
    with pytest.raises(HostError, match="the file qemu/none is missing"):
        asset("qemu/none")


# ---------------------------------------------------------------- initial RAM disk


def module(folder: Path, name: str, depends: str | None) -> Path:
    path = folder / "lib/modules/5.10/kernel" / f"{name}.ko"
    path.parent.mkdir(parents=True, exist_ok=True)
    info = b"" if depends is None else b"license=GPL\0depends=" + depends.encode() + b"\0name=x\0"
    path.write_bytes(b"\x7fELF\0" + info)
    return path


@pytest.mark.parametrize(
    ("depends", "names"),
    [(None, []), ("", []), ("mbcache", ["mbcache"]), ("mbcache,jbd2", ["mbcache", "jbd2"])],
)
def test_what_a_module_depends_on(depends: str | None, names: list[str], tmp_path: Path) -> None:
    assert initrd.depends(module(tmp_path, "ext4", depends)) == names


def test_modules_come_after_what_they_need_and_once(tmp_path: Path) -> None:
    # Files are named with a hyphen where the modules' own names have an underscore.
    for name, depends in [
        ("ext4", "mbcache,jbd2"),
        ("jbd2", "crc32c_generic"),
        ("mbcache", ""),
        ("crc32c-generic", ""),
        ("unwanted", ""),
    ]:
        module(tmp_path, name, depends)
    wanted = ("ext4", "crc32c_generic")
    found = [path.stem for path in initrd.module_files(tmp_path, "5.10", wanted)]
    assert found == ["mbcache", "crc32c-generic", "jbd2", "ext4"]
    with pytest.raises(HostError, match=r"the kernel 5\.10 has no module virtio_blk"):
        initrd.module_files(tmp_path, "5.10", ("virtio_blk",))


def entries_of(archive: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Mode, content and device of each entry, read as the kernel's documentation has it."""
    found, place = {}, 0
    while True:
        assert archive[place : place + 6] == b"070701"
        fields = [int(archive[place + 6 + 8 * i : place + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[place + 110 : place + 110 + name_size]
        assert name[-1:] == b"\0"
        start = place + 110 + name_size
        start += -start % 4
        if name == b"TRAILER!!!\0":
            return found
        device = (fields[9], fields[10])
        found[name[:-1].decode()] = (mode, archive[start : start + size], device)
        place = start + size + -(start + size) % 4


def test_the_archive_unpacks(tmp_path: Path) -> None:
    (tmp_path / "init").write_bytes(b"#!/bin/busybox sh\n")
    (tmp_path / "busybox").write_bytes(b"\x7fELF" + bytes(range(256)) * 3)
    modules = [module(tmp_path, name, "") for name in ("zeta", "alpha")]
    target = tmp_path / "initrd.gz"
    initrd.write_initrd(
        target, init=tmp_path / "init", busybox=tmp_path / "busybox", modules=modules
    )
    archive = gzip.decompress(target.read_bytes())
    found = entries_of(archive)
    assert found["init"] == (stat.S_IFREG | 0o755, b"#!/bin/busybox sh\n", (0, 0))
    assert found["bin/busybox"][1] == (tmp_path / "busybox").read_bytes()
    assert found["dev/console"] == (stat.S_IFCHR | 0o600, b"", (5, 1))
    # In the order in which the guest's shell loads them.
    assert sorted(name for name in found if name.startswith("modules/")) == [
        "modules/00-zeta.ko",
        "modules/01-alpha.ko",
    ]
    assert all(stat.S_ISDIR(found[name][0]) for name in ("bin", "dev", "proc", "sys", "root"))
    if shutil.which("cpio"):
        names = run(["sh", "-c", f"zcat {target} | cpio -t"], deadline_s=10).stdout.split()
        assert names == list(found)


def test_the_same_parts_make_the_same_archive(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        path = tmp_path / name
        initrd.write_initrd(path, init=asset("qemu/init"), busybox=asset("qemu/init"), modules=[])
        made.append(path.read_bytes())
    assert made[0] == made[1]


# ---------------------------------------------------------------- disks


def debugfs(disk: Path, command: str) -> str:
    program = shutil.which("debugfs") or shutil.which("debugfs", path="/usr/sbin:/sbin")
    if program is None:
        pytest.skip("debugfs is not installed")
    return run([program, "-R", command, disk], deadline_s=20).stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "0.prototxt").write_text('name: "A"\n')
    (folder / "link").symlink_to("models/0.prototxt")
    return folder


def test_a_disk_contains_the_folder(source: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.ext4"
    make_disk(source, disk)
    assert debugfs(disk, "cat models/0.prototxt") == 'name: "A"\n'
    assert "models/0.prototxt" in debugfs(disk, "stat link")
    features = debugfs(disk, "stats").partition("Filesystem features:")[2].partition("\n")[0]
    assert "extent" in features
    # The guest mounts it read-only.
    assert "has_journal" not in features


def test_many_small_files_find_their_place(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1000):
        (folder / f"file{number}").write_text("x")
    disk = tmp_path / "disk.ext4"
    make_disk(folder, disk)
    assert debugfs(disk, "cat file999") == "x"


def partitions_of(sector: bytes) -> list[tuple[int, int]]:
    """Start and size in bytes of a master boot record's partitions, of type Linux."""
    assert len(sector) == 512
    assert sector[510:] == b"\x55\xaa"
    found = []
    for number in range(4):
        entry = sector[446 + 16 * number : 462 + 16 * number]
        start, count = struct.unpack("<II", entry[8:])
        if count:
            assert entry[4] == 0x83
            found.append((start * 512, count * 512))
    return found


def test_the_partition_table_is_a_master_boot_record(tmp_path: Path) -> None:
    sector = partition_table([(MIB, 5 * MIB), (8 * MIB, 1000)])
    assert partitions_of(sector) == [(MIB, 5 * MIB), (8 * MIB, 1024)]
    sfdisk = shutil.which("sfdisk") or shutil.which("sfdisk", path="/usr/sbin:/sbin")
    if sfdisk:
        disk = tmp_path / "disk"
        disk.write_bytes(sector.ljust(16 * MIB, b"\0"))
        output = run([sfdisk, "-d", disk], deadline_s=10).stdout.replace(" ", "")
        assert "start=2048,size=10240,type=83" in output
        assert "start=16384,size=2,type=83" in output


def test_the_card_contains_root_and_job_and_has_a_size_that_qemu_takes(
    source: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "os-release").write_text("Debian 11\n")
    make_disk(root, tmp_path / "root.ext4")
    card = tmp_path / "card.img"
    write_card(card, tmp_path / "root.ext4", source)
    size = card.stat().st_size
    assert size & (size - 1) == 0
    with card.open("rb") as file:
        (first, first_size), (second, second_size) = partitions_of(file.read(512))
        assert first + first_size <= second
        assert second + second_size <= size
        file.seek(first)
        assert file.read(first_size) == (tmp_path / "root.ext4").read_bytes()
        file.seek(second)
        (tmp_path / "job.ext4").write_bytes(file.read(second_size))
    assert debugfs(tmp_path / "job.ext4", "cat models/0.prototxt") == 'name: "A"\n'
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".job") == []
    # Holes: a card of 256 MiB is not as many on the disk.
    assert card.stat().st_blocks * 512 < 32 * MIB
