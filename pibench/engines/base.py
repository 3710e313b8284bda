"""What an engine is: the program that runs a network, as the rest of pibench knows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pibench.records.schema import Compute, Protocol

PROGRAM: Final = "{program}"
"""Stands for the engine's program, with what a target needs to start it, in a command."""
PYTHON: Final = "{python}"
"""Stands for the target's Python in a command."""
BAD_ALLOC: Final = re.compile(r"std::bad_alloc|MemoryError|[Cc]annot allocate memory")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine: its files, its program, and how its messages are understood.

    A second engine is an instance of this class, or of a subclass, and a probe module.

    Attributes:
        id: The name for `--engine` and in records: lower-case letters, digits and `_`.
        label: The name in messages.
        probe_module: The module that the probe loads in the target to start the engine and to
            read its log: see pibench/probe/engines/__init__.py for its functions. It imports
            only the probe and the standard library of Python 3.5.
        program: The path of its program in pibench's root file systems, such as
            `usr/bin/caffe`; the last part is the program's name on a machine that has its own.
            None for an engine that is a module of the target's Python.
        packages: Its Debian packages in pibench's images; empty if the images lack it.
        install_hint: How to install it on a machine of one's own.
        protocols: The protocols that it can run; the first is its default.
        computes: The kinds of compute that it can do; memory-only needs OpenBLAS.
        model_suffix: The ending of a model file's name.
        weights_suffix: The ending of a weights file's name.
        processes: The names of its processes in the kernel's log.
        refused_allocation: Finds, in the message with which it ends, that it was refused
            memory. The first group, if any, is the size in bytes.
    """

    id: str
    label: str
    probe_module: Path
    program: str | None = None
    packages: tuple[str, ...] = ()
    install_hint: str = ""
    protocols: tuple[Protocol, ...] = ("inference",)
    computes: tuple[Compute, ...] = ("real",)
    model_suffix: str = ".prototxt"
    weights_suffix: str = ".caffemodel"
    processes: tuple[str, ...] = ("python3",)
    refused_allocation: re.Pattern[str] = BAD_ALLOC

    @property
    def program_name(self) -> str | None:
        """The program's name on a machine that has the engine installed."""
        return PurePosixPath(self.program).name if self.program else None

    def trials(self, protocols: Iterable[Protocol]) -> list[list[str]]:  # noqa: ARG002
        """Return short commands that all succeed where the engine can run these protocols.

        In a command, PROGRAM and PYTHON stand for the engine's program and the target's Python.
        """
        return [[PROGRAM if self.program else PYTHON, "--version"]]

    def write_model(self, prototxt: str, path: Path) -> None:
        """Write the network to `path`, in the engine's own format."""
        path.write_text(prototxt, encoding="utf-8")

    def refused_bytes(self, message: str) -> int | None:
        """Return the size of the block that was refused; None if none was, or it is unknown."""
        found = self.refused_allocation.search(message)
        return int(found[1]) if found and found.re.groups and found[1] else None
