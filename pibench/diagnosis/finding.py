"""One check of this machine and its result."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "optional"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check: its state, what was found, and the command that fixes it."""

    name: str
    state: State
    found: str
    fix: str | None = None


def program(name: str, package: str, *, optional: bool = False) -> Finding:
    """Return whether a program is installed; `package` is the Debian package that contains it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path:
        return Finding(name=name, state="ok", found=path)
    return Finding(
        name=name,
        state="optional" if optional else "missing",
        found="not installed",
        fix=f"sudo apt-get install {package}",
    )
