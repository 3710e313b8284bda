"""What this machine has and lacks for each target."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from pibench.diagnosis import emulation, engine, images
from pibench.diagnosis.finding import Finding, program
from pibench.targets import containment


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All checks, and the targets that can run."""

    targets: tuple[str, ...]
    findings: tuple[Finding, ...]


def diagnose() -> Diagnosis:
    """Look at this machine; changes nothing."""
    question = engine.Question()
    build = images.build_tools()
    qemu = program("qemu-system-aarch64", "qemu-system-arm")
    cross = program("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", optional=True)
    user, binfmt = emulation.user_emulator(), emulation.registration()
    twin = _architecture()
    native = program("caffe", "caffe", optional=True)
    others = [_containment(), *images.built_images()]
    docker = question.findings()
    needed = {
        "vm": [qemu, *build],
        "container": [*docker, *binfmt, *build],
        "sysroot": [user, *build],
        "twin": [twin, *build],
    }
    targets = [
        name
        for name, findings in needed.items()
        if all(finding.state != "missing" for finding in findings)
    ]
    if native.state == "ok":
        targets.append("native")
    return Diagnosis(
        targets=tuple(targets),
        findings=(qemu, *build, cross, *docker, *binfmt, user, twin, native, *others),
    )


def _architecture() -> Finding:
    machine = platform.machine()
    if machine in ("x86_64", "AMD64"):
        return Finding(name="x86-64", state="ok", found=f"{machine}: the twin runs here")
    return Finding(name="x86-64", state="missing", found=machine, fix="use target native or vm")


def _containment() -> Finding:
    if containment.available():
        return Finding(name="bwrap", state="ok", found="twin and native run without network")
    return Finding(
        name="bwrap",
        state="optional",
        found="not usable: twin and native run with your rights",
        fix="sudo apt-get install bubblewrap",
    )
