"""The rules of a core: what issues together, and when a result can be used."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from pibench.errors import InvalidInputError


@dataclass(frozen=True, kw_only=True)
class _AnyCore:
    """The content of a core's file; the file explains each number and gives its source."""

    name: str
    issue_width: int
    latency: dict[str, int]
    throughput: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class InOrderCore(_AnyCore):
    """A core whose instructions issue in the order of the program."""

    fp_lanes: int
    wide_fp_issues_first: bool
    vector_load_beside_mac: bool
    vector_load_hazard_cycles: int
    branch_ends_issue: bool


@dataclass(frozen=True, kw_only=True)
class OutOfOrderCore(_AnyCore):
    """A core whose instructions wait for their operands and their pipe alone."""

    pipes: dict[str, int]
    bits: dict[str, int]


Core = InOrderCore | OutOfOrderCore


def known_cores() -> tuple[str, ...]:
    """Return the names of the cores with rules, sorted."""
    names = (file.name for file in resources.files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


@cache
def load_core(cpu: str) -> Core:
    """Return the core of a device profile's `cpu`, such as `cortex-a53`.

    Raises:
        InvalidInputError: There is no file for it.
    """
    if cpu not in known_cores():
        raise InvalidInputError(
            f"there are no rules for the instructions of a {cpu}",
            hint=f"cycles are known for: {', '.join(known_cores())}",
        )
    file = resources.files(__package__) / f"{cpu}.toml"
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    if content.pop("out_of_order"):
        return OutOfOrderCore(**content)
    return InOrderCore(**content)
