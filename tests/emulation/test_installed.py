"""A new user's way: the wheel in a fresh environment, README's commands, a gate in their suite."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from junitparser import JUnitXml

from scripts.action_steps import script

pytestmark = pytest.mark.emulation
ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
SUITE = """
import pibench as installed

def test_small(pibench):
    assert pibench.fits("small.prototxt", device="rpi3b")

def test_large(pibench):
    assert pibench.fits("large.prototxt", device="rpi3b")

def test_without_the_fixture():
    assert installed.fits("large.prototxt", device="rpi4b_4gb")
"""


@dataclass(frozen=True)
class Installed:
    """An environment with pibench from its wheel, and a project's folder to work in."""

    venv: Path
    project: Path
    wheel: Path

    def run(self, *command: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a program there, of the environment first; `code` is what it has to end with."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        path = f"{self.venv}/bin:{kept['PATH']}"
        done = subprocess.run(
            command,
            cwd=self.project,
            env=kept | {"PATH": path, "VIRTUAL_ENV": str(self.venv)} | env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder: Path = tmp_path_factory.mktemp("user")
    # The wheel is built from the source distribution, as an index would have both.
    building = [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(building, check=True, capture_output=True, timeout=300)
    (wheel,) = (folder / "dist").glob("pibench-*.whl")
    made = Installed(folder / "venv", folder / "project", wheel)
    made.project.mkdir()
    made.run(sys.executable, "-m", "venv", str(made.venv))
    made.run("python", "-m", "pip", "install", "--quiet", "--no-compile", str(wheel), "pytest")
    for name, network in (("small", "SqueezeNet V1.1"), ("large", "VGG 16")):
        text = made.run("pibench", "networks", "show", network).stdout
        (made.project / f"{name}.prototxt").write_text(text)
    return made


def test_the_wheel_contains_all_that_is_needed_at_run_time(installed: Installed) -> None:
    listed = ["git", "ls-files", "-co", "--exclude-standard", "pibench", "docker", "qemu"]
    tracked = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    wanted = {
        name if name.startswith("pibench/") else f"pibench/_assets/{name}"
        for name in tracked.splitlines()
    }
    assert len(wanted) > 200
    with zipfile.ZipFile(installed.wheel) as archive:
        kept_values = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert kept_values == wanted


def test_the_commands_of_the_readme(installed: Installed) -> None:
    where = "import pibench; print(pibench.__file__)"
    assert str(installed.venv) in installed.run("python", "-c", where).stdout
    assert installed.run("pibench", "check", "ResNet-152", code=1).stdout in README.read_text()
    networks = ("--networks", "SqueezeNet V1.1", "--target", "twin", "-q")
    output = installed.run("pibench", "reproduce", *networks).stdout
    assert "Verdicts: 1 of 1 agree with the paper." in output
    page = (installed.project / "out/report-twin.html").read_text()
    assert "SqueezeNet V1.1" in page
    assert "plotly.js" in page
    own = ("small.prototxt", "--target", "twin", "--require-fit", "--out", "mine.jsonl", "-q")
    installed.run("pibench", "run", *own)
    installed.run("pibench", "report", "mine.jsonl", "-o", "summary.md", "-o", "gate.xml")
    installed.run("pibench", "plan", "large.prototxt", "--require-fit", code=1)
    installed.run("pibench", "predict", "small.prototxt")


def test_a_part_whose_packages_are_not_installed_names_the_extra(installed: Installed) -> None:
    installed.run("pibench", "run", "NIN", "--target", "twin", "--out", "mine.jsonl", "-q")
    for words, name in (
        (("run", "NIN", "--target", "container"), "container"),
        (("run", "NIN", "--target", "ssh://board"), "ssh"),
        (("run", "NIN", "--target", "twin", "--engine", "ncnn"), "engines"),
        (("plan", "NIN", "--plot", "x.svg"), "report"),
        (("report", "mine.jsonl", "-o", "x.png"), "report"),
    ):
        error = installed.run("pibench", *words, code=3).stderr
        assert f"is not installed; pip install 'pibench[{name}]'" in error
    code = "import pibench; pibench.load('mine.jsonl')"
    assert "pibench[report]" in installed.run("python", "-c", code, code=1).stderr


def test_values_are_compared_without_any_extra(installed: Installed) -> None:
    installed.run("python", "-c", "import numpy", code=1)
    words = ("--protocol", "inference", "--target", "twin", "--keep-blobs", "fire2/concat", "-q")
    installed.run("pibench", "run", "small.prototxt", *words, "--out", "one.jsonl")
    installed.run(
        "pibench", "run", "small.prototxt", *words, "--out", "two.jsonl", "--threads", "1"
    )
    compared = installed.run("pibench", "reconcile", "one.jsonl", "two.jsonl").stdout
    assert "All that was compared agrees." in compared
    found = installed.run("pibench", "bisect", "small.prototxt", "twin", "twin:threads=1").stdout
    assert found.splitlines()[-1] == "no layer differs."
    installed.run("pibench", "predict", "--validate")


def test_the_shell_completes_commands_and_targets(installed: Installed) -> None:
    home = str(installed.project)
    # Typer looks for the shell among the processes above; bash would be replaced by pibench.
    installed.run("bash", "-c", "pibench --install-completion; exit $?", HOME=home)
    # In a shell of the user's: what their TAB would ask for.
    ask = (
        "source ~/.bashrc; COMP_WORDS=(pibench $0); COMP_CWORD=${#COMP_WORDS[@]}; "
        "((COMP_CWORD--)); _pibench_completion pibench; echo ${COMPREPLY[@]}"
    )
    assert installed.run("bash", "-c", ask, "rep", HOME=home).stdout.split() == [
        "report",
        "reproduce",
    ]
    target = installed.run("bash", "-c", ask, "run x --target sys", HOME=home)
    assert target.stdout.split() == ["sysroot"]


def test_a_model_is_gated_in_its_owners_test_suite(installed: Installed) -> None:
    (installed.project / "test_models.py").write_text(SUITE)
    output = installed.run("pytest", "-q", "-p", "no:cacheprovider", code=1).stdout
    assert "1 failed, 2 passed" in output
    assert "VGG 16 does not fit rpi3b: peak 1485 MiB (planned) of 918 MiB usable" in output
    assert "at backward conv1_1, where fc6 has 392 MiB (parameter)" in output


@pytest.fixture
def gate(installed: Installed) -> Callable[..., str]:
    """Runs the gate's script; its job's summary. `code` is what it has to end with."""
    summary = installed.project / "summary"

    def run(code: int = 0, **settings: str) -> str:
        summary.unlink(missing_ok=True)
        env = {f"PIBENCH_{name.upper()}": value for name, value in settings.items()}
        where = {"PIBENCH_VENV": str(installed.venv), "GITHUB_STEP_SUMMARY": str(summary)}
        installed.run(str(ROOT / "scripts/gate.sh"), code=code, **where, **env)
        return summary.read_text()

    return run


def outcomes(installed: Installed, name: str = "gate.xml") -> tuple[int, int, int]:
    """How many test cases there are, failures and errors among them."""
    found = JUnitXml.fromfile(str(installed.project / "pibench-out" / name))
    return found.tests, found.failures, found.errors


def test_the_steps_of_the_action(installed: Installed) -> None:
    summary, output = installed.project / "summary", installed.project / "output"
    runner = {
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(summary),
        "PIBENCH_VENV": str(installed.venv),
    }
    steps = script({"prototxt": "\n*.proto[t]xt\n", "target": "twin"})
    done = installed.run("bash", "-c", steps, code=1, **runner)
    # Names in a prototxt are anyone's: none gets into a log whose lines can be commands.
    assert "VGG 16" not in done.stdout + done.stderr
    key, decided = output.read_text().splitlines()
    assert key.startswith(f"key=pibench-{os.uname().machine}-twin-")
    assert decided == "decided=true"
    assert "| VGG 16 (large.prototxt) | **no-fit** |" in summary.read_text()
    assert outcomes(installed) == (2, 1, 0)
    assert "1 of 2 networks" in (installed.project / "pibench-out/badge.svg").read_text()


def test_the_gate_runs_real_caffe(installed: Installed, gate: Callable[..., str]) -> None:
    output = gate(1, prototxt="small.prototxt\nlarge.prototxt", mode="run", target="twin")
    assert output.startswith("# 1 of 2 networks fit\n")
    assert re.search(
        r"\| VGG 16 \|.*\| twin \| caffe-time \| memory-only \| 1 \| \*\*no-fit\*\* \|", output
    )
    # The very networks of the paper: a gate asks whether they fit, not whether the paper agrees.
    assert outcomes(installed) == (2, 1, 0)
    assert (installed.project / "pibench-out/report.html").stat().st_size > 400_000


def test_the_gate_states_why_it_could_not_decide(
    installed: Installed, gate: Callable[..., str]
) -> None:
    hostile = installed.project / "bad" / "x.prototxt"
    hostile.parent.mkdir()
    hostile.write_text('name: "a" layer { name: "</pre>::error::x" type: "Mish" }')
    output = gate(2, prototxt="bad/*").splitlines()
    # Nothing in a name is markup: escaped in a table, and what is indented is text.
    row, reported = [line for line in output if "bad/x.prototxt" in line]
    assert row.startswith("| bad/x.prototxt | **error** |")
    assert "<" not in row
    assert reported == output[-1]
    assert reported.startswith("    pibench: bad/x.prototxt")
    # A quoted command is a file's name, and there is none.
    with pytest.raises(FileNotFoundError):
        gate(2, prototxt="$(touch pwned)`touch pwned`")
    assert not (installed.project / "pwned").exists()


def test_the_gate_compares_a_plan_with_a_baseline(
    installed: Installed, gate: Callable[..., str]
) -> None:
    gate(prototxt="small.prototxt")
    accepted = installed.project / "accepted.json"
    planned = "pibench-out/plan.json"
    installed.run("pibench", "reconcile", planned, "--write-baseline", str(accepted))
    kept_values = {
        "prototxt": "small.prototxt",
        "baseline": str(accepted),
        "fail_on": "verdict,ram=1%",
    }
    assert "The gate (verdict, ram) passes" in gate(**kept_values)
    entry = next(line for line in accepted.read_text().splitlines() if '"ram_bytes"' in line)
    doubled = entry.replace(ram := re.findall(r"\d+", entry)[0], str(2 * int(ram)))
    accepted.write_text(accepted.read_text().replace(entry, doubled))
    assert "| ram | **fails** |" in gate(1, **kept_values)
    assert outcomes(installed, "baseline.xml") == (2, 1, 0)
