#!/usr/bin/env python3
"""The `run` steps of action.yml as one bash script, as GitHub's runner would start them.

    action_steps.py prototxt=models/*.prototxt mode=run | bash

Steps that use other actions (cache, artifacts) are left out. Of the runner's variables,
GITHUB_ACTION_PATH, RUNNER_TEMP, GITHUB_OUTPUT and GITHUB_STEP_SUMMARY are to be set.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import yaml

ACTION = Path(__file__).resolve().parent.parent / "action.yml"
INPUT = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


def script(given: dict[str, str], action: Path = ACTION) -> str:
    """Return the steps, each in its own bash; the first failure ends all."""
    read = yaml.safe_load(action.read_text(encoding="utf-8"))
    declared = {name: str(one.get("default", "")) for name, one in read["inputs"].items()}
    if unknown := given.keys() - declared.keys():
        raise SystemExit(f"{action}: no such input: {', '.join(sorted(unknown))}")
    values = declared | given
    lines = ["set -e"]
    for step in read["runs"]["steps"]:
        if "run" not in step:
            continue
        env = {
            name: INPUT.sub(lambda found: values[found[1]], text)
            for name, text in step.get("env", {}).items()
        }
        assignments = [shlex.quote(f"{name}={value}") for name, value in env.items()]
        # What the runner starts for `shell: bash`.
        bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", shlex.quote(step["run"])]
        lines.append(" ".join(["env", *assignments, *bash]))
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(script(dict(argument.split("=", 1) for argument in sys.argv[1:])), end="")
