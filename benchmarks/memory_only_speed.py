"""How much faster memory-only compute is than real compute, in the same target.

Prints the ratio of the two times of one network, both measured by the probe
in the emulated board in this run, and the peaks that both reached:

    python benchmarks/memory_only_speed.py [NETWORK]

The default, ResNet-101, takes several minutes of real compute.
"""

from __future__ import annotations

import sys

from pibench import devices, networks
from pibench.engines.base import Compute
from pibench.images.build import Builder
from pibench.records.schema import Record
from pibench.runner.options import RunOptions
from pibench.runner.runner import Runner
from pibench.targets.vm import VmTarget

MIB = 2**20


def measure(name: str, compute: Compute) -> Record:
    """One network on the emulated board, alone on the machine."""
    device = devices.load("rpi3b")
    target = VmTarget(device, Builder(), machines_at_once=1)
    request = RunOptions(device=device.id, compute=compute)
    return Runner(target=target, options=request).run([networks.load(name)])[0]


def main() -> None:
    """Measure both and print them."""
    name = sys.argv[1] if len(sys.argv) > 1 else "ResNet-101"
    seconds: dict[str, float] = {}
    computes: tuple[Compute, ...] = ("memory-only", "real")
    for compute in computes:
        record = measure(name, compute)
        seconds[compute] = record.evidence.elapsed_seconds or 0.0
        peak_mib = (record.peak_rss_bytes or 0) / MIB
        print(f"{name}, {compute}: {seconds[compute]:.1f} s, peak {peak_mib:.0f} MiB")
    print(f"memory-only is {seconds['real'] / seconds['memory-only']:.1f} times faster")


if __name__ == "__main__":
    main()
