"""Planned peaks beside measured ones, for networks of Caffe's forks in published styles.

Prints a row per target, protocol and network of tests/wild/forks.py, and the worst error; exits
with 1 where a plan is more than 2 % off:

    python benchmarks/planned_styles.py [--target twin]... [--protocol caffe-time]... [STYLE...]

The default is all targets that run here without a board, both protocols and all styles: about half
an hour. Emulated targets compute memory-only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pibench import api, devices
from pibench.crosscheck.planned import Comparison, compare, environment_of, summary
from pibench.devices import MIB
from pibench.engines.base import Protocol
from pibench.errors import InvalidInputError
from pibench.plan.planner import plan
from tests.wild.forks import FORKED

DEVICE = devices.load("rpi3b")
TARGETS = ("twin", "sysroot", "container", "vm")
PROTOCOLS: tuple[Protocol, ...] = ("caffe-time", "inference")
NEAR = 0.02


def compared(target: str, protocol: Protocol, styles: list[str], folder: Path) -> list[Comparison]:
    """Run the styles on a target, and print a row for each."""
    loaded = []
    for style in styles:
        path = folder / f"{style}.prototxt"
        path.write_text(FORKED[style]())
        network = api.network(path)
        try:
            api.plan(network, protocol=protocol)
        except InvalidInputError as refusal:
            print(f"{target:10} {protocol:11} {network.name:20} not run: {refusal.line()}")
        else:
            loaded.append(network)
    rows = []
    for network, record in zip(
        loaded,
        api.run(loaded, target=target, protocol=protocol, compute="memory-only"),
        strict=True,
    ):
        environment = environment_of(record, DEVICE)
        row = compare(record, plan(network, protocol=record.protocol, environment=environment))
        rows.append(row)
        measured = f"{row.measured_bytes / MIB:9.2f}" if row.measured_bytes else "         "
        error = f"{row.error:+7.2%}" if row.error is not None else ""
        print(
            f"{target:10} {protocol:11} {network.name:20} {row.planned_bytes / MIB:9.2f} {measured}"
            f" {error:8} {row.note}",
            flush=True,
        )
    return rows


def main() -> int:
    """Run what is asked for, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--protocol", action="append", choices=PROTOCOLS)
    parser.add_argument("style", nargs="*", metavar="STYLE", help=", ".join(FORKED))
    asked = parser.parse_args()
    if unknown := set(asked.style) - set(FORKED):
        parser.error(f"no style {min(unknown)}: {', '.join(FORKED)}")
    print("target     protocol    network                planned  measured MiB, error")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for target in asked.target or TARGETS:
            for protocol in asked.protocol or PROTOCOLS:
                styles = asked.style or list(FORKED)
                rows += compared(target, protocol, styles, Path(folder))
    print(summary(rows))
    return int(any(row.error is None or abs(row.error) > NEAR for row in rows))


if __name__ == "__main__":
    sys.exit(main())
