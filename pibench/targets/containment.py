"""Keeping what runs an untrusted model away from the rest of the machine, where bwrap can."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pibench.errors import EnvironmentFault
from pibench.process import run

_PROBE_DEADLINE_S = 10.0


def contained(argv: Sequence[str], *, readable: Sequence[Path]) -> list[str]:
    """The command line behind bwrap: no network, nothing writable but an empty /tmp.

    Without a working bwrap (not installed, or user namespaces switched off)
    the command line as it is: it still runs as an own process with the
    user's rights. `readable` are the folders that stay visible under /tmp.
    """
    if not available():
        return list(argv)
    return [
        "bwrap",
        *("--unshare-net", "--unshare-ipc", "--die-with-parent", "--new-session"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/tmp"),  # noqa: S108
        *(part for path in readable for part in ("--ro-bind-try", str(path), str(path))),
        "--",
        *argv,
    ]


@cache
def available() -> bool:
    """Whether bwrap is installed and may make its namespaces here."""
    if shutil.which("bwrap") is None:
        return False
    try:
        tried = run(
            ["bwrap", "--unshare-net", "--ro-bind", "/", "/", "true"],
            deadline_s=_PROBE_DEADLINE_S,
            check=False,
        )
    except EnvironmentFault:
        return False
    return tried.returncode == 0
