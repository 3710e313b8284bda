"""The cap of a container: what is asked, and every way in which it may not hold."""

from __future__ import annotations

import threading
from copy import deepcopy
from typing import Any

import pytest

from pibench import devices
from pibench.errors import ExitCode
from pibench.probe.cgroup import limit_of
from pibench.targets.confined import effective_limits
from pibench.targets.container.cell import (
    PERIOD_US,
    PIDS_LIMIT,
    CapNotInForceError,
    Limits,
    attest,
    limits_for,
)
from pibench.targets.worker_pool import Turns

MIB = 2**20
PI = devices.load("rpi3b")
LIMIT = 1000 * MIB
ASKED = Limits(memory_bytes=LIMIT, cores=2, cpu="cortex-a53")
UNLIMITED_V1 = str(2**63 - 4096)

V2: dict[str, Any] = {
    "cgroup_memory": {"version": 2, "limit": str(LIMIT), "swap_limit": "0"},
    "cgroup_cpu": {"quota_us": 2 * PERIOD_US, "period_us": PERIOD_US},
    "cgroup_pids": str(PIDS_LIMIT),
    "cores_usable": 2,
    "main_id_register": 0x410FD034,
    "swap_total_kib": 2_000_000,
    "sandbox": {
        "uid": 65534,
        "capabilities": "0000000000000000",
        "no_new_privileges": "1",
        "root_read_only": True,
        "interfaces": ["lo"],
    },
}
V1: dict[str, Any] = V2 | {
    "cgroup_memory": {"version": 1, "limit": str(LIMIT), "swap_limit": str(LIMIT)}
}


def changed(machine: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy in which the field at `a.b` is another; without a value it is gone."""
    copy = deepcopy(machine)
    *above, last = path.split(".")
    place = copy
    for name in above:
        place = place[name]
    place[last] = value
    return copy


# ---------------------------------------------------------------- what is asked


@pytest.mark.parametrize(("host", "cores", "cpuset"), [(1, 1, "0"), (2, 2, "0-1"), (64, 4, "0-3")])
def test_cores_are_those_of_the_device_as_far_as_the_host_has_them(
    host: int, cores: int, cpuset: str
) -> None:
    limits = limits_for(PI, allowance_bytes=0, host_cores=host)
    assert (limits.cores, limits.cpuset) == (cores, cpuset)
    assert limits.cpu == "cortex-a53"


@pytest.mark.parametrize("allowance", [0, 1, 4095, 4096, 60_329_984, 60_330_001])
def test_memory_is_the_device_s_and_the_allowance_in_whole_pages(allowance: int) -> None:
    asked = limits_for(PI, allowance_bytes=allowance, host_cores=4).memory_bytes
    assert asked % 4096 == 0
    assert 0 <= PI.usable_bytes + allowance - asked < 4096


# ---------------------------------------------------------------- what is found


def test_both_versions_of_cgroups_tell_the_same() -> None:
    assert effective_limits(V1) == effective_limits(V2)
    found = effective_limits(V2)
    assert (found.memory_bytes, found.swap_bytes, found.cores) == (LIMIT, 0, 2.0)


def test_version_1_limits_memory_and_swap_together() -> None:
    machine = changed(V1, "cgroup_memory.swap_limit", str(LIMIT + 5 * MIB))
    assert effective_limits(machine).swap_bytes == 5 * MIB


def test_version_2_limits_swap_by_itself() -> None:
    assert (
        effective_limits(changed(V2, "cgroup_memory.swap_limit", str(5 * MIB))).swap_bytes
        == 5 * MIB
    )
    assert effective_limits(changed(V2, "cgroup_memory.swap_limit", "max")).swap_bytes is None


@pytest.mark.parametrize("machine", [V1, V2], ids=["v1", "v2"])
def test_a_host_without_swap_gives_none_though_nothing_limits_it(machine: dict[str, Any]) -> None:
    machine = changed(machine, "cgroup_memory.swap_limit", None)
    assert effective_limits(machine).swap_bytes is None
    assert effective_limits(machine | {"swap_total_kib": 0}).swap_bytes == 0


def test_nothing_read_is_nothing_known() -> None:
    found = effective_limits({})
    assert (found.memory_bytes, found.swap_bytes, found.cores) == (None, None, None)
    found = effective_limits({"cgroup_memory": None, "cgroup_cpu": None, "cores_usable": 2})
    assert (found.memory_bytes, found.cores) == (None, None)


def test_cores_are_the_lesser_of_quota_and_set() -> None:
    assert effective_limits(changed(V2, "cgroup_cpu.quota_us", 4 * PERIOD_US)).cores == 2
    assert effective_limits(changed(V2, "cgroup_cpu.quota_us", 50_000)).cores == 0.5
    assert effective_limits(changed(V2, "cgroup_cpu.quota_us", None)).cores is None


@pytest.mark.parametrize(
    ("text", "limit"),
    [("4096", 4096), ("max", None), (UNLIMITED_V1, None), (None, None), ("", None), ("-1", None)],
)
def test_no_limit_has_many_spellings(text: str | None, limit: int | None) -> None:
    assert limit_of(text) == limit


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("machine", [V1, V2], ids=["v1", "v2"])
def test_limits_in_force_are_accepted(machine: dict[str, Any]) -> None:
    attest(machine, ASKED, emulated=True)
    # A native arm64 host has its own kind of core.
    attest(machine | {"main_id_register": None}, ASKED, emulated=False)


FAULTS = [
    ("cgroup_memory", None, "the container has no limit", "cgroup_enable=memory"),
    ("cgroup_memory.limit", "max", "the container has no limit", "cgroup_enable=memory"),
    ("cgroup_memory.limit", UNLIMITED_V1, "has no limit", "/boot/cmdline.txt"),
    ("cgroup_memory.limit", str(LIMIT - 4096), f"has {LIMIT - 4096} bytes", "memory cgroup on"),
    ("cgroup_memory.limit", str(1 << 30), "has 1073741824 bytes", "memory cgroup on"),
    ("cgroup_memory.swap_limit", None, "may swap an unknown amount", "swapaccount=1"),
    ("cgroup_memory.swap_limit", "max", "may swap an unknown amount", "swapoff -a"),
    ("cgroup_memory.swap_limit", "4096", "may swap 4096 bytes", "swapaccount=1"),
    ("cgroup_cpu", None, "has no quota", "CONFIG_CFS_BANDWIDTH"),
    ("cgroup_cpu.quota_us", None, "2 cores were requested, the container has no quota", "CFS"),
    ("cgroup_cpu.quota_us", 150_000, "the container has 1.5", "delegated cpu controller"),
    ("cores_usable", 1, "has 1", "CONFIG_CFS_BANDWIDTH"),
    ("cores_usable", 16, "2 cores were requested, 16 can be used", "CONFIG_CPUSETS"),
    ("main_id_register", 0x411FD070, "not a cortex-a53", "QEMU_CPU"),
    ("main_id_register", None, "not a cortex-a53", "doctor --fix"),
    ("sandbox.uid", 0, "runs as root", "settings of the Engine"),
    ("sandbox.capabilities", "00000000a80425fb", "has capabilities", "settings of the Engine"),
    ("sandbox.capabilities", None, "has capabilities", "settings of the Engine"),
    ("sandbox.no_new_privileges", "0", "gain privileges", "settings of the Engine"),
    ("sandbox.no_new_privileges", None, "gain privileges", "settings of the Engine"),
    ("sandbox.root_read_only", False, "write to its root", "settings of the Engine"),
    ("sandbox.root_read_only", None, "write to its root", "settings of the Engine"),
    ("sandbox.interfaces", ["eth0", "lo"], "has a network", "settings of the Engine"),
    ("cgroup_pids", "max", "any number of processes", "settings of the Engine"),
    ("cgroup_pids", None, "any number of processes", "settings of the Engine"),
]


@pytest.mark.parametrize(
    ("path", "value", "expected_message", "hint"),
    FAULTS,
    ids=[f"{row[0]}={row[1]}" for row in FAULTS],
)
def test_a_limit_that_is_not_in_force_refuses_the_run(
    path: str, value: Any, expected_message: str, hint: str
) -> None:
    with pytest.raises(CapNotInForceError) as refused:
        attest(changed(V2, path, value), ASKED, emulated=True)
    assert expected_message in refused.value.message
    assert refused.value.hint is not None
    assert hint in refused.value.hint
    assert refused.value.exit_code == ExitCode.ENVIRONMENT


def test_a_probe_that_reported_nothing_attests_nothing() -> None:
    with pytest.raises(CapNotInForceError, match="memory limit is not in force"):
        attest({}, ASKED, emulated=True)


def test_who_waits_gives_up_its_turn_on_a_stop() -> None:
    turns, stopping = Turns(1), threading.Event()
    with turns.one(stopping) as first:
        assert first
        stopping.set()
        with turns.one(stopping) as second:
            assert not second
    # The turn that was not had is not given back either.
    with turns.one(threading.Event()) as third:
        assert third
