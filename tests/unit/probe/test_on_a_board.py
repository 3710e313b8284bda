"""What the probe finds out on a board by itself: Caffe, room, and where its own files lie."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from pibench.engines.caffe import CAFFE
from pibench.probe import check, programs, unpack
from pibench.targets.job import SYSTEM, Programs, root_programs


def settled(folder: str, *candidates: Programs, protocol: str = "caffe-time") -> dict[str, Any]:
    job = {
        "engine": "caffe",
        "trials": CAFFE.trials([protocol]),
        "programs": [candidate.as_json(CAFFE) for candidate in candidates],
        "items": [{"protocol": protocol}],
    }
    found: dict[str, Any] = programs.settle(job, folder)
    return found


@pytest.fixture
def script(tmp_path: Path):
    """Writes programs with the given behaviour, in a separate folder."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


# ---------------------------------------------------------------- programs


def test_paths_of_a_job_follow_its_folder() -> None:
    wanted = Programs(
        program=["{folder}/root/caffe"],
        python=["{python}", "-B"],
        env={"PYTHONHOME": "{folder}/root/usr"},
    )
    job = settled("/new place", wanted)
    assert job["program"] == ["/new place/root/caffe"]
    assert job["python"][0] == check.system_python()
    assert job["env"] == {"PYTHONHOME": "/new place/root/usr"}


def test_the_first_caffe_that_works_is_taken(script) -> None:
    broken = Programs(program=["/nowhere/caffe"], python=["true"], origin="system")
    good = Programs(program=[script("caffe", "exit 0")], python=["true"], lock="l" * 64)
    job = settled("/", broken, good)
    assert (job["origin"], job["lock"]) == ("root", "l" * 64)
    assert settled("/", good, broken)["origin"] == "root"


def test_pycaffe_counts_where_it_is_needed(script) -> None:
    caffe = script("caffe", "exit 0")
    bare = Programs(program=[caffe], python=[script("p", "exit 1")], origin="system")
    whole = Programs(program=[caffe], python=[script("q", "exit 0")])
    assert settled("/", bare, whole)["origin"] == "system"
    assert settled("/", bare, whole, protocol="inference")["origin"] == "root"


def test_candidates_run_in_their_own_environment(script) -> None:
    caffe = script("caffe", '[ "$MINE" = set ]')
    with_env = Programs(program=[caffe], python=["true"], env={"MINE": "set"})
    without = Programs(program=[caffe], python=["true"], origin="system")
    assert settled("/", without, with_env)["origin"] == "root"


def test_a_probe_without_any_caffe_states_why_for_each(tmp_path: Path, script) -> None:
    from pibench.targets.job import Libraries, write_job

    broken = Programs(
        program=[script("caffe", "echo libcaffe is missing; exit 127")], python=["true"]
    )
    job = write_job(tmp_path / "job", [], SYSTEM, Libraries(), otherwise=[broken])
    done = subprocess.run(
        [sys.executable, "-I", str(job.parent / "probe/run.py"), str(job)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/nowhere"},
    )
    event = json.loads(done.stdout.strip().split(" ", 2)[2])
    assert event == {
        "event": "unusable",
        "reasons": ["system: no caffe", "root: libcaffe is missing"],
    }


def test_a_copy_without_the_pipe_gets_it_back(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    programs.make_empty_model(str(tmp_path))
    programs.make_empty_model(str(tmp_path))
    assert (tmp_path / "models/none").is_fifo()


def test_the_root_s_programs_go_through_its_loader() -> None:
    found = root_programs("{folder}/root", "a" * 64)
    loader, option, path, program = found.program
    assert loader.startswith("{folder}/root/lib/aarch64-linux-gnu/ld-")
    assert (option, program) == ("--library-path", "{folder}/root/{program}")
    assert path.split(":")[0] == "{folder}/root/usr/lib/aarch64-linux-gnu/openblas-pthread"
    assert found.env["PYTHONHOME"] == "{folder}/root/usr"


# ---------------------------------------------------------------- the check

PI = {
    "architecture": "aarch64",
    "python": [3, 11, 2],
    "python_bits": 64,
    "board": "Raspberry Pi 3 Model B Rev 1.2",
    "memory_total_kib": 940_500,
    "memory_available_kib": 800_000,
    "folder": "/home/pi/.cache/pibench",
    "folder_complaint": None,
    "free_bytes": 8 << 30,
    "caffe_complaint": "no caffe",
    "root_is_there": False,
}
NEEDS = {
    "trials": [["caffe", "--version"]],
    "folder": "~/.cache/pibench",
    "job_bytes": 5_000_000,
    "root_bytes": 300 << 20,
    "root_key": "k",
}


def complaints(needs: dict[str, Any] | None = None, **changed: Any) -> list[str]:
    return [what for what, _ in check.problems(PI | changed, NEEDS | (needs or {}))]


def test_a_board_that_has_what_it_takes() -> None:
    assert complaints() == []


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"python": [3, 4, 2]}, "its Python is 3.4.2, and 3.5 is needed"),
        ({"python": [2, 7, 18]}, "its Python is 2.7.18, and 3.5 is needed"),
        (
            {"architecture": "armv7l", "python_bits": 32},
            (
                "its kernel is 32-bit (armv7l), and it has no usable Caffe of its own (no caffe): "
                "pibench's Caffe is for arm64"
            ),
        ),
        (
            {"architecture": "x86_64"},
            "it is not an arm64 machine (x86_64), and it has no usable Caffe of its own (no caffe)",
        ),
        (
            {"free_bytes": 100 << 20},
            "/home/pi/.cache/pibench has 100 MiB free, and 337 MiB are needed",
        ),
        (
            {"memory_available_kib": 90_000},
            "87 MiB of memory are available, and Caffe alone takes 160 MiB",
        ),
        (
            {"folder_complaint": "/home may not be written to"},
            "/home/pi/.cache/pibench cannot be used: /home may not be written to",
        ),
    ],
)
def test_what_a_board_lacks_is_one_line(changed: dict[str, Any], line: str) -> None:
    assert complaints(**changed) == [line]


def test_a_caffe_of_its_own_needs_neither_our_root_nor_its_room() -> None:
    # A 32-bit system of 2016 with Caffe built on it.
    old = {"architecture": "armv7l", "python_bits": 32, "python": [3, 5, 2]}
    assert complaints(caffe_complaint=None, free_bytes=100 << 20, **old) == []


def test_a_64_bit_kernel_under_32_bit_programs_runs_our_root() -> None:
    assert complaints(python_bits=32) == []


def test_a_root_that_is_there_takes_no_room() -> None:
    assert complaints(root_is_there=True, free_bytes=100 << 20) == []


def test_no_caffe_and_no_root_to_be_had() -> None:
    assert complaints({"root_bytes": None}) == ["it has no usable Caffe of its own (no caffe)"]


def test_the_check_needs_nothing_but_a_python(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-", json.dumps(NEEDS | {"folder": str(tmp_path)})],
        input=Path(check.__file__).read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={"PATH": "/nowhere"},
    )
    answer = json.loads(done.stdout)
    assert answer["facts"]["architecture"] == os.uname().machine
    assert answer["facts"]["folder"] == str(tmp_path)
    assert answer["facts"]["caffe_complaint"] == "no caffe"


def test_a_folder_in_memory_is_refused() -> None:
    shared = "/dev/shm"  # noqa: S108  (nothing is written there)
    if check.file_system(shared) != "tmpfs":
        pytest.skip("this is not a tmpfs")
    assert "in memory" in check.folder_complaint(f"{shared}/pibench")


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a folder" in check.folder_complaint(str(tmp_path / "file/below"))


def test_a_program_s_last_words_are_its_complaint(script) -> None:
    assert check.complaint_of([script("ok", "echo fine")], None, 5) is None
    assert check.complaint_of([script("sad", "echo a; echo b >&2; exit 1")], None, 5) == "b"
    assert check.complaint_of([script("mute", "exit 3")], None, 5) == "mute ended with 3"


def test_a_program_that_hangs_is_ended_with_what_it_started(script, tmp_path: Path) -> None:
    hangs = script("hangs", f"sleep 60 & echo $! > {tmp_path}/started; wait")
    before = time.monotonic()
    assert "within 1 s" in check.complaint_of([hangs], None, 1)
    # The other one keeps the output open: waiting for it would last until its end.
    assert time.monotonic() - before < 30
    # None for a process that ended, though nobody asked how.
    assert not Path(f"/proc/{(tmp_path / 'started').read_text().strip()}/fd/0").exists()


# ---------------------------------------------------------------- unpacking


def archive(*members: tuple[str, bytes | str, bytes]) -> bytes:
    """A compressed tar of (name, content or where it links to, type)."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content, kind in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if isinstance(content, str):
                member.linkname = content
                tar.addfile(member)
            else:
                member.size, member.mode = len(content), 0o755
                tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def unpacked(content: bytes, folder: Path, key: str = "key") -> Path:
    sha256 = hashlib.sha256(content).hexdigest()
    unpack.unpack(io.BytesIO(content), str(folder), key, sha256)
    return folder / key


def test_an_archive_becomes_a_folder_or_nothing(tmp_path: Path) -> None:
    content = archive(
        ("bin/caffe", b"#!", tarfile.REGTYPE), ("lib/so", "../bin/caffe", tarfile.SYMTYPE)
    )
    root = unpacked(content, tmp_path / "roots")
    assert (root / "bin/caffe").read_bytes() == b"#!"
    assert (root / "lib/so").resolve() == root / "bin/caffe"
    assert check.root_is_there(str(tmp_path), "key")
    # A second time, at once with somebody else's.
    unpacked(content, tmp_path / "roots")
    assert [path.name for path in (tmp_path / "roots").iterdir()] == ["key"]
    damaged = gzip.decompress(content)[:700]
    for bad in (content[: len(content) // 2], gzip.compress(damaged), b"", b"no gzip"):
        with pytest.raises(unpack.UnpackError):
            unpacked(bad, tmp_path / "roots", "other")
    with pytest.raises(unpack.UnpackError, match="SHA-256"):
        unpack.unpack(io.BytesIO(content), str(tmp_path / "roots"), "other", "0" * 64)
    assert [path.name for path in (tmp_path / "roots").iterdir()] == ["key"]


@pytest.mark.parametrize(
    "members",
    [
        [("../out", b"x", tarfile.REGTYPE)],
        [("/out", b"x", tarfile.REGTYPE)],
        [("link", "/etc", tarfile.SYMTYPE)],
        [("link", "../..", tarfile.SYMTYPE)],
        [("a/b", b"", tarfile.DIRTYPE), ("l", "a", tarfile.SYMTYPE), ("l/x", b"", tarfile.REGTYPE)],
        [("pipe", b"", tarfile.FIFOTYPE)],
        [("a", b"x", tarfile.REGTYPE), ("b", "a", tarfile.LNKTYPE)],
    ],
    ids=["up", "absolute", "link out", "link up", "through a link", "pipe", "hard link"],
)
def test_an_archive_reaches_nothing_but_its_folder(
    members: list[tuple[str, bytes | str, bytes]], tmp_path: Path
) -> None:
    with pytest.raises(unpack.UnpackError):
        unpacked(archive(*members), tmp_path / "roots")
    assert list((tmp_path / "roots").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["roots"]


def test_what_a_machine_that_went_down_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".partial-gone").mkdir()
    (tmp_path / ".partial-gone/file").touch()
    unpacked(archive(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
