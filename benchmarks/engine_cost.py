"""What a run with each engine costs, on the twin and emulated.

Runs one network forward once with each engine, on the twin and on a target that emulates the
board, and prints elapsed and processor time of the whole command:

    python benchmarks/engine_cost.py [NETWORK [TARGET]]

No engine but Caffe calls a BLAS that could be left out, so each run computes for real.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from pibench.engines.registry import BUILT_IN


def cost_s(name: str, engine: str, target: str) -> tuple[float, float]:
    """Return the elapsed and the processor time of a run, in seconds."""
    command = [sys.executable, "-m", "pibench", "run", name, "--engine", engine, "--quiet"]
    command += ["--target", target, "--protocol", "inference", "--compute", "real"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*command, "--repeats", "0"], check=True, stdout=subprocess.DEVNULL)
    elapsed_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed_s, sum((after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime))


def main() -> None:
    """Measure and print; the first run of each, which builds and calibrates, does not count."""
    name = sys.argv[1] if len(sys.argv) > 1 else "SqueezeNet V1.1"
    emulated = sys.argv[2] if len(sys.argv) > 2 else "sysroot"
    for engine in filter(lambda one: one.model_format, BUILT_IN):
        for target in ("twin", emulated):
            cost_s(name, engine.id, target)
            elapsed_s, cpu_s = cost_s(name, engine.id, target)
            print(f"{name}, {engine.label}, {target}: {elapsed_s:.1f} s, of the CPU {cpu_s:.1f} s")


if __name__ == "__main__":
    main()
