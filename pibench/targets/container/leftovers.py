"""Ownership of containers: remove those whose owner is gone, and no others."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench.errors import HostError
from pibench.targets.container.engine import engine_faults

if TYPE_CHECKING:
    from docker import DockerClient

OWNER_LABEL: Final = "org.pibench.owner"


def owner_label() -> dict[str, str]:
    """Return the label by which this process marks its containers."""
    pid = os.getpid()
    owner = {"host": _host(), "boot": _boot(), "pid": pid, "started_ticks": _started_ticks(pid)}
    return {OWNER_LABEL: json.dumps(owner, sort_keys=True)}


def sweep(client: DockerClient) -> int:
    """Remove the containers whose owner ran on this machine and is gone; return their number."""
    with engine_faults("when asked for its containers"):
        found = client.api.containers(all=True, filters={"label": OWNER_LABEL})
    removed = 0
    for container in found:
        if is_orphan((container.get("Labels") or {}).get(OWNER_LABEL, "")):
            # Another pibench may remove orphans at the same time.
            with contextlib.suppress(HostError), engine_faults("to remove a container"):
                client.api.remove_container(container["Id"], force=True, v=True)
                removed += 1
    return removed


def is_orphan(label: str) -> bool:
    """Return whether the process that a label names ran on this machine and is gone."""
    try:
        owner: dict[str, Any] = json.loads(label)
        host, boot = owner["host"], owner["boot"]
        pid, started = int(owner["pid"]), int(owner["started_ticks"])
    except (ValueError, KeyError, TypeError):
        return False
    if host != _host():
        return False
    if boot != _boot():
        return True
    return _started_ticks(pid) != started


def _started_ticks(pid: int) -> int | None:
    """Return when a process started, in the kernel's ticks since boot (proc(5)), or None.

    A process id can be used again. The pair of id and start is unique, even if the clock is set.
    """
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(fields[19]) if fields else None


def _host() -> str:
    """Return an id of this machine (or of this container on it) that survives reboots.

    It is a hash, since the machine's identity is confidential (machine-id(5)).
    """
    namespace = str(Path("/proc/self/ns/pid").readlink())
    identity = _text(Path("/etc/machine-id")) + platform.node() + namespace
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _boot() -> str:
    return _text(Path("/proc/sys/kernel/random/boot_id"))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
