"""The isolation of this process from the rest of the machine, read from the kernel."""

import os

from .procfs import read_fields, read_text


def sandbox():
    """Return user, privileges, file system and network of this process, from the kernel."""
    status = read_fields("/proc/self/status")
    return {
        "uid": os.getuid(),
        "capabilities": status.get("CapEff"),
        "no_new_privileges": status.get("NoNewPrivs"),
        "seccomp": status.get("Seccomp"),
        "root_read_only": root_is_read_only(),
        "interfaces": interfaces(),
    }


def root_is_read_only():
    """Return whether the root file system is mounted read-only; None where that is unknown."""
    for line in (read_text("/proc/self/mountinfo") or "").splitlines():
        words = line.split()
        if len(words) > 5 and words[4] == "/":
            return "ro" in words[5].split(",")
    return None


def interfaces():
    """Return the names of the network interfaces; with only `lo`, no other machine is reachable."""
    lines = (read_text("/proc/self/net/dev") or "").splitlines()[2:]
    return sorted(line.partition(":")[0].strip() for line in lines if ":" in line)
