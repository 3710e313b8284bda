"""Isolate a process that runs an untrusted model from the rest of the machine, with bwrap."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache

from pibench.errors import HostError
from pibench.process import run

_PROBE_DEADLINE_S = 10.0


def sandboxed(argv: Sequence[str]) -> list[str]:
    """Return the command line wrapped in bwrap: no network, and no writable files.

    Without a working bwrap (not installed, or user namespaces disabled) the command
    line is returned unchanged: it still runs as a separate process with the
    user's rights.
    """
    if not available():
        return list(argv)
    return [
        "bwrap",
        *("--unshare-net", "--unshare-ipc", "--die-with-parent", "--new-session"),
        *("--ro-bind", "/", "/", "--dev", "/dev"),
        "--",
        *argv,
    ]


@cache
def available() -> bool:
    """Return whether bwrap is installed and can make its namespaces here."""
    if shutil.which("bwrap") is None:
        return False
    try:
        tried = run(
            ["bwrap", "--unshare-net", "--ro-bind", "/", "/", "true"],
            deadline_s=_PROBE_DEADLINE_S,
            check=False,
        )
    except HostError:
        return False
    return tried.returncode == 0
