"""Keeping what runs an untrusted model away from the rest of the machine, where bwrap can."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache

from pibench.errors import HostError
from pibench.process import run

_PROBE_DEADLINE_S = 10.0


def sandboxed(argv: Sequence[str]) -> list[str]:
    """The command line behind bwrap: no network, and nothing that can be written to.

    Without a working bwrap (not installed, or user namespaces switched off)
    the command line as it is: it still runs as an own process with the
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
    """Whether bwrap is installed and may make its namespaces here."""
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
