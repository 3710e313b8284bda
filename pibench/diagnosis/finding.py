"""Checks of this machine, and their results."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Literal

from pibench.targets import binfmt, emulation

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


def registration() -> list[Finding]:
    """Return what prevents containers for arm64, one finding for each problem."""
    if not emulation.needed():
        return [Finding(name="binfmt", state="ok", found="not needed: this processor is an arm64")]
    return registration_findings(binfmt.check())


def registration_findings(found: binfmt.Registration) -> list[Finding]:
    """Return a registration as findings: the handler, or one for each problem."""
    if found.handler is not None and not found.problems:
        text = f"{found.handler.name}, flags {found.handler.flags}: {found.qemu_version}"
        return [Finding(name="binfmt", state="ok", found=text)]
    return [
        Finding(name="binfmt", state="missing", found=problem.text, fix=problem.fix)
        for problem in found.problems
    ]


def user_emulator() -> Finding:
    """Return the emulator for single programs of a sysroot; the dynamic or the static one."""
    if shutil.which("qemu-aarch64") is None and shutil.which("qemu-aarch64-static"):
        return program("qemu-aarch64-static", "qemu-user-static")
    return program("qemu-aarch64", "qemu-user")
