"""Check what this machine has and lacks for each target, and choose the best that works."""

from __future__ import annotations

import os
import platform
import queue
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import KW_ONLY, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

from pibench import process, settings, target_kinds
from pibench.devices import Device
from pibench.errors import HostError, MissingExtraError, PibenchError, extra
from pibench.images import store
from pibench.images.apt import FROM_ELSEWHERE, debian_mirror, shown
from pibench.images.build import Builder
from pibench.target_kinds import TargetKind
from pibench.targets import binfmt, emulation, sandbox
from pibench.targets.container.engine import ACCESS_HINT

State = Literal["ok", "missing", "optional"]

_GIB: Final = 1 << 30
DISK_NEEDED_BYTES: Final = 4 * _GIB
"""Both roots, the disk made of one, and the packages while they are unpacked."""
MEMORY_NEEDED_BYTES: Final = int(1.5 * _GIB)
"""One machine of 1 GiB and what QEMU itself takes."""
_FOR_PACKAGES: Final = frozenset({"apt-get", "dpkg-deb", "debian mirror"})
"""Checks that matter only for fetching and unpacking packages."""
_NOT_NEEDED: Final = "not needed: this processor is an arm64"
DEVICE_TREE_MODEL: Final = Path("/proc/device-tree/model")

ENGINE_DEADLINE_S: Final = 1.4
"""Seconds for all requests to the Engine: `doctor` answers within 2 s even if it hangs."""
OLDEST_API: Final = (1, 41)
"""The API of Docker Engine 20.10; Podman's service names the one that it follows."""
SYSTEMD: Final = Path("/run/systemd/system")
_LIMITS_FIX: Final = (
    "enable the memory cgroup: kernel parameters cgroup_enable=memory swapaccount=1, then reboot"
)


@dataclass(frozen=True)
class Finding:
    """One check: its state, what was found, and the command that fixes it."""

    name: str
    state: State
    found: str
    _: KW_ONLY
    fix: str | None = None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All checks, and the targets that can run."""

    targets: tuple[str, ...]
    findings: tuple[Finding, ...]


def diagnose() -> Diagnosis:
    """Check this machine; change nothing."""
    answer = ask_engine()
    build = _build_tools()
    cross = program("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", optional=True)
    native = program("caffe", "caffe", optional=True)
    others = [_sandbox(), _built_images()]
    # The order is that of the table; the parts of Caffe that a board lacks are built here.
    own = {
        "vm": [program("qemu-system-aarch64", "qemu-system-arm")],
        "container": [*answer(), *_registration()],
        "sysroot": [user_emulator()],
        "twin": [_architecture()],
        "ssh": [_ssh()],
    }
    plugins = [kind for kind in target_kinds.installed() if kind not in target_kinds.built_in()]
    added = {kind.name: _emulator_of(kind) for kind in plugins}
    targets = [
        name
        for name, findings in (own | added).items()
        for kind in [target_kinds.kind_of(name)]
        if _complete([*findings, *(_needed(build, kind.images[0]) if kind.images else [])])
    ]
    can_build = _complete(_needed(build, "sysroot"))
    if native.state == "ok" or (platform.machine() == "aarch64" and can_build):
        targets.append("native")
    ssh, vm = own.pop("ssh"), own.pop("vm")
    groups = ([*vm, *build, cross], *own.values(), [native, *ssh, *others], *added.values())
    return Diagnosis(
        targets=tuple(targets), findings=tuple(one for group in groups for one in group)
    )


def _complete(findings: list[Finding]) -> bool:
    return all(finding.state != "missing" for finding in findings)


def program(name: str, package: str, *, optional: bool = False) -> Finding:
    """Return whether a program is installed; `package` is the Debian package that contains it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path:
        return Finding(name, "ok", path)
    state: State = "optional" if optional else "missing"
    return Finding(name, state, "not installed", fix=f"sudo apt-get install {package}")


def user_emulator() -> Finding:
    """Return the emulator for single programs of a sysroot; the dynamic or the static one.

    An arm64 machine runs them itself.
    """
    if not emulation.needed():
        return Finding("qemu-aarch64", "ok", _NOT_NEEDED)
    if shutil.which("qemu-aarch64") is None and shutil.which("qemu-aarch64-static"):
        return program("qemu-aarch64-static", "qemu-user-static")
    return program("qemu-aarch64", "qemu-user")


def _emulator_of(kind: TargetKind) -> list[Finding]:
    """Return whether one of the emulators of another package's target is installed."""
    tried = [program(name, name) for name in kind.emulators]
    return next(([found] for found in tried if found.state == "ok"), tried[:1])


def _registration() -> list[Finding]:
    """Return what prevents containers for arm64, one finding for each problem."""
    if not emulation.needed():
        return [Finding("binfmt", "ok", _NOT_NEEDED)]
    return registration_findings(binfmt.check())


def registration_findings(found: binfmt.Registration) -> list[Finding]:
    """Return a registration as findings: the handler, or one for each problem."""
    if found.handler is not None and not found.problems:
        text = f"{found.handler.name}, flags {found.handler.flags}: {found.qemu_version}"
        return [Finding("binfmt", "ok", text)]
    return [Finding("binfmt", "missing", one.text, fix=one.fix) for one in found.problems]


def _architecture() -> Finding:
    machine = platform.machine()
    if machine in ("x86_64", "AMD64"):
        return Finding("x86-64", "ok", f"{machine}: the twin runs here")
    return Finding("x86-64", "missing", machine, fix="use target native or vm")


def _ssh() -> Finding:
    try:
        found = f"asyncssh {version('asyncssh')}; what a board has: pibench board check ssh://..."
        return Finding("ssh", "ok", found)
    except PackageNotFoundError:
        found, fix = "the Python package asyncssh is missing", "pip install 'pibench[ssh]'"
        return Finding("ssh", "missing", found, fix=fix)


def _sandbox() -> Finding:
    if sandbox.available():
        return Finding("bwrap", "ok", "twin and native run without network")
    found = "not usable: twin and native run with your rights"
    return Finding("bwrap", "optional", found, fix="sudo apt-get install bubblewrap")


def _build_tools() -> list[Finding]:
    """Return findings for everything that building an image requires."""
    return [
        program("apt-get", "apt"),
        program("dpkg-deb", "dpkg"),
        program("mke2fs", "e2fsprogs"),
        program("gcc", "gcc", optional=True),
        _mirror(),
        _disk(),
        _memory(),
    ]


def _needed(tools: list[Finding], kind: str) -> list[Finding]:
    """Return the tools that are needed here, fewer if an image of that kind is built already.

    An image that was built or loaded needs no packages.
    """
    if store.find(kind, Builder().key(kind)) is None:
        return tools
    return [tool for tool in tools if tool.name not in _FOR_PACKAGES]


def _mirror() -> Finding:
    try:
        return Finding("debian mirror", "ok", shown(debian_mirror()))
    except PibenchError as error:
        fix = f"{error.hint}, or {FROM_ELSEWHERE}"
        return Finding("debian mirror", "missing", error.message, fix=fix)


def _disk() -> Finding:
    folder = settings.cache_dir()
    existing = next(parent for parent in (folder, *folder.parents) if in_reach(parent))
    free = shutil.disk_usage(existing).free
    usable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    found = f"{folder}, {free / _GIB:.0f} GiB free"
    if usable and (free >= DISK_NEEDED_BYTES or "vm" in built_kinds()):
        return Finding("cache", "ok", found)
    fix = f"{DISK_NEEDED_BYTES >> 30} GiB are needed: choose a directory by PIBENCH_CACHE_DIR"
    return Finding("cache", "missing", found, fix=fix)


def in_reach(path: Path) -> bool:
    """Return whether the path exists and is readable."""
    try:
        return path.exists()
    except OSError:
        return False


def _memory() -> Finding:
    available = process.available_memory_bytes()
    found = f"{available / _GIB:.1f} GiB available to this process"
    if available >= MEMORY_NEEDED_BYTES:
        return Finding("memory", "ok", found)
    fix = (
        f"vm needs {MEMORY_NEEDED_BYTES / _GIB:.1f} GiB: stop other programs, raise the "
        "limit of pibench's control group, or use --target twin"
    )
    return Finding("memory", "missing", found, fix=fix)


def built_kinds() -> list[str]:
    """Return the kinds of images in the cache; none where the cache is not readable."""
    try:
        return sorted({image.kind for image in store.images()})
    except OSError:
        return []


def _built_images() -> Finding:
    built = built_kinds()
    if "vm" in built:
        return Finding("images", "ok", ", ".join(built))
    fix = (
        "built when first needed, or now: pibench image build; or copied from "
        "another machine: pibench image load FILE"
    )
    return Finding("images", "optional", ", ".join(built) or "none built yet", fix=fix)


def ask_engine(deadline_s: float = ENGINE_DEADLINE_S) -> Callable[[], list[Finding]]:
    """Query the Engine of DOCKER_HOST or the default socket while other checks run.

    Returns:
        A function that waits for the answer, until the deadline at most, and returns findings.
    """
    ends = time.monotonic() + deadline_s
    answers: queue.Queue[list[Finding]] = queue.Queue()

    def ask() -> None:
        try:
            with extra("container"):
                import docker  # noqa: PLC0415  (start-up time)

            client = docker.from_env(timeout=deadline_s)
            answers.put(judge_engine(client.version(), client.info()))
        except Exception as error:  # Whatever the SDK raises is a finding.
            answers.put([_no_engine(*explain(error))])

    def findings() -> list[Finding]:
        try:
            return answers.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            return [_no_engine(*explain(TimeoutError()))]

    # A daemon thread: this program's exit does not wait for an Engine that hangs either.
    threading.Thread(target=ask, daemon=True).start()
    return findings


def judge_engine(version: dict[str, Any], info: dict[str, Any]) -> list[Finding]:
    """Return findings from the Engine's self-description (Docker Engine API, SystemInfo)."""
    api = tuple(int(part) for part in version.get("ApiVersion", "0").split("."))
    name = f"{version.get('Version', 'of unknown version')} at {_engine_host()}"
    if api < OLDEST_API:
        return [_no_engine(f"{name} is too old", "install Docker Engine 20.10 or later")]
    found = (
        f"{name}, cgroup v{info.get('CgroupVersion', '1')}, "
        f"{info.get('NCPU', 0)} CPUs, {info.get('MemTotal', 0) / _GIB:.1f} GiB"
    )
    if not info.get("MemoryLimit"):
        return [_no_engine(f"{found}: cannot limit memory", _LIMITS_FIX)]
    findings = [Finding("docker engine", "ok", found)]
    if not info.get("SwapLimit"):
        swap = "the Engine cannot keep a container from swapping"
        findings.append(Finding("docker swap", "optional", swap, fix=_LIMITS_FIX))
    return findings


def _no_engine(found: str, fix: str) -> Finding:
    return Finding("docker engine", "missing", found, fix=fix)


def _engine_host() -> str:
    return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def explain(error: BaseException, *, systemd: Path = SYSTEMD) -> tuple[str, str]:
    """Return what went wrong and how to fix it; `systemd` is there where systemd runs."""
    if isinstance(error, MissingExtraError):
        return error.message, error.hint or ""
    host = _engine_host()
    given = "DOCKER_HOST" in os.environ
    causes = list(_causes(error))
    if any("timeout" in type(cause).__name__.lower() for cause in causes):
        restart = f"restart it: {_start_command('restart', systemd)}"
        return f"{host} does not answer", "correct or unset DOCKER_HOST" if given else restart
    reason = next((cause for cause in causes if isinstance(cause, OSError) and cause.errno), None)
    problem = f"{host}: {reason.strerror if reason else error}"
    if isinstance(reason, PermissionError):
        return problem, ACCESS_HINT
    if given:
        return problem, "correct or unset DOCKER_HOST"
    if shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin:/sbin"):
        return problem, f"start it: {_start_command('start', systemd)}"
    return "not installed", "sudo apt-get install docker.io"


def _start_command(verb: str, systemd: Path) -> str:
    if systemd.exists():
        return f"sudo systemctl {verb} docker"
    return "sudo dockerd &" if verb == "start" else f"sudo service docker {verb}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and its causes; the SDK keeps the system's own error innermost."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A target that can run here and the reason for it."""

    target: str
    reason: str


def choose(
    device: Device,
    compute: str | None,
    *,
    model: Path = DEVICE_TREE_MODEL,
    able: Collection[str] | None = None,
) -> Choice:
    """Return the best target that works here for a device, and `compute` if one is asked for.

    `model` is the device tree's file with this machine's model, `able` the targets that can run
    here; None finds out.

    Raises:
        HostError: none works.
    """
    able = diagnose().targets if able is None else able
    try:
        on_device = model.read_text().rstrip("\0").startswith(device.name)
    except OSError:
        on_device = False
    better: list[str] = []
    # From the best to the worst: each is further from the device in what decides.
    ranked = [kind for kind in target_kinds.installed() if kind.auto_rank is not None]
    for kind in sorted(ranked, key=lambda kind: kind.auto_rank or 0):
        if kind.is_board and not (on_device and compute != "memory-only"):
            continue
        if kind.name in able:
            lacking = f"; not possible here: {', '.join(better)} (pibench doctor)"
            return Choice(target=kind.name, reason=kind.summary + (lacking if better else ""))
        better.append(kind.name)
    raise HostError("no target can run here", hint="pibench doctor says what each of them lacks")
