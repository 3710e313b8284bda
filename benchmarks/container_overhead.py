"""What `pibench run` costs on top of the bare `docker run ... caffe time` of the same network.

Prints both times, the least of several in turns, and the overhead, for memory-only
and for real compute. Needs a Docker Engine that runs arm64 containers (make engine):

    python benchmarks/container_overhead.py [NETWORK] [ROUNDS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pibench import devices, networks
from pibench.engines.base import Compute
from pibench.images.archive import container_tag
from pibench.images.build import Builder
from pibench.process import run
from pibench.targets import emulation

DEADLINE_S = 3600.0


def bare_command(folder: Path, compute: Compute, builder: Builder) -> list[str]:
    """`docker run` of Caffe on the prototxt in `folder`, with no more than it needs."""
    device = devices.load("rpi3b")
    env = {**emulation.environment(device.qemu_cpu), "OPENBLAS_NUM_THREADS": str(device.cores)}
    if compute == "memory-only":
        env |= {"LD_PRELOAD": "/job/libpibench_blas.so", "GLOG_minloglevel": "2"}
    return [
        *("docker", "run", "--rm", "--network=none", "--platform=linux/arm64"),
        *(f"--volume={folder}:/job:ro", *(f"--env={name}={env[name]}" for name in env)),
        container_tag(builder.sysroot()),
        *("/usr/bin/caffe", "time", "-model", "/job/model.prototxt", "-iterations", "1"),
    ]


def seconds(argv: Sequence[str]) -> float:
    """The time of one command, start to end."""
    started = time.monotonic()
    run(argv, deadline_s=DEADLINE_S)
    return time.monotonic() - started


def main() -> None:
    """Measure both in turns and print them."""
    name = sys.argv[1] if len(sys.argv) > 1 else "SqueezeNet V1.1"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    builder = Builder()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        (folder / "model.prototxt").write_text(networks.load(name).prototxt)
        blas = builder.blas("arm64")
        (folder / blas.name).write_bytes(blas.read_bytes())
        for compute in get_args(Compute):
            bare = bare_command(folder, compute, builder)
            pibench_run = [
                *(sys.executable, "-m", "pibench", "run", name, "--target=container"),
                *(f"--compute={compute}", "--quiet"),
            ]
            # The first call hands the image over and measures the emulator.
            seconds(pibench_run)
            times = [(seconds(bare), seconds(pibench_run)) for _ in range(rounds)]
            bare_s, pibench_s = (min(column) for column in zip(*times, strict=True))
            print(
                f"{name}, {compute}: docker run {bare_s:.2f} s, pibench run {pibench_s:.2f} s: "
                f"{pibench_s - bare_s:+.2f} s, of which 15 % and 1 s would be "
                f"{0.15 * bare_s + 1.0:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
