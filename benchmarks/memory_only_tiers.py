"""Peak memory and CPU time of memory-only compute without and with its second tier.

Prints a row per network: the peak with stand-ins for the BLAS alone, what stand-ins for Caffe's
own loops change of it, what real compute changes, and the CPU seconds of each network's process:

    python benchmarks/memory_only_tiers.py [--target twin|sysroot] [--real] [NETWORK...]

The default is all of the paper's networks on the twin, without real compute.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import Any

from pibench import devices, networks
from pibench.engines.base import Compute
from pibench.images.build import Builder
from pibench.runner.options import RunOptions
from pibench.runner.runner import Runner
from pibench.targets.base import Target
from pibench.targets.local import TwinTarget
from pibench.targets.sysroot import SysrootTarget

MIB = 2**20
NEAR_MIB = 0.5
NEAR_FRACTION = 0.003
DEVICE = devices.load("rpi3b")


@dataclass(frozen=True)
class Measured:
    """One run: its peak, None where it did not come to its end, and its CPU time."""

    peak_mib: float | None
    cpu_s: float


def measure(target_name: str, network: str, compute: Compute, tier: str) -> Measured:
    """Run one network, alone."""
    os.environ["PIBENCH_MEMORY_ONLY_TIER"] = tier
    builder = Builder()
    target: Target = (
        TwinTarget(builder, processes_at_once=1)
        if target_name == "twin"
        else SysrootTarget(DEVICE, builder, processes_at_once=1)
    )
    loaded = [networks.load(network)]
    options = RunOptions(device=DEVICE.id, target=target_name, compute=compute)
    results: list[dict[str, Any]] = []
    runner = Runner(
        target=target,
        options=options,
        on_outcome=lambda outcome: results.append(outcome.result or {}),
    )
    (record,) = runner.run(loaded)
    (result,) = results
    cpu_s = (result["user_ms"] + result["system_ms"]) / 1000
    if compute == "memory-only" and record.memory_only_tier != tier:
        raise SystemExit(f"{network}: tier {record.memory_only_tier}: {record.evidence.notes}")
    ended = record.evidence.exit_status == 0 and record.peak_rss_bytes is not None
    return Measured((record.peak_rss_bytes or 0) / MIB if ended else None, cpu_s)


def change(one: Measured, other: Measured) -> str:
    """Return the second peak less the first, marked where it is too far from it."""
    if one.peak_mib is None or other.peak_mib is None:
        return "does not fit"
    by_mib = other.peak_mib - one.peak_mib
    near = abs(by_mib) <= max(NEAR_MIB, NEAR_FRACTION * one.peak_mib)
    return f"{by_mib:+.2f}{'' if near else ' (!)'}"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--target", choices=("twin", "sysroot"), default="twin")
    parser.add_argument("--real", action="store_true")
    asked = parser.parse_args()
    names = asked.networks or [one.name for one in networks.catalog_entries() if one.in_paper]
    print(f"{asked.target}: peak in MiB, changes in MiB, CPU time in s")
    print("| network | BLAS alone | with loops | real | CPU BLAS | CPU loops | CPU real |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in names:
        first = measure(asked.target, name, "memory-only", "blas")
        second = measure(asked.target, name, "memory-only", "loops")
        real = measure(asked.target, name, "real", "loops") if asked.real else None
        peak = f"{first.peak_mib:.2f}" if first.peak_mib is not None else "does not fit"
        print(
            f"| {name} | {peak} | {change(first, second)} | {change(first, real) if real else ''} "
            f"| {first.cpu_s:.2f} | {second.cpu_s:.2f} | {f'{real.cpu_s:.1f}' if real else ''} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
