#!/usr/bin/env python3
"""Plan, predict and run networks from files that were made elsewhere, and compare.

    files.py FOLDER [--out results.jsonl]

For each prototxt below FOLDER: `pibench plan`, as it is or with --repair, under `caffe time` or,
where a layer has no backward pass, under inference; `pibench predict`; and a run on the twin,
whose peak is compared with a plan for the twin. Prints a line for each file and the counts. A file
that is in the results is not tried again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from pibench import networks
from pibench.crosscheck.planned import compare, environment_of
from pibench.plan.planner import plan
from pibench.records.schema import Record

PIBENCH = [sys.executable, "-m", "pibench"]
WAYS = (
    [],
    ["--protocol", "inference"],
    ["--repair"],
    ["--repair", "--protocol", "inference"],
)


def pibench(*words: str) -> tuple[int, object, str]:
    """Run a command; return its exit code, its JSON and the first line of its errors."""
    done = subprocess.run(
        [*PIBENCH, *words, "--json"], capture_output=True, text=True, timeout=900, check=False
    )
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = None
    return done.returncode, found, errors[-1] if errors else ""


def tried(path: Path) -> dict[str, object]:
    """Return what each command made of a file."""
    first = ""
    for options in WAYS:
        code, plans, error = pibench("plan", str(path), *options)
        first = first or error
        if code < 2 and isinstance(plans, list):
            break
    else:
        return {"file": path.name, "planned": False, "error": first}
    found = {"file": path.name, "planned": True, "options": options}
    found["verdict"] = plans[0]["verdict"]
    code, _, error = pibench(
        "predict", str(path), *(word for word in options if word == "--repair")
    )
    found["predicted"] = code == 0 or error
    compute = [] if "inference" not in options else ["--compute", "memory-only"]
    # Kept: how `run` fails is a result.
    code, records, error = pibench(
        "run", str(path), "--target", "twin", "--quiet", *compute, *options
    )
    if isinstance(records, list) and records and records[0]["evidence"]["exit_status"] == 0:
        found["error_percent"] = 100 * (error_of(path, options, records[0]) or 0.0)
    else:
        found["run"] = error or f"exit code {code}"
    return found


def error_of(path: Path, options: list[str], written: dict[str, object]) -> float | None:
    """Return how far the plan for the machine that ran a file is from its peak, as a fraction."""
    record = Record.model_validate_json(json.dumps(written))
    network = networks.load(str(path), repair="--repair" in options)
    environment = environment_of(record, record.device_profile)
    return compare(record, plan(network, protocol=record.protocol, environment=environment)).error


def main() -> int:
    """Try all files; exit with 1 where a plan is off by more than 2 %."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("files.jsonl"))
    asked = parser.parse_args()
    lines = asked.out.read_text().splitlines() if asked.out.exists() else []
    known = {found["file"]: found for found in map(json.loads, lines)}
    for path in sorted(asked.folder.rglob("*.prototxt")):
        if path.name not in known:
            known[path.name] = tried(path)
            with asked.out.open("a") as out:
                out.write(json.dumps(known[path.name]) + "\n")
        print(json.dumps(known[path.name]), flush=True)
    all_found = list(known.values())
    planned = [found for found in all_found if found["planned"]]
    errors = sorted(
        abs(float(found["error_percent"])) for found in planned if "error_percent" in found
    )
    wrong = [found for found in planned if abs(float(found.get("error_percent", 0))) > 2]
    predicted = sum(found["predicted"] is True for found in planned)
    share = 100 * len(planned) / len(all_found)
    print(
        f"{len(all_found)} files: {len(planned)} planned ({share:.0f} %), {predicted} predicted, "
        f"{len(errors)} run; plan against run: mean "
        f"{sum(errors) / max(len(errors), 1):.2f} %, worst {max(errors, default=0):.2f} %, "
        f"{len(wrong)} above 2 %"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
