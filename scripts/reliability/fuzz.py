#!/usr/bin/env python3
"""Pass mutated model files to all readers of pibench; print the Markdown of docs/reliability.md.

    fuzz.py [--count N] [--seed S] [--only ENGINE-KIND] [--in-caffe N] [--findings FOLDER]

Two engines make the files: hypothesis generates networks and breaks them, Atheris (libFuzzer for
Python, the extra `fuzz`) grows files by which of pibench's code they reach. Batches run in
processes with small limits (batch.py); `--only` makes one row's batch, which depends on no other.
`--in-caffe` of the files (default 200) then bypass pibench's checks and go to real Caffe on the
twin (in_caffe.py).
What was wrong is kept in FOLDER with its input, and ends the program with status 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pibench.process import run
from scripts.reliability.batch import (
    CPU_LIMIT_S,
    GROWTH_LIMIT_MIB,
    MEMORY_LIMIT_MIB,
    SweepSummary,
)
from tests.wild import mutations

BATCH = 5000
BATCH_DEADLINE_S = 3600
SHARES = {
    ("hypothesis", "prototxt"): 0.3,
    ("hypothesis", "caffemodel"): 0.2,
    ("atheris", "prototxt"): 0.25,
    ("atheris", "caffemodel"): 0.25,
}
"""What each engine and kind of file gets of all inputs."""

HEAD = """Mutated prototxts and caffemodels of up to {longest:,} bytes, read, checked, repaired,
planned, folded and predicted as `pibench run`, `plan` and `predict` do before anything runs.
Nothing but the one error base may be raised; an input may take {cpu:.0f} s of the CPU and make
the process grow by {growth} MiB, under a limit of {limit} MiB. Written by

```console
$ scripts/reliability/fuzz.py --count {count} --seed {seed}
```

| engine | files | inputs | accepted | refused | slowest ms | largest growth MiB | findings |
|---|---|---:|---:|---:|---:|---:|---:|"""


@dataclass
class Row:
    """One engine on one kind of file, all batches together."""

    tally: SweepSummary = field(default_factory=SweepSummary)

    def add(self, tally: SweepSummary) -> None:
        """Take one batch in."""
        mine = self.tally
        mine.inputs += tally.inputs
        mine.accepted += tally.accepted
        mine.refused += tally.refused
        mine.slowest_ms = max(mine.slowest_ms, tally.slowest_ms)
        mine.growth_mib = max(mine.growth_mib, tally.growth_mib)
        for fault, count in tally.findings.items():
            mine.findings[fault] = mine.findings.get(fault, 0) + count

    def line(self, engine: str, kind: str) -> str:
        """Its row of the table; findings are counted by what was wrong and where."""
        t = self.tally
        return (
            f"| {engine} | {kind} | {t.inputs:,} | {t.accepted:,} | {t.refused:,} "
            f"| {t.slowest_ms:.0f} | {t.growth_mib:.1f} | {len(t.findings)} |"
        )


def main() -> int:
    """Print the section; the exit status."""
    arguments = _arguments()
    print(
        HEAD.format(
            longest=mutations.LONGEST_BYTES, cpu=CPU_LIMIT_S, growth=GROWTH_LIMIT_MIB,
            limit=MEMORY_LIMIT_MIB, count=arguments.count, seed=arguments.seed,
        )
    )  # fmt: skip
    found: set[str] = set()
    for (engine, kind), share in SHARES.items():
        if arguments.only not in (None, f"{engine}-{kind}"):
            continue
        row = Row()
        for count, seed in _batches(round(share * arguments.count), arguments.seed):
            row.add(_batch(engine, kind, count, seed, arguments.findings))
        print(row.line(engine, kind), flush=True)
        found.update(row.tally.findings)
    for fault in sorted(found):
        print(f"- {fault}", file=sys.stderr)
    if arguments.in_caffe:
        from scripts.reliability import in_caffe  # noqa: PLC0415 (needs the twin's image)

        seen = in_caffe.run(arguments.in_caffe, arguments.seed)
        print("\n" + in_caffe.section(seen), flush=True)
        found.update(in_caffe.faults(seen))
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["-".join(row) for row in SHARES])
    parser.add_argument("--in-caffe", type=int, default=200)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    return parser.parse_args()


def _batches(count: int, seed: int) -> Iterator[tuple[int, int]]:
    """Sizes of batches, and a seed for each."""
    for index, done in enumerate(range(0, count, BATCH)):
        yield min(BATCH, count - done), 1000 * seed + index


def _batch(engine: str, kind: str, count: int, seed: int, kept: Path) -> SweepSummary:
    """One batch in a process of its own; a process that dies is a finding too."""
    with tempfile.TemporaryDirectory(prefix="pibench-fuzz-") as name:
        folder = Path(name)
        (folder / "first.prototxt").write_text(mutations.SMALL)
        program = str(Path(__file__).with_name("batch.py"))
        argv = [sys.executable, program, engine, kind, str(count), str(seed), name]
        done = run(argv, deadline_s=BATCH_DEADLINE_S, check=False)
        tally = folder / "tally.json"
        seen = SweepSummary(**json.loads(tally.read_text())) if tally.exists() else SweepSummary()
        if done.returncode != 0:
            seen.findings[f"the process ended with {done.ending}: {done.last_lines(1)}"] = 1
            shutil.copytree(folder, kept / f"{engine}-{kind}-{seed}-died", dirs_exist_ok=True)
        elif seen.findings:
            shutil.copytree(
                folder / "findings", kept / f"{engine}-{kind}-{seed}", dirs_exist_ok=True
            )
    return seen


if __name__ == "__main__":
    sys.exit(main())
