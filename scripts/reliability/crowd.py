#!/usr/bin/env python3
"""Runs networks near and far from the limit on a machine where nothing is as it should be.

    python scripts/reliability/crowd.py --runs 200

Meanwhile the kernel kills other programs for want of memory, the group around pibench (a pod of a
CI service, say) shrinks and grows between 300 and 2000 MiB, and the emulator and Caffe are
stopped, killed and sent signals. A verdict may then be inconclusive, and must not be wrong.
Takes root, for control groups and for an Engine whose containers are in a group of its own.
Exits with 1 after a wrong verdict.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pibench import devices, networks
from pibench.images.build import Builder
from pibench.runner.options import RunOptions
from pibench.runner.runner import Runner
from pibench.targets.base import Target
from pibench.targets.local import TwinTarget
from pibench.targets.registry import make_target
from pibench.verdict import BORDERLINE_BAND
from tests.emulation import crowd
from tests.emulation.engines import OwnEngine

DEVICE = devices.load("rpi3b")
TARGETS = ("twin", "sysroot", "container")
# Of VGG 16, whose two inner products decide what it takes: 890 to 1000 MiB.
UNITS = (1700, 1950, 2200)
DEADLINE_S = 180
VERDICTS = ("fit", "borderline", "no-fit", "inconclusive", "no record")


@dataclass
class Tally:
    """What came of the runs, by target; `wrong` has those that contradict the quiet machine."""

    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def runs(self) -> int:
        """How many runs there were."""
        return sum(counts.total() for counts in self.verdicts.values())

    def table(self) -> str:
        """The verdicts in Markdown."""
        lines = [f"| target | {' | '.join(VERDICTS)} | wrong |", "|---|" + "---:|" * 6]
        for target, counts in self.verdicts.items():
            cells = [str(counts[verdict]) for verdict in VERDICTS]
            wrong = sum(line.startswith(f"{target} ") for line in self.wrong)
            lines.append(f"| {target} | {' | '.join(cells)} | {wrong} |")
        return "\n".join(lines)


def write_networks(folder: Path) -> list[str]:
    """Networks far below the limit, close to it on both sides, and far above."""
    text = networks.load("VGG 16").prototxt
    specs = ["SqueezeNet V1.1", "ResNet-101", "Inception-V4", "VGG 16"]
    for units in UNITS:
        path = folder / f"vgg-{units}.prototxt"
        path.write_text(text.replace("num_output: 4096", f"num_output: {units}"))
        specs.append(str(path))
    return specs


def right_verdicts(builder: Builder, specs: Sequence[str]) -> dict[str, set[str]]:
    """The conclusive verdicts that are right, by the peaks on the twin while it is quiet."""
    sweep = Runner(target=TwinTarget(builder), options=RunOptions())
    records = sweep.run([networks.load(spec) for spec in specs])
    right = {}
    for spec, record in zip(specs, records, strict=True):
        share = (record.peak_rss_bytes or 0) / DEVICE.usable_bytes
        close = abs(share - 1) <= 2 * BORDERLINE_BAND
        right[spec] = {"fit", "no-fit"} if close else {"fit"} if share < 1 else {"no-fit"}
    return right


def run_one(spec: str, target: str, group: crowd.Outer, chance: random.Random, env: dict) -> str:
    """The verdict of one disturbed run."""
    command = [sys.executable, "-m", "pibench", "run", spec, "--target", target, "--json"]
    group.limit(chance.randint(300, 2000) * crowd.MIB)
    # The Engine's containers have the group, and pibench only talks to it.
    argv = command if target == "container" else group.within(command)
    with crowd.disturbed(group, chance):
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, check=False, timeout=DEADLINE_S,
                env=os.environ | env,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "no record"
    group.limit(1 << 40)
    if "Traceback" in done.stderr or "internal error" in done.stderr:
        return f"internal error: {done.stderr.strip().splitlines()[-1]}"
    try:
        (record,) = json.loads(done.stdout)
    except ValueError:
        return "no record"
    return str(record["verdict"])


def prepare(builder: Builder, targets: Sequence[str]) -> None:
    """Build and calibrate while the machine is quiet."""
    for name in targets:
        target: Target = make_target(name, DEVICE, builder)
        Runner(target=target, options=RunOptions()).run([networks.load("SqueezeNet V1.1")])


def run_all(
    builder: Builder, folder: Path, *, runs: int, seed: int, targets: Sequence[str] = TARGETS
) -> Tally:
    """Run that many networks, on the targets in turn."""
    chance = random.Random(seed)
    specs = write_networks(folder)
    right = right_verdicts(builder, specs)
    tally = Tally({target: Counter() for target in targets})
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(crowd.outer(1 << 40))
        engine_group, env = group, {}
        if "container" in targets:
            engine = OwnEngine(Path(tempfile.mkdtemp(prefix="e")))
            engine.start()
            stack.callback(engine.stop)
            engine_group = crowd.Outer(engine.group_folder(), 1)
            env = {"DOCKER_HOST": engine.host}
            os.environ |= env
        prepare(builder, targets)
        for number in range(runs):
            target, spec = targets[number % len(targets)], chance.choice(specs)
            around = engine_group if target == "container" else group
            verdict = run_one(spec, target, around, chance, env)
            tally.verdicts[target][verdict] += 1
            conclusive = verdict in ("fit", "no-fit")
            if (conclusive and verdict not in right[spec]) or verdict not in VERDICTS:
                tally.wrong.append(f"{target} {Path(spec).name}: {verdict}")
    return tally


def main() -> None:
    """Run and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=TARGETS, action="append")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crowd-") as folder:
        tally = run_all(
            Builder(), Path(folder), runs=options.runs, seed=options.seed,
            targets=options.target or TARGETS,
        )  # fmt: skip
    print(tally.table())
    print(f"\n{tally.runs} runs, {len(tally.wrong)} wrong verdicts.")
    for line in tally.wrong:
        print(f"- {line}")
    sys.exit(1 if tally.wrong else 0)


if __name__ == "__main__":
    main()
