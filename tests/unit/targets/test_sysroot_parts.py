"""A cgroup of our own and the watcher in its stead, on real processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench.errors import HostError
from pibench.targets import memory_groups
from pibench.targets.memory_groups import OwnFolder, PlacedGroup, UserScope
from pibench.targets.sysroot import find_emulator, watched

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20

# ---------------------------------------------------------------- which group is pibench's

V1 = "9:name=systemd:/\n4:memory:/user.slice/me\n3:cpu,cpuacct:/\n0::/\n"
V1_MOUNT = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("cgroups", "mounts", "control", "version"),
    [
        (V1, V1_MOUNT, None, 1),
        ("0::/user.slice/me\n", V2_MOUNT, "cpu memory pids", 2),
        # Delegated, but not the memory.
        ("0::/user.slice/me\n", V2_MOUNT, "cpu pids", None),
        ("0::/user.slice/me\n", V2_MOUNT, None, None),
        ("1:cpu:/\n", V2_MOUNT, None, None),
        ("", "", None, None),
    ],
)
def test_where_groups_could_be_made(
    tmp_path: Path, cgroups: str, mounts: str, control: str | None, version: int | None
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroups)
    (tmp_path / "proc/self/mountinfo").write_text(mounts)
    top = tmp_path / "sys/fs/cgroup" / ("memory" if mounts == V1_MOUNT else "")
    own = top / "user.slice/me"
    own.mkdir(parents=True)
    for folder in (top, own):
        (folder / "cgroup.procs").touch()
    if control is not None:
        (own / "cgroup.subtree_control").write_text(f"{control}\n")
    expected = OwnFolder(own, version) if version else None
    assert memory_groups.own_folder(str(tmp_path)) == expected


def test_a_user_s_systemd_is_asked_for_a_scope_without_swap() -> None:
    with UserScope().started(["caffe", "time"], 1000 * MIB) as argv:
        assert argv[:2] == ["systemd-run", "--user"]
        assert f"MemoryMax={1000 * MIB}" in argv
        assert "MemorySwapMax=0" in argv
        assert argv[argv.index("--") :] == ["--", "caffe", "time"]


def test_a_group_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(HostError, match="cannot be made any more"),
        OwnFolder(tmp_path / "none", 2).started(["true"], MIB),
    ):
        pytest.fail("it was made")


@pytest.mark.parametrize(
    ("version", "before", "after"),
    [
        (2, (), {"memory.max": "8388608\n", "memory.swap.max": "0\n"}),
        (
            1,
            ("memory.memsw.limit_in_bytes",),
            {
                "memory.limit_in_bytes": "8388608\n",
                "memory.memsw.limit_in_bytes": "8388608\n",
            },
        ),
        # A kernel that does not count swap can at least be set to use none.
        (1, (), {"memory.limit_in_bytes": "8388608\n", "memory.swappiness": "0\n"}),
    ],
)
def test_both_versions_are_limited_without_swap(
    version: int, before: tuple[str, ...], after: dict[str, str], tmp_path: Path
) -> None:
    for name in before:
        (tmp_path / name).touch()
    OwnFolder(tmp_path, version).limit(tmp_path, 8 * MIB)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == after


@pytest.fixture
def own_folder() -> OwnFolder:
    own = memory_groups.available_grouping()
    if not isinstance(own, OwnFolder):
        pytest.skip("this user may make no cgroup by hand")
    return own


def test_the_group_of_a_command_ends_with_it(own_folder: OwnFolder) -> None:
    program = "print(open('/proc/self/cgroup').read())"
    with own_folder.started([sys.executable, "-c", program], 64 * MIB) as argv:
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert f"-{os.getpid()}-" in done.stdout
    assert list(own_folder.parent.glob(f"pibench-*-{os.getpid()}-*")) == []


def test_the_kernel_ends_what_grows_beyond_its_group(own_folder: OwnFolder) -> None:
    program = "b'x' * (256 << 20)"
    with own_folder.started([sys.executable, "-c", program], 64 * MIB) as argv:
        assert subprocess.run(argv, check=False).returncode == -9


def test_a_group_goes_though_the_block_broke(own_folder: OwnFolder) -> None:
    with pytest.raises(ZeroDivisionError), own_folder.started(["true"], 64 * MIB):
        raise ZeroDivisionError
    assert list(own_folder.parent.glob(f"pibench-*-{os.getpid()}-*")) == []


def test_what_a_run_left_in_its_group_ends_with_it(own_folder: OwnFolder) -> None:
    with PlacedGroup(own_folder) as group, asleep() as left:
        group.answer({"event": "place", "pid": left.pid}, 64 * MIB)
        began = time.monotonic()
        group.end()
        assert left.wait(timeout=10) == -9
        assert time.monotonic() - began < 2
    assert list(own_folder.parent.glob(f"pibench-*-{os.getpid()}-*")) == []


def test_a_run_s_processes_get_one_group_and_the_next_run_another(own_folder: OwnFolder) -> None:
    def places_of(pid: int) -> str:
        return Path(f"/proc/{pid}/cgroup").read_text()

    with PlacedGroup(own_folder) as group, asleep() as one, asleep() as other:
        for process in (one, other):
            assert group.answer({"event": "place", "pid": process.pid}, 64 * MIB) == "done"
        assert places_of(one.pid) == places_of(other.pid) != places_of(os.getpid())
        first = places_of(one.pid)
        for process in (one, other):
            process.kill()
            process.wait()
        group.end()
        with asleep() as third:
            assert group.answer({"event": "place", "pid": third.pid}, None) == "done"
            assert places_of(third.pid) not in (first, places_of(os.getpid()))
        # It has ended by itself: the probe sees its end.
        assert group.answer({"event": "place", "pid": third.pid}, None) == "done"
        assert group.answer({"event": "own", "pid": third.pid}, None) == ""
    assert list(own_folder.parent.glob(f"pibench-*-{os.getpid()}-*")) == []


@contextlib.contextmanager
def asleep() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


# ---------------------------------------------------------------- the watcher

# A program that starts another, which grows to the size given.
GROW = """
import subprocess, sys
program = '''
import time
blocks = []
for _ in range({steps}):
    blocks.append(b"x" * (4 << 20))
    time.sleep(0.02)
print("whole")
'''
child = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True)
print(child.returncode, child.stdout.strip())
"""


@contextlib.contextmanager
def growing(mib: int) -> Iterator[subprocess.Popen[str]]:
    program = GROW.replace("{steps}", str(mib // 4))
    with subprocess.Popen(
        [sys.executable, "-S", "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def test_a_child_that_grows_beyond_the_limit_is_ended_and_not_its_parent() -> None:
    with (
        growing(400) as process,
        watched(process.pid, limit_bytes=60 * MIB, emulator_bytes=0) as watch,
    ):
        assert process.communicate(timeout=60)[0].split() == ["-9"]
    assert process.returncode == 0
    assert watch.saw_bytes is not None
    assert 60 * MIB < watch.saw_bytes < 300 * MIB


def test_what_stays_below_the_limit_is_left_alone() -> None:
    with (
        growing(40) as process,
        watched(process.pid, limit_bytes=200 * MIB, emulator_bytes=0) as watch,
    ):
        assert process.communicate(timeout=60)[0].split() == ["0", "whole"]
    assert watch.saw_bytes is None


def test_the_emulator_s_share_is_not_the_program_s() -> None:
    with (
        growing(60) as process,
        watched(process.pid, limit_bytes=40 * MIB, emulator_bytes=200 * MIB) as watch,
    ):
        assert process.communicate(timeout=60)[0].split() == ["0", "whole"]
    assert watch.saw_bytes is None


def test_a_process_that_is_gone_is_not_a_fault() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    with watched(gone.pid, limit_bytes=1, emulator_bytes=0) as watch:
        time.sleep(0.1)
    assert watch.saw_bytes is None


# ---------------------------------------------------------------- the emulator


def test_without_an_emulator_there_is_a_way_to_have_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError) as fault:
        find_emulator()
    assert fault.value.hint == "sudo apt-get install qemu-user"
    static = tmp_path / "qemu-aarch64-static"
    static.touch(mode=0o755)
    assert find_emulator() == str(static)
