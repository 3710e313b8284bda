"""Caffe: the engine, and below it what reads Caffe's files and knows its rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pibench.engines.base import PROGRAM, PYTHON, Engine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pibench.engines.base import Protocol

Repair = bool | Literal["paper"]
"""Whether what stock Caffe rejects is fixed; "paper" takes `ceil_mode: false` out, as it did."""


@dataclass(frozen=True, kw_only=True)
class CaffeEngine(Engine):
    """Caffe 1.0, as `caffe time` and, under `inference`, as pycaffe."""

    def trials(self, protocols: Iterable[Protocol]) -> list[list[str]]:
        """Return the commands that show whether Caffe, and pycaffe where needed, work."""
        pycaffe = [[PYTHON, "-c", "import caffe"]] if "inference" in protocols else []
        return [[PROGRAM, "--version"], *pycaffe]


CAFFE: Final = CaffeEngine(
    id="caffe",
    label="Caffe",
    probe_module=Path(__file__).parents[2] / "probe/engines/caffe.py",
    program="usr/bin/caffe",
    packages=("caffe", "python3-caffe"),
    install_hint="install it (Debian 11: sudo apt-get install caffe python3-caffe)",
    protocols=("caffe-time", "inference"),
    computes=("real", "memory-only"),
    processes=("caffe", "python3"),
    # Caffe's own check (include/caffe/syncedmem.hpp), and the C++ exception for small blocks.
    refused_allocation=re.compile(r"host allocation of size (\d+) failed|std::bad_alloc"),
)
