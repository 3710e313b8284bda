"""Check what this machine has and lacks for each target."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pibench.diagnosis import emulation, engine, images
from pibench.diagnosis.finding import Finding, program
from pibench.targets import sandbox


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All checks, and the targets that can run."""

    targets: tuple[str, ...]
    findings: tuple[Finding, ...]


def diagnose() -> Diagnosis:
    """Check this machine; change nothing."""
    question = engine.Question()
    build = images.build_tools()
    qemu = program("qemu-system-aarch64", "qemu-system-arm")
    cross = program("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", optional=True)
    user, binfmt = emulation.user_emulator(), emulation.registration()
    twin = _architecture()
    native, ssh = program("caffe", "caffe", optional=True), _ssh()
    others = [_sandbox(), *images.built_images()]
    docker = question.findings()
    needed = {
        "vm": [qemu, *images.needed(build, "vm")],
        "container": [*docker, *binfmt, *images.needed(build, "sysroot")],
        "sysroot": [user, *images.needed(build, "sysroot")],
        "twin": [twin, *images.needed(build, "twin")],
        # The parts of Caffe that a board lacks are built here.
        "ssh": [ssh, *images.needed(build, "carried")],
    }
    targets = [
        name
        for name, findings in needed.items()
        if all(finding.state != "missing" for finding in findings)
    ]
    can_build = all(finding.state != "missing" for finding in images.needed(build, "sysroot"))
    if native.state == "ok" or (platform.machine() == "aarch64" and can_build):
        targets.append("native")
    return Diagnosis(
        targets=tuple(targets),
        findings=(qemu, *build, cross, *docker, *binfmt, user, twin, native, ssh, *others),
    )


def _architecture() -> Finding:
    machine = platform.machine()
    if machine in ("x86_64", "AMD64"):
        return Finding(name="x86-64", state="ok", found=f"{machine}: the twin runs here")
    return Finding(name="x86-64", state="missing", found=machine, fix="use target native or vm")


def _ssh() -> Finding:
    try:
        found = f"asyncssh {version('asyncssh')}; what a board has: pibench board check ssh://..."
        return Finding(name="ssh", state="ok", found=found)
    except PackageNotFoundError:
        return Finding(
            name="ssh",
            state="missing",
            found="the Python package asyncssh is missing",
            fix="pip install --upgrade pibench",
        )


def _sandbox() -> Finding:
    if sandbox.available():
        return Finding(name="bwrap", state="ok", found="twin and native run without network")
    return Finding(
        name="bwrap",
        state="optional",
        found="not usable: twin and native run with your rights",
        fix="sudo apt-get install bubblewrap",
    )
