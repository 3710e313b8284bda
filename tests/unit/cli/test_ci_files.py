"""action.yml, its script, its examples and its page: what one names, the others know."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pibench import api
from pibench.target_kinds import kind_of
from scripts.action_steps import script

ROOT = Path(__file__).resolve().parents[3]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_every_input_reaches_the_script_and_is_documented() -> None:
    inputs = read("action.yml")["inputs"]
    steps = script({name: f"<{name}>" for name in inputs})
    known = set(re.findall(r"PIBENCH_[A-Z_]+", (ROOT / "scripts/gate.sh").read_text()))
    page = (ROOT / "docs/ci.md").read_text()
    for name in inputs.keys() - {"artifact"}:
        variable = f"PIBENCH_{name.upper().replace('-', '_')}"
        assert f"{variable}=<{name}>" in steps
        assert variable in known
        assert f"| `{name}` | `{variable}` |" in page
    # Anyone's text gets in as a variable, never into the lines that a shell reads.
    runs = [step["run"] for step in read("action.yml")["runs"]["steps"] if "run" in step]
    assert not [line for line in runs if "${{" in line]


def test_the_examples_give_what_the_action_and_the_script_take() -> None:
    jobs = list(read("examples/ci/github-workflow.yml")["jobs"].values())
    given = [s["with"] for job in jobs for s in job["steps"] if s.get("uses") == "./vendor/pibench"]
    assert {one.get("mode", "plan") for one in given} == {"plan", "run"}
    # The first runs real Caffe on an arm64 machine, where this target needs no emulator.
    first = jobs[0]
    assert first["runs-on"].endswith("-arm")
    assert kind_of(given[0]["target"]).emulation == "other-hosts"
    assert all(script(one) for one in given)
    with pytest.raises(SystemExit, match="no such input: modus"):
        script({"modus": "run"})
    job = read("examples/ci/gitlab-ci.yml")["fits the board"]
    known = set(re.findall(r"PIBENCH_[A-Z_]+", (ROOT / "scripts/gate.sh").read_text()))
    assert {name for name in job["variables"] if name.startswith("PIBENCH")} <= known
    assert all(
        (ROOT / line.split()[0].removeprefix("vendor/pibench/")).exists() for line in job["script"]
    )
    assert job["artifacts"]["reports"]["junit"].startswith(f"{job['artifacts']['paths'][0]}/")


def test_a_gate_that_is_not_installed_is_reported(tmp_path: Path) -> None:
    ended = subprocess.run(
        [ROOT / "scripts/gate.sh"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PIBENCH_PROTOTXT": "*.prototxt"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (3, 1)
    assert ended.stderr.endswith("scripts/gate.sh install\n")
    # Both steps are where somebody would look for them.
    for page in ("README.md", "docs/ci.md"):
        output = (ROOT / page).read_text()
        assert "scripts/gate.sh install" in output
        assert "scripts/gate.sh gate" in output


def test_a_time_limit_is_a_gate_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(api.network("SqueezeNet V1.1").prototxt)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "PIBENCH_PROTOTXT": "*.prototxt",
    }

    def gate(**settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "scripts/gate.sh"],
            env=environment | settings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    ended = gate(PIBENCH_MAX_MS="200")
    assert ended.returncode == 4
    assert "1 of 1 networks fit rpi3b" in ended.stdout
    assert "0 of 1 networks take at most 200 ms on rpi3b" in ended.stdout
    assert 'errors="1"' in (tmp_path / "pibench-out/latency.xml").read_text()
    ended = gate(PIBENCH_MAX_MS="300", PIBENCH_ENGINE="ncnn")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "times are predicted for Caffe, not for ncnn" in ended.stderr
    (tmp_path / "taken").write_text("")
    ended = gate(PIBENCH_OUT="taken")
    assert ended.returncode == 2, "1 would be a verdict"
    assert "PIBENCH_OUT: the folder taken cannot be made" in ended.stderr
