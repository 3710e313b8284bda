"""An older build of pibench against this tree: the same jobs in turns, on the same machine.

Installs OLD_WHEEL and the wheel of this tree into environments of their own, runs each job with
either in turn (old, new, old, new ...), and prints Markdown: the least wall and processor time of
each, their ratios, whether the verdicts are the same, and the peaks that both measured:

    git worktree add /tmp/older COMMIT && pip wheel --no-deps --wheel-dir /tmp/wheels /tmp/older
    python benchmarks/main_job.py /tmp/wheels/*.whl [--jobs help,plan,vm] [--rounds 3]

Images are not timed: each is built, or found in the cache by its key, by an untimed run. Both
builds use the same cache unless `--cache FOLDER` gives each a folder of its own there. Processor
time is that of all processes that pibench started and waited for, QEMU included. A container's
processes belong to the Engine and are not in it: for that target the wall time counts. The first
round of this tree also measures the twin's peaks of networks that do not fit; it keeps them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pibench import networks
from pibench.cli.output import say
from pibench.errors import ExitCode

ROOT = Path(__file__).resolve().parent.parent
MIB = 2**20
PAPER = [entry.name for entry in networks.catalog_entries() if entry.in_paper]
SMALL, LARGE = "SqueezeNet V1.1", "Inception-V4"
RECORDS = Path("records.jsonl")
JOBS: dict[str, tuple[str, ...]] = {
    "help": ("--help",),
    "plan": ("plan", *PAPER),
    "report": ("report", str(RECORDS), "-o", "report.html"),
    "run": ("run", SMALL),
    "vm": ("reproduce",),
    "container": ("reproduce", "--target=container"),
    "sysroot": ("reproduce", "--target=sysroot"),
    "twin": ("reproduce", "--target=twin"),
    "raspi3b": ("reproduce", "--machine=raspi3b", f"--networks={SMALL},{LARGE}"),
}
WARM_UP: dict[str, tuple[str, ...]] = {
    "run": ("run", SMALL),
    "vm": ("reproduce", f"--networks={SMALL},{LARGE}"),
    "container": ("run", SMALL, "--target=container"),
    "sysroot": ("run", SMALL, "--target=sysroot"),
    "twin": ("run", SMALL, "--target=twin"),
    "raspi3b": ("run", SMALL, "--machine=raspi3b"),
}
"""What has the images and the calibrations of a job made. Other jobs are run themselves."""
ENDED_WELL = (ExitCode.OK, ExitCode.DISAGREEMENT, ExitCode.INCONCLUSIVE)


@dataclass(frozen=True)
class Cost:
    """What a job took: from start to end, and of all its processes' processor time."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Build:
    """An installed pibench, and the folder in which its jobs run."""

    name: str
    program: Path
    folder: Path
    env: dict[str, str]

    def run(self, arguments: Sequence[str]) -> Cost:
        """Run pibench to its end; exits with its errors where it did not run."""
        log = self.folder / "log.txt"
        started = time.monotonic()
        with log.open("w") as stream:
            child = subprocess.Popen(
                [self.program, *arguments], cwd=self.folder, env=self.env,
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            )  # fmt: skip
            # With the times of the processes that it waited for.
            _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in ENDED_WELL:
            last = log.read_text(errors="replace")[-2000:]
            sys.exit(f"{self.name}: pibench {' '.join(arguments)}: {child.returncode}\n{last}")
        return Cost(wall_s, usage.ru_utime + usage.ru_stime)

    def records(self, job: str) -> dict[str, dict[str, Any]]:
        """The latest record of each network of a job."""
        lines = (self.folder / job / RECORDS).read_text(encoding="utf-8").splitlines()
        return {record["network"]: record for record in map(json.loads, lines)}


def install(name: str, wheel: Path, folder: Path, cache: Path | None) -> Build:
    """Make an environment with a wheel of pibench."""
    place = folder / name
    venv = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    script = ROOT / "scripts/install_packages.py"
    # An older build without extras installs all in any case.
    subprocess.run([venv / "bin/python", script, f"{wheel}[all]"], check=True)
    # Modules of this tree must not be found, and are compiled once.
    left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if name not in left_out}
    if cache is not None:
        env["PIBENCH_CACHE_DIR"] = str(cache.resolve() / name)
    return Build(name, venv / "bin/pibench", place, env)


def measure(job: str, builds: Sequence[Build], rounds: int) -> list[Cost]:
    """Run a job with each build in turn; the least times of each."""
    arguments = JOBS[job]
    if arguments[0] == "reproduce":
        arguments = (*arguments, f"--out={job}")
    for build in builds:
        build.run(WARM_UP.get(job, arguments))
    costs: dict[str, list[Cost]] = {build.name: [] for build in builds}
    for number in range(rounds):
        for build in builds:
            cost = build.run(arguments)
            costs[build.name].append(cost)
            times = f"{cost.wall_s:.2f} s wall, {cost.cpu_s:.2f} s CPU"
            say(f"{job}, round {number + 1}, {build.name}: {times}")
    return [
        Cost(min(one.wall_s for one in found), min(one.cpu_s for one in found))
        for found in costs.values()
    ]


def cost_row(job: str, old: Cost, new: Cost) -> str:
    """One line of the table of times."""
    wall = f"{old.wall_s:.2f} | {new.wall_s:.2f} | {new.wall_s / old.wall_s:.2f}"
    cpu = f"{old.cpu_s:.2f} | {new.cpu_s:.2f} | {new.cpu_s / old.cpu_s:.2f}"
    return f"| {job} | {wall} | {cpu} |"


def print_outcomes(job: str, old: Build, new: Build) -> None:
    """The verdicts and peaks of a job's networks, beside each other."""
    before, after = old.records(job), new.records(job)
    same = sum(after[name]["verdict"] == record["verdict"] for name, record in before.items())
    print(f"\n{job}: {same} of {len(before)} verdicts are the same\n")
    print("| network | old | new | old peak MiB | new peak MiB | difference MiB | % |")
    print("|---|---|---|---|---|---|---|")
    for name, record in before.items():
        verdicts = f"{record['verdict']} | {after[name]['verdict']}"
        peaks = [one["peak_rss_bytes"] for one in (record, after[name])]
        if None in peaks:
            shown = " | ".join("-" if peak is None else f"{peak / MIB:.2f}" for peak in peaks)
            print(f"| {name} | {verdicts} | {shown} | - | - |")
            continue
        old_mib, new_mib = (peak / MIB for peak in peaks)
        change = f"{new_mib - old_mib:+.2f} | {(new_mib / old_mib - 1) * 100:+.2f}"
        print(f"| {name} | {verdicts} | {old_mib:.2f} | {new_mib:.2f} | {change} |")


def records_for_report(given: Path | None, builds: Sequence[Build]) -> None:
    """Put the same records into both folders: the older build has to be able to read them."""
    if given is None:
        say("making the records for the report, on the twin")
        builds[0].run(("reproduce", "--target=twin", "--out=."))
        given = builds[0].folder / RECORDS
    content = given.read_bytes()
    for build in builds:
        (build.folder / RECORDS).write_bytes(content)


def main() -> None:
    """Install both, run the jobs, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old_wheel", type=Path)
    parser.add_argument("--jobs", default=",".join(JOBS), help=f"some of {', '.join(JOBS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=Path, help="for job report; default: the twin's of OLD")
    parser.add_argument("--cache", type=Path, help="a folder for a cache of each build")
    options = parser.parse_args()
    jobs = options.jobs.split(",")
    if unknown := set(jobs) - JOBS.keys():
        parser.error(f"no such job: {', '.join(sorted(unknown)) or 'give some to --jobs'}")
    for file in (options.old_wheel, options.records):
        if file is not None and not file.is_file():
            parser.error(f"no such file: {file}")
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    with tempfile.TemporaryDirectory(prefix="main-job-") as temporary:
        folder = Path(temporary)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True)
        (new_wheel,) = folder.glob("*.whl")
        wheels = {"old": options.old_wheel.resolve(), "new": new_wheel}
        builds = [install(*pair, folder, options.cache) for pair in wheels.items()]
        if "report" in jobs:
            records_for_report(options.records, builds)
        print("| job | old wall s | new wall s | wall ratio | old CPU s | new CPU s | CPU ratio |")
        print("|---|---|---|---|---|---|---|")
        for job in jobs:
            print(cost_row(job, *measure(job, builds, options.rounds)), flush=True)
        for job in jobs:
            if JOBS[job][0] == "reproduce":
                print_outcomes(job, *builds)


if __name__ == "__main__":
    main()
