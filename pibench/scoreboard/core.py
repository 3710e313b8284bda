"""The rules of a core: what issues together, and when a result can be used."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from pibench.errors import InvalidInputError


@dataclass(frozen=True, kw_only=True)
class Core:
    """The content of a core's file; the file explains each number and gives its source."""

    name: str
    issue_width: int
    fp_lanes: int
    wide_fp_issues_first: bool
    vector_load_beside_mac: bool
    vector_load_hazard_cycles: int
    branch_ends_issue: bool
    latency: dict[str, int]
    throughput: dict[str, int]


@cache
def load_core(cpu: str) -> Core:
    """Return the core of a device profile's `cpu`, such as `cortex-a53`.

    Raises:
        InvalidInputError: There is no file for it.
    """
    file = resources.files(__package__) / f"{cpu}.toml"
    if not file.is_file():
        raise InvalidInputError(
            f"there are no rules for the instructions of a {cpu}",
            hint="cycles are known for the cortex-a53",
        )
    return Core(**tomllib.loads(file.read_text(encoding="utf-8")))
