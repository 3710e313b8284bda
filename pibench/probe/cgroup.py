"""The control groups that this process is in: their limits, and what the kernel did in them."""

import os

from .procfs import read_fields, read_text


def controller(name):
    """The version and folder of this process's group of one controller; Nones where there is none.

    A container sees its own group as the root of what is mounted, so that the
    path that /proc tells leads nowhere there.
    """
    for line in (read_text("/proc/self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            for base in ("/sys/fs/cgroup" + path, "/sys/fs/cgroup"):
                if name in (read_text(base + "/cgroup.controllers") or "").split():
                    return 2, base
        elif name in controllers.split(","):
            for mounted in (name, controllers):
                for base in ("/sys/fs/cgroup/" + mounted + path, "/sys/fs/cgroup/" + mounted):
                    if os.path.exists(base + "/cgroup.procs"):
                        return 1, base
    return None, None


def cgroup_memory():
    """The memory group's limit, peak and OOM counter, version 2 or 1; None where absent."""
    version, base = controller("memory")
    if version == 2:
        names = ("memory.max", "memory.swap.max", "memory.peak")
        counts = "memory.events"
    else:
        names = (
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.max_usage_in_bytes",
        )
        counts = "memory.oom_control"
    values = [read_text("{}/{}".format(base, name)) for name in names]
    if base is None or values[0] is None:
        return None
    return {
        "version": version,
        "limit": values[0],
        "swap_limit": values[1],
        "peak": values[2],
        "oom_kill": read_fields(base + "/" + counts).get("oom_kill"),
    }


def cgroup_oom_kills():
    """How many processes the kernel has killed in this group for want of memory, or None."""
    try:
        return int((cgroup_memory() or {})["oom_kill"])
    except (KeyError, TypeError, ValueError):
        return None


def cgroup_cpu():
    """The CPU quota and period in microseconds (quota None: no limit); None where unreadable."""
    version, base = controller("cpu")
    if version == 2:
        words = (read_text(base + "/cpu.max") or "").split()
    else:
        words = [
            read_text("{}/cpu.cfs_{}_us".format(base, name)) or "" for name in ("quota", "period")
        ]
    try:
        quota = None if words[0] in ("max", "-1") else int(words[0])
        return {"quota_us": quota, "period_us": int(words[1])}
    except (IndexError, ValueError):
        return None


def cgroup_pids():
    """The limit of processes as the kernel writes it, `max` for none; None where unreadable."""
    base = controller("pids")[1]
    return read_text("{}/pids.max".format(base)) if base else None
