"""The control group that this process is in: its limits, and what the kernel did in it."""

import os

from .procfs import read_fields, read_text


def cgroup_memory():
    """The memory cgroup's limit, peak and OOM counter, version 2 or 1; None where absent."""
    for line in (read_text("/proc/self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            base = "/sys/fs/cgroup" + path
            if not os.path.exists(base + "/memory.max"):
                base = "/sys/fs/cgroup"
            names = ("memory.max", "memory.swap.max", "memory.peak")
            counter = read_fields(base + "/memory.events").get("oom_kill")
            version = 2
        elif "memory" in controllers.split(","):
            base = "/sys/fs/cgroup/memory" + path
            if not os.path.exists(base + "/memory.limit_in_bytes"):
                base = "/sys/fs/cgroup/memory"
            names = (
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
                "memory.max_usage_in_bytes",
            )
            counter = read_fields(base + "/memory.oom_control").get("oom_kill")
            version = 1
        else:
            continue
        values = [read_text(base + "/" + name) for name in names]
        if values[0] is None:
            continue
        return {
            "version": version,
            "limit": values[0],
            "swap_limit": values[1],
            "peak": values[2],
            "oom_kill": counter,
        }
    return None
