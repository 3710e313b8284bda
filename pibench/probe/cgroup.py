"""The control groups of this process: their limits, and the kernel's actions in them.

Every group up to the top counts: the kernel applies the tightest limit of them all.
`root` is a folder that replaces `/` in the paths of the files.
"""

import os
import re

from .procfs import read_fields, read_text

# Version 1 writes a huge number for "no limit".
UNLIMITED_BYTES = 1 << 60
# How much of a limit the kernel may leave unused when it gives up: charges are made in
# batches of 64 pages for each CPU (MEMCG_CHARGE_BATCH in include/linux/memcontrol.h),
# and are taken back before a kill, except for what another CPU has just taken.
BATCH_BYTES = 1 << 20
ESCAPED = re.compile(r"\\([0-7]{3})")


class Hierarchy(object):
    """The groups of one controller: the kernel's version, and the folders of this process.

    `folders` go from the process's own group up to the top of what is mounted here.
    A container may see its own group as the top.
    """

    def __init__(self, version, folders):
        self.version = version
        self.folders = folders

    def nearest(self, name):
        """Return the innermost folder that has a file of this name, or None."""
        for folder in self.folders:
            if os.path.exists(folder + "/" + name):
                return folder
        return None


def hierarchy(controller, root="", process="self"):
    """Return the hierarchy of one controller; its version is None where there is none.

    `process` is a process number, or this process itself.
    """
    paths = {}
    for line in (read_text("{}/proc/{}/cgroup".format(root, process)) or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            paths[1] = path
        elif number == "0" and not controllers:
            paths[2] = path
    # Where both are mounted each controller belongs to one of them: version 1 names its own.
    for version in sorted(paths):
        for top, mounted in mounts(version, controller, root):
            folders = folders_below(root + mounted, top, paths[version])
            if folders:
                return Hierarchy(version, folders)
    return Hierarchy(None, [])


def mounts(version, controller, root):
    """Yield the mounts of a hierarchy as (group, mount point): proc(5), mountinfo."""
    for line in (read_text(root + "/proc/self/mountinfo") or "").splitlines():
        place, _, kind = line.partition(" - ")
        words, kinds = place.split(), kind.split()
        if len(words) < 5 or len(kinds) < 3:
            continue
        is_v1 = kinds[0] == "cgroup" and controller in kinds[2].split(",")
        if (version == 1 and is_v1) or (version == 2 and kinds[0] == "cgroup2"):
            yield unescaped(words[3]), unescaped(words[4])


def unescaped(text):
    return ESCAPED.sub(lambda found: chr(int(found.group(1), 8)), text)


def folders_below(mounted, top, path):
    """Return the folders of a group and its parents, innermost first; none if not mounted."""
    top = top.rstrip("/")
    # The mount may not contain the process's group: then only the groups around it count.
    below = path[len(top) :] if (path + "/").startswith(top + "/") and ".." not in path else ""
    names = [name for name in below.split("/") if name]
    folders = [
        "/".join([mounted.rstrip("/")] + names[:count]) for count in range(len(names), -1, -1)
    ]
    return [folder for folder in folders if os.path.exists(folder + "/cgroup.procs")]


class MemoryGroup(object):
    """The memory group of one process; it can be read as long as the group exists."""

    def __init__(self, version, folder):
        self.version = version
        self.folder = folder

    def read(self):
        """Return the group's limit, peak and counters, or None where they cannot be read.

        The keys are the same for version 1 and version 2.
        """
        names, counts = MEMORY_FILES[self.version]
        values = [read_text("{}/{}".format(self.folder, name)) for name in names]
        if values[0] is None:
            return None
        fields = read_fields(self.folder + "/" + counts)
        return {
            "version": self.version,
            "limit": values[0],
            "swap_limit": values[1],
            "peak": values[2],
            "oom_kill": fields.get("oom_kill"),
            "oom": fields.get("oom"),
        }

    def anonymous_bytes(self):
        """Return what the group is charged for pages of programs now, not of files; or None."""
        name = "rss" if self.version == 1 else "anon"
        return limit_of(read_fields(self.folder + "/memory.stat").get(name))


# The files of a memory group: its limits and peak, and what counts kills.
MEMORY_FILES = {
    1: (
        (
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.max_usage_in_bytes",
        ),
        "memory.oom_control",
    ),
    2: (("memory.max", "memory.swap.max", "memory.peak"), "memory.events"),
}


def memory_group(root="", process="self"):
    """Return the memory group of a process, or None where there is none."""
    found = hierarchy("memory", root, process)
    version = 2 if found.version == 2 else 1
    folder = found.nearest(MEMORY_FILES[version][0][0])
    return MemoryGroup(version, folder) if folder else None


def cgroup_memory(root=""):
    """Return what this process's memory group has (see MemoryGroup.read), or None."""
    group = memory_group(root)
    return group.read() if group else None


def limit_of(text):
    """Return a limit in bytes from a file's text.

    None means no limit (`max`, or version 1's huge number).
    """
    if text is None or not text.isdigit() or int(text) >= UNLIMITED_BYTES:
        return None
    return int(text)


def reached_own_limit(before, after):
    """Return whether a memory group reached its own limit between two readings of it.

    False where the kernel killed a process in it for another limit: that of a group around
    it, or of the whole machine. None where this is unknown. Version 2 counts how often a kill
    was due for a group's own limit. Version 1 reports the group's peak, which page cache can
    have raised too; its memory.failcnt stays 0 where memory and swap have one limit.
    """
    if after is None:
        return None
    if after["version"] == 2:
        grown = growth(before, after, "oom")
        return None if grown is None else grown > 0
    limit, peak = limit_of(after["limit"]), limit_of(after["peak"])
    if limit is None:
        return False
    return None if peak is None else peak >= limit - BATCH_BYTES


def growth(before, after, name):
    """Return how much a counter of a memory group grew, or None where it was not read."""
    try:
        return int(after[name]) - int(before[name])
    except (KeyError, TypeError, ValueError):
        return None


def tightest_memory_bytes(root=""):
    """Return the lowest limit of all memory groups around this process, or None."""
    limits = [limit for limit, _, _ in memory_groups(root) if limit is not None]
    return min(limits) if limits else None


def memory_groups(root=""):
    """Yield the memory groups, innermost first, as (limit, used, reclaimable) in bytes.

    The limit is the lower of two: the one at which the kernel kills, and the one at which it
    slows a group down (memory.high). Reclaimable is the page cache, which the kernel
    frees when programs need memory.
    """
    found = hierarchy("memory", root)
    if found.version == 2:
        limits, usage, prefix = ("memory.max", "memory.high"), "memory.current", ""
    else:
        limits, usage, prefix = ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_"
    for folder in found.folders:
        values = [limit_of(read_text(folder + "/" + name)) for name in limits]
        values = [value for value in values if value is not None]
        statistics = read_fields(folder + "/memory.stat")
        reclaimable = sum(
            limit_of(statistics.get(prefix + name)) or 0
            for name in ("inactive_file", "active_file")
        )
        used = limit_of(read_text(folder + "/" + usage))
        yield (min(values) if values else None), used, reclaimable


def cgroup_cpu(root=""):
    """Return the CPU quota and period in microseconds, or None where unreadable.

    A quota of None means no limit.
    """
    return next(cpu_quotas(root), None)


def cpu_quotas(root=""):
    """Yield the quota and period of each group, innermost first; skip those that report none."""
    found = hierarchy("cpu", root)
    for folder in found.folders:
        if found.version == 2:
            words = (read_text(folder + "/cpu.max") or "").split()
        else:
            words = [
                read_text("{}/cpu.cfs_{}_us".format(folder, name)) or ""
                for name in ("quota", "period")
            ]
        try:
            quota = None if words[0] in ("max", "-1") else int(words[0])
            yield {"quota_us": quota, "period_us": int(words[1])}
        except (IndexError, ValueError):
            continue


def cgroup_pids(root=""):
    """Return the limit of processes as the kernel writes it, `max` for none, or None."""
    base = hierarchy("pids", root).nearest("pids.max")
    return read_text("{}/pids.max".format(base)) if base else None
