"""The limits of a control group as a probe inside it reads them, for version 1 and 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pibench.probe.cgroup import limit_of


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The limits that the probe read inside: bytes and cores, None where it could read nothing."""

    memory_bytes: int | None
    swap_bytes: int | None
    cores: float | None


def in_force(machine: Mapping[str, Any]) -> InForce:
    """Return the limits in a probe's `hello` event."""
    memory = machine.get("cgroup_memory") or {}
    limit = limit_of(memory.get("limit"))
    swap = limit_of(memory.get("swap_limit"))
    if memory.get("version") == 1 and swap is not None and limit is not None:
        # Version 1 limits memory and swap together.
        swap -= limit
    if swap is None and machine.get("swap_total_kib") == 0:
        swap = 0
    quota = machine.get("cgroup_cpu") or {}
    usable = machine.get("cores_usable")
    cores = quota["quota_us"] / quota["period_us"] if quota.get("quota_us") else None
    if cores is not None and usable is not None:
        cores = min(cores, float(usable))
    return InForce(memory_bytes=limit, swap_bytes=swap, cores=cores)
