"""Find a QEMU on this machine that loads plugins, and which of the plugins it loads."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pibench.errors import HostError
from pibench.images.counter import API_VERSIONS
from pibench.process import run
from pibench.targets import emulation

if TYPE_CHECKING:
    from pathlib import Path

    from pibench.images.build import Builder

PROGRAM: Final = "qemu-aarch64"
_DEADLINE_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class CountingEmulator:
    """The emulator's path, its version line, and the plugin built for it."""

    program: str
    version: str
    plugin: Path


def find(builder: Builder, root: Path, cpu: str) -> CountingEmulator:
    """Find the machine's qemu-aarch64 and the newest plugin that it loads.

    The plugin is tested on `root`'s Python.

    Raises:
        HostError: The program is missing, or loads no plugin: static ones, such as Debian 13's
            qemu-user and any qemu-user-static, cannot.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise HostError(
            f"counting needs QEMU's user-mode emulator, but {PROGRAM} is not installed",
            hint="sudo apt-get install qemu-user",
        )
    version = run([program, "--version"], deadline_s=_DEADLINE_S).stdout.partition("\n")[0]
    if "-plugin" not in run([program, "-h"], deadline_s=_DEADLINE_S).stdout:
        raise HostError(
            f"{version} at {program} is statically linked and cannot load plugins",
            hint="put a dynamically linked qemu-aarch64 first in PATH, for example from "
            "Debian 12's packages qemu-user and libcapstone4, which also run on Debian 13",
        )
    output = ""
    for api in API_VERSIONS:
        plugin = builder.counter(api)
        python = [str(root / "usr/bin/python3.9"), "--version"]
        tried = run(
            [program, "-plugin", str(plugin), "-L", str(root), *python],
            env=emulation.environment(cpu),
            deadline_s=_DEADLINE_S,
            check=False,
        )
        if tried.returncode == 0:
            return CountingEmulator(program=program, version=version, plugin=plugin)
        output = tried.last_lines()
    raise HostError(
        f"{version} cannot load the instruction counter: {output}",
        hint="use QEMU 7.2 from Debian 12",
    )
