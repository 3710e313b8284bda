"""`pibench doctor` as a program: JSON that parses, time that is bounded, and --fix."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pibench import diagnosis
from pibench.diagnosis import registration_findings, user_emulator
from pibench.images import store
from pibench.images.build import Builder
from pibench.targets import binfmt
from pibench.targets import emulation as emulation_of_targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.cli.conftest import Pibench

PIBENCH = (sys.executable, "-m", "pibench")


@pytest.fixture
def _a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names a mirror: to ask this machine's apt for its own takes most of an answer."""
    monkeypatch.setenv("PIBENCH_DEBIAN_MIRROR", "http://mirror/debian")


def named(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [finding for finding in found["findings"] if finding["name"] == name]


@pytest.mark.usefixtures("_a_mirror")
def test_no_engine_means_no_container(
    pibench: Pibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    found = json.loads(pibench("doctor", "--json", code=None).out)
    (engine,) = named(found, "docker engine")
    assert engine["state"] == "missing"
    assert engine["fix"] == "correct or unset DOCKER_HOST"
    assert "container" not in found["targets"]


@pytest.mark.usefixtures("_a_mirror")
def test_an_engine_that_hangs_does_not_hang_the_doctor(
    pibench: Pibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/hung.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "hung.sock"))
        server.listen()
        before = time.monotonic()
        found = json.loads(pibench("doctor", "--json", code=None).out)
        # Two seconds on a machine with nothing else to do.
        assert time.monotonic() - before < 10.0
    (engine,) = named(found, "docker engine")
    assert engine["found"].endswith("does not answer")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the twin runs on x86-64")
def test_a_machine_with_loaded_images_needs_no_packages(
    pibench: Pibench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = json.loads(pibench("doctor", "--json", code=None).out)
    (mirror,) = named(found, "debian mirror")
    assert "pibench image load FILE" in mirror["fix"]
    assert "twin" not in found["targets"]
    store.ensure("twin", Builder().key("twin"), "cd" * 32, lambda content, _: content.touch())
    assert "twin" in json.loads(pibench("doctor", "--json").out)["targets"]


def test_fixing_needs_root() -> None:
    user: list[str] = []
    if os.geteuid() == 0:
        user = [str(shutil.which("setpriv")), "--reuid", "65534", "--clear-groups"]
        if subprocess.run([*user, *PIBENCH, "--version"], check=False).returncode:
            pytest.skip("another user may not read this checkout")
    done = subprocess.run(
        [*user, *PIBENCH, "doctor", "--fix"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 3
    assert line.startswith("pibench: registering QEMU with the kernel takes root; sudo ")
    assert line.endswith(" -m pibench doctor --fix")
    assert done.stdout == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
@pytest.mark.skipif(
    emulation_of_targets.needed() and bool(binfmt.check().problems), reason="it would be fixed"
)
@pytest.mark.usefixtures("_a_mirror")
def test_a_fix_with_nothing_to_fix_keeps_the_output_valid_json(pibench: Pibench) -> None:
    result = pibench("doctor", "--json", "--fix", code=None)
    assert result.err == "pibench: nothing to fix\n"
    assert named(json.loads(result.out), "binfmt")[0]["state"] == "ok"


def test_each_problem_of_the_registration_is_a_finding() -> None:
    problems = tuple(binfmt.Problem(text=text, fix="fix it") for text in ("one", "two"))
    found = registration_findings(binfmt.Registration(problems=problems))
    assert [(finding.name, finding.state, finding.found) for finding in found] == [
        ("binfmt", "missing", "one"),
        ("binfmt", "missing", "two"),
    ]


def test_either_emulator_serves_a_sysroot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, on_machine: Callable[[str], None]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert user_emulator().fix == "sudo apt-get install qemu-user"
    assert "sysroot" not in diagnosis.diagnose().targets
    static = tmp_path / "qemu-aarch64-static"
    static.touch(mode=0o755)
    assert user_emulator().found == str(static)
    (tmp_path / "qemu-aarch64").touch(mode=0o755)
    assert user_emulator().found == str(tmp_path / "qemu-aarch64")
    on_machine("aarch64")
    assert user_emulator().found.startswith("not needed")
