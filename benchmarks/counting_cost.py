"""How much longer an emulated run takes when its instructions are counted.

Runs one network under QEMU three ways, in turn: uncounted, counted, and counted with the
model of the caches. Prints the medians of the processor time that each took:

    python benchmarks/counting_cost.py [NETWORK [REPEATS]]
"""

from __future__ import annotations

import resource
import sys
from statistics import median

from pibench import devices, networks
from pibench.counting import Counter
from pibench.images.build import Builder

LIMITS = {"counted": 1.2, "counted, with caches": 2.0}


def cost_s(counter: Counter, name: str, *, counting: bool) -> float:
    """Seconds of processor time of one run: what else the machine does matters less."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    counter.execute(networks.load(name), counting=counting)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def main() -> None:
    """Measure and print; the exit code is 1 if a way costs more than it may."""
    name = sys.argv[1] if len(sys.argv) > 1 else "SqueezeNet V1.1"
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    device, builder = devices.load("rpi3b"), Builder()
    plain = Counter(device, builder, cache_model=False)
    ways = {
        "uncounted": (plain, False),
        "counted": (plain, True),
        "counted, with caches": (Counter(device, builder), True),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, (counter, counting) in ways.items():
            seconds[way].append(cost_s(counter, name, counting=counting))
    base_s = median(seconds["uncounted"])
    failed = False
    for way, found in seconds.items():
        ratio = median(found) / base_s
        failed |= ratio > LIMITS.get(way, 1.0)
        print(f"{name}, {way}: {median(found):.1f} s, {ratio:.2f} times")
    sys.exit(failed)


if __name__ == "__main__":
    main()
