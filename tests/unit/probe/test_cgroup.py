"""Control groups of both versions, from recorded trees of files and from the kernel's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pibench import process
from pibench.probe import cgroup

MIB = 2**20
V1_NO_LIMIT = "9223372036854771712"
MOUNTS_V1 = """\
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
36 31 0:33 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
MOUNTS_V2 = "30 23 0:26 {} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def tree(folder: Path, cgroups: str, mounts: str, files: dict[str, dict[str, str]]) -> str:
    """A /proc and a /sys/fs/cgroup as a kernel shows them; each folder of `files` is a group."""
    own = folder / "proc/self"
    own.mkdir(parents=True)
    (own / "cgroup").write_text(cgroups)
    (own / "mountinfo").write_text("23 1 8:1 / / rw - ext4 /dev/vda rw\n" + mounts)
    for place, texts in files.items():
        group = folder / "sys/fs/cgroup" / place
        group.mkdir(parents=True, exist_ok=True)
        for name, text in {"cgroup.procs": "1", **texts}.items():
            (group / name).write_text(text + "\n")
    return str(folder)


@pytest.fixture
def v1(tmp_path: Path) -> str:
    """A process of a pod of 1500 MiB, as a CI service of version 1 starts it."""
    return tree(
        tmp_path,
        "9:name=systemd:/\n4:memory:/pods/a/run\n3:cpu,cpuacct:/pods/a\n2:pids:/\n0::/\n",
        MOUNTS_V1,
        {
            "memory": {"memory.limit_in_bytes": V1_NO_LIMIT, "memory.usage_in_bytes": "9000"},
            "memory/pods": {"memory.limit_in_bytes": V1_NO_LIMIT},
            "memory/pods/a": {
                "memory.limit_in_bytes": str(1500 * MIB),
                "memory.usage_in_bytes": str(700 * MIB),
                "memory.stat": f"inactive_file 1\ntotal_inactive_file {200 * MIB}\n"
                f"total_active_file {100 * MIB}",
            },
            "memory/pods/a/run": {
                "memory.limit_in_bytes": str(1600 * MIB),
                "memory.memsw.limit_in_bytes": str(1600 * MIB),
                "memory.max_usage_in_bytes": "5",
                "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3",
            },
            "cpu,cpuacct": {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"},
            "cpu,cpuacct/pods/a": {"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"},
        },
    )


@pytest.fixture
def v2(tmp_path: Path) -> str:
    """A scope in a slice that is throttled at 1000 MiB, well below the limit of the kill."""
    return tree(
        tmp_path,
        "0::/user.slice/run.scope\n",
        MOUNTS_V2.format("/"),
        {
            "": {"cgroup.controllers": "cpu memory pids"},
            "user.slice": {
                "memory.max": str(4000 * MIB),
                "memory.high": str(1000 * MIB),
                "memory.current": str(400 * MIB),
                "memory.stat": f"anon 5\ninactive_file {100 * MIB}\nactive_file 0",
                "cpu.max": "100000 100000",
                "pids.max": "500",
            },
            "user.slice/run.scope": {
                "memory.max": "963117056",
                "memory.high": "max",
                "memory.swap.max": "0",
                "memory.peak": "700000000",
                "memory.events": "low 0\nhigh 0\nmax 12\noom 1\noom_kill 2",
                "cpu.max": "max 100000",
                "pids.max": "max",
            },
        },
    )


def test_the_own_group_of_version_1(v1: str) -> None:
    assert cgroup.cgroup_memory(v1) == {
        "version": 1, "limit": str(1600 * MIB), "swap_limit": str(1600 * MIB), "peak": "5",
        "oom_kill": "3", "oom": None,
    }  # fmt: skip
    assert cgroup.cgroup_cpu(v1) == {"quota_us": 150_000, "period_us": 100_000}


def test_the_own_group_of_version_2(v2: str) -> None:
    assert cgroup.cgroup_memory(v2) == {
        "version": 2, "limit": "963117056", "swap_limit": "0", "peak": "700000000",
        "oom_kill": "2", "oom": "1",
    }  # fmt: skip
    assert cgroup.cgroup_cpu(v2) == {"quota_us": None, "period_us": 100_000}
    assert cgroup.cgroup_pids(v2) == "max"


def test_the_group_of_another_process_of_version_1(v1: str) -> None:
    other = Path(v1) / "proc/7"
    other.mkdir()
    (other / "cgroup").write_text("4:memory:/pods/b\n")
    folder = Path(v1) / "sys/fs/cgroup/memory/pods/b"
    folder.mkdir()
    files = {
        "cgroup.procs": "7",
        "memory.limit_in_bytes": "8388608",
        "memory.oom_control": "oom_kill 1",
        "memory.stat": "cache 5\nrss 4096\ntotal_rss 8192",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    group = cgroup.memory_group(v1, 7)
    assert group is not None
    assert group.folder == str(folder)
    assert group.anonymous_bytes() == 4096
    read = group.read()
    assert read is not None
    assert (read["limit"], read["oom_kill"]) == ("8388608", "1")


def test_what_a_group_of_version_2_is_charged(v2: str) -> None:
    group = cgroup.memory_group(v2)
    assert group is not None
    assert group.anonymous_bytes() is None
    (Path(group.folder) / "memory.stat").write_text("anon 4096\nfile 5")
    assert group.anonymous_bytes() == 4096
    assert cgroup.memory_group(v2, 8) is None


def test_the_tightest_group_around_a_process_counts(v1: str) -> None:
    assert cgroup.tightest_memory_bytes(v1) == 1500 * MIB
    # 300 MiB of what is used there are files, which give way.
    assert process.available_memory_bytes(v1) == 1100 * MIB
    assert process.usable_cores(v1) == 1


def test_memory_high_counts_as_a_limit(v2: str) -> None:
    assert cgroup.tightest_memory_bytes(v2) == 963_117_056
    assert process.available_memory_bytes(v2) == 700 * MIB
    assert process.usable_cores(v2) == 1


@pytest.mark.parametrize(
    ("cgroups", "top"),
    [
        # A container with the host's names of groups, and its own group mounted as the top.
        ("0::/docker/abc\n", "/docker/abc"),
        # One with a namespace of groups.
        ("0::/\n", "/"),
        # A process that was moved out of its namespace.
        ("0::/../other\n", "/"),
        # A group that is not mounted here: what is mounted is around it.
        ("0::/docker/abc\n", "/"),
    ],
)
def test_a_container_may_see_its_own_group_as_the_top(
    tmp_path: Path, cgroups: str, top: str
) -> None:
    root = tree(tmp_path, cgroups, MOUNTS_V2.format(top), {"": {"memory.max": "1000"}})
    found = cgroup.cgroup_memory(root)
    assert (found["version"], found["limit"], found["peak"]) == (2, "1000", None)


def test_without_groups_the_machine_decides(tmp_path: Path) -> None:
    for cgroups, mounts in (("", ""), ("0::/\n", MOUNTS_V2.format("/")), ("0::/\n", "")):
        root = tree(tmp_path / str(len(cgroups + mounts)), cgroups, mounts, {})
        assert cgroup.cgroup_memory(root) is None
        assert cgroup.tightest_memory_bytes(root) is None
        assert process.usable_cores(root) == len(os.sched_getaffinity(0))
        assert process.available_memory_bytes(root) > 0


def looks(version: int, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A group before and after a run; `changes` are to the second look."""
    before = {"version": version, "limit": "1000000000", "peak": "1", "oom": "3"}
    return before, before | {"peak": "1000000000", "oom": "9"} | changes


@pytest.mark.parametrize(
    ("before", "after", "reached"),
    [
        (*looks(1), True),
        # A batch of pages short of the limit, which another CPU keeps.
        (*looks(1, peak="999800000"), True),
        (*looks(1, peak="700000000"), False),
        (*looks(1, limit=V1_NO_LIMIT), False),
        (*looks(1, peak=None), None),
        (*looks(2, peak=None), True),
        # In version 2 its own count of kills that were due decides: page cache does not raise it.
        (*looks(2, oom="3"), False),
        (*looks(2, oom=None), None),
        (None, None, None),
    ],
)
def test_whether_a_group_came_to_its_own_limit(
    before: dict[str, Any] | None, after: dict[str, Any] | None, reached: bool | None
) -> None:
    assert cgroup.reached_own_limit(before, after) is reached


def test_this_process_is_in_the_groups_that_the_kernel_names() -> None:
    found = cgroup.hierarchy("memory")
    if found.version is None:
        pytest.skip("no memory groups are mounted here")
    members = Path(found.folders[0], "cgroup.procs").read_text().split()
    assert str(os.getpid()) in members
