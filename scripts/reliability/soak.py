"""Many runs in a row of one small network in one process: does anything grow?

    python scripts/reliability/soak.py --runs 500 --target container

Prints a Markdown table of this process's file descriptors, threads and memory, and of what
lies in the temporary folder, in the cache and, of pibench's, in the Engine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from docker import from_env
from pibench import api, settings
from pibench.targets.container.engine import OWNER_LABEL

NETWORK = "SqueezeNet V1.1"
PER_BOOT = 20
"""Runs that share one emulated machine; in containers each has one of its own."""
ROWS = 10
MIB = 2**20


def bytes_below(folder: Path) -> int:
    """What the files of a folder take."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


def containers() -> int:
    """Containers of this process, running or not."""
    with contextlib.closing(from_env()) as client:
        found = client.api.containers(all=True, filters={"label": OWNER_LABEL})
    mark = f'"pid": {os.getpid()},'
    return sum(mark in container["Labels"][OWNER_LABEL] for container in found)


def state(target: str) -> list[str]:
    """One row of the table, without its first cell."""
    process = psutil.Process()
    left = list(Path(tempfile.gettempdir()).glob("pibench-*"))
    return [
        str(process.num_fds()),
        str(process.num_threads()),
        str(len(process.children(recursive=True))),
        f"{process.memory_info().rss / MIB:.1f}",
        str(len([path for path in left if f"-{process.pid}-" in path.name])),
        f"{bytes_below(settings.cache_dir()) / MIB:.1f}",
        str(containers()) if target == "container" else "",
    ]


def main() -> int:
    """Run, and print a row every tenth of the way."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--target", choices=["container", "vm"], default="container")
    asked = parser.parse_args()
    each = PER_BOOT if asked.target == "vm" else 1
    verdicts: Counter[str] = Counter()
    print(
        "| runs | descriptors | threads | children | memory MiB | temporary folders "
        "| cache MiB | containers |\n|---:|---:|---:|---:|---:|---:|---:|---:|",
        flush=True,
    )
    done = 0
    begun = time.monotonic()
    while done < asked.runs:
        count = min(each, asked.runs - done)
        for record in api.run([NETWORK] * count, target=asked.target, jobs=1):
            verdicts[record.verdict] += 1
        before, done = done, done + count
        step = max(1, asked.runs // ROWS)
        # The first run loads what all others share.
        if before == 0 or done // step > before // step:
            print(f"| {done} | {' | '.join(state(asked.target))} |", flush=True)
    took_s = time.monotonic() - begun
    summary = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    print(
        f"\n{asked.runs} runs of {NETWORK} on {asked.target} in {took_s / 60:.0f} min: {summary}."
    )
    return 0 if verdicts == Counter(fit=asked.runs) else 1


if __name__ == "__main__":
    sys.exit(main())
