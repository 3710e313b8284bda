"""Set-ups: named configurations of BLAS and allocator, which decide what a network makes resident.

A user's networks run with Debian 11's packages as they are. The other set-up is inferred from the
RAM column of the paper; nothing else shows that the paper's board had it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, Literal, get_args

Blas = Literal["openblas", "reference", "atlas"]
"""The BLAS libraries that Caffe can run with; pibench.images.blas builds or downloads them."""
BLAS_NAMES: Final[tuple[Blas, ...]] = get_args(Blas)
Setup = Literal["debian11", "paper-inferred"]
DEFAULT: Final[Setup] = "debian11"
NAMES: Final[tuple[Setup, ...]] = get_args(Setup)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The parameters of a set-up (see setups.toml), and the evidence for an inferred one."""

    title: str
    job_table: Literal["heap", "stack"]
    unmapped_bytes: int
    counts_exit: bool
    evidence: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that give a program this set-up.

        The memory-only BLAS reads those of pibench, glibc's malloc the others.
        """
        variables = {}
        if self.job_table == "stack":
            variables["PIBENCH_BLAS_JOB_TABLE"] = "stack"
        if self.unmapped_bytes:
            variables["MALLOC_MMAP_THRESHOLD_"] = str(self.unmapped_bytes)
            variables["MALLOC_TRIM_THRESHOLD_"] = str(2 * self.unmapped_bytes)
        if not self.counts_exit:
            variables["PIBENCH_END_AT_EXIT"] = "1"
        return variables


def parameters(name: Setup) -> Parameters:
    """Return the parameters of a set-up."""
    return _all()[name]


@cache
def _all() -> dict[str, Parameters]:
    file = resources.files(__package__) / "setups.toml"
    found = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        name: Parameters(**one | {"evidence": tuple(one.get("evidence", ()))})
        for name, one in found.items()
    }
