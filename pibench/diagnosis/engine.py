"""Check whether a Docker Engine, or Podman's service, answers and can do what runs need."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pibench.diagnosis.checks import Finding
from pibench.targets.container.engine import ACCESS_HINT

DEADLINE_S = 1.4
"""Seconds for all requests to the Engine: `doctor` answers within 2 s even if it hangs."""
OLDEST_API = (1, 41)
"""The API of Docker Engine 20.10; Podman's service names the one that it follows."""
_DEFAULT_HOST = "unix:///var/run/docker.sock"
SYSTEMD = Path("/run/systemd/system")
_LIMITS_FIX = (
    "enable the memory cgroup: kernel parameters cgroup_enable=memory swapaccount=1, then reboot"
)


class Question:
    """Queries the Engine of DOCKER_HOST or the default socket while other checks run."""

    def __init__(self, deadline_s: float = DEADLINE_S) -> None:
        self._ends = time.monotonic() + deadline_s
        self._deadline_s = deadline_s
        self._version: dict[str, Any] = {}
        self._info: dict[str, Any] = {}
        self._error: BaseException | None = None
        # A daemon thread: this program's exit does not wait for an Engine that hangs either.
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def findings(self) -> list[Finding]:
        """Return findings from the Engine's answer, once it is there or its time is up."""
        self._thread.join(max(0.0, self._ends - time.monotonic()))
        if self._thread.is_alive():
            return [_missing(*explain(TimeoutError()))]
        if self._error is not None:
            return [_missing(*explain(self._error))]
        return judge(self._version, self._info)

    def _ask(self) -> None:
        try:
            import docker  # noqa: PLC0415  (start-up time)

            client = docker.from_env(timeout=self._deadline_s)
            self._version = client.version()
            self._info = client.info()
        except Exception as error:  # Passed on to the thread that waits.
            self._error = error


def judge(version: dict[str, Any], info: dict[str, Any]) -> list[Finding]:
    """Return findings from the Engine's self-description (Docker Engine API, SystemInfo)."""
    api = tuple(int(part) for part in version.get("ApiVersion", "0").split("."))
    name = f"{version.get('Version', 'of unknown version')} at {_host()}"
    if api < OLDEST_API:
        return [_missing(f"{name} is too old", "install Docker Engine 20.10 or later")]
    memory = info.get("MemTotal", 0) / (1 << 30)
    found = (
        f"{name}, cgroup v{info.get('CgroupVersion', '1')}, "
        f"{info.get('NCPU', 0)} CPUs, {memory:.1f} GiB"
    )
    if not info.get("MemoryLimit"):
        return [_missing(f"{found}: cannot limit memory", _LIMITS_FIX)]
    findings = [Finding("docker engine", "ok", found)]
    if not info.get("SwapLimit"):
        swap = "the Engine cannot keep a container from swapping"
        findings.append(Finding("docker swap", "optional", swap, fix=_LIMITS_FIX))
    return findings


def _missing(found: str, fix: str) -> Finding:
    return Finding("docker engine", "missing", found, fix=fix)


def _host() -> str:
    return os.environ.get("DOCKER_HOST") or _DEFAULT_HOST


def explain(error: BaseException, *, systemd: Path = SYSTEMD) -> tuple[str, str]:
    """Return what went wrong and how to fix it; `systemd` is there where systemd runs."""
    host = _host()
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
