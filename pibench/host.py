"""Find what this process may use of its machine: the lower of the machine's and cgroups' limits.

In a container, a pod of a CI service or a slice of systemd the machine has more memory and cores
than a process gets.
"""

from __future__ import annotations

import os

import psutil

from pibench.probe import cgroup


def available_memory_bytes(root: str = "") -> int:
    """Return how many bytes new processes can allocate before memory runs short.

    Args:
        root: A folder that replaces `/` when the cgroups' files are read.
    """
    room = [int(psutil.virtual_memory().available)]
    for limit, used, reclaimable in cgroup.memory_groups(root):
        if limit is not None and used is not None:
            room.append(limit - max(used - reclaimable, 0))
    return max(0, min(room))


def usable_cores(root: str = "") -> int:
    """Return on how many cores processes here can run at once: affinity, CPU sets and quotas.

    Args:
        root: A folder that replaces `/` when the cgroups' files are read.
    """
    # The kernel's affinity mask already respects the cores of a CPU set.
    cores = len(os.sched_getaffinity(0))
    for quota in cgroup.cpu_quotas(root):
        if quota["quota_us"] is not None and quota["period_us"]:
            cores = min(cores, quota["quota_us"] // quota["period_us"])
    return max(1, cores)
