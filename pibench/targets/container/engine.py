"""Find a Docker Engine or a compatible one, and remove its containers whose owner is gone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench.errors import HostError, extra

if TYPE_CHECKING:
    from docker import DockerClient

CALL_TIMEOUT_S: Final = 60.0
"""Timeout of one API call; calls that take longer have their own deadline."""
CONNECT_TIMEOUT_S: Final = 10.0
OLDEST: Final = (20, 10)
PODMAN: Final = "Podman"
ARM64_NAMES: Final = ("aarch64", "arm64")
X86_64_NAMES: Final = ("x86_64", "amd64")
START_HINT: Final = (
    "start it (sudo systemctl start docker, or sudo scripts/start-docker-engine.sh), "
    "or name another with DOCKER_HOST; pibench doctor says more"
)

ACCESS_HINT: Final = (
    'join its group (sudo usermod -aG docker "$USER", and log in again), run with sudo, '
    "or name an Engine of your own with DOCKER_HOST"
)


class EngineLostError(HostError):
    """The Engine stopped answering while it was needed."""


class EngineLacksError(HostError):
    """The Engine does not have, or no longer has, the object of a request."""


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """How an Engine describes itself; `cores` are those available to its containers."""

    name: str
    version: str
    cgroup_version: str
    architecture: str
    cores: int

    def __str__(self) -> str:
        return f"{self.name} {self.version}, cgroup v{self.cgroup_version}"

    @property
    def reports_children(self) -> bool:
        """Whether its OOMKilled covers all processes of a container, not only the first.

        Docker's does (containerd watches the cgroup); Podman's was seen to be false where
        the kernel had killed a child (4.3).
        """
        return self.name != PODMAN

    @property
    def is_arm64(self) -> bool:
        """Whether it runs arm64 programs without an emulator."""
        return self.architecture in ARM64_NAMES

    @property
    def is_x86_64(self) -> bool:
        """Whether it runs amd64 programs without an emulator."""
        return self.architecture in X86_64_NAMES


@contextlib.contextmanager
def engine_faults(doing: str) -> Iterator[None]:
    """Turn exceptions of the SDK within the block into a one-line HostError.

    Args:
        doing: what the block does, for the message.

    Raises:
        EngineLostError: the Engine did not answer.
        EngineLacksError: the object of the request does not exist.
    """
    import docker.errors  # noqa: PLC0415  (start-up time)
    import requests.exceptions  # noqa: PLC0415  (start-up time)

    try:
        yield
    except docker.errors.APIError as error:
        reason = " ".join(str(error.explanation or error).split())
        kind = EngineLacksError if isinstance(error, docker.errors.NotFound) else HostError
        raise kind(f"the Engine refused {doing}: {reason}") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        cause = _root_cause(error)
        if isinstance(cause, PermissionError):
            raise HostError(
                f"this user may not talk to the Engine {doing}: {cause.strerror}", hint=ACCESS_HINT
            ) from error
        raise EngineLostError(
            f"the Engine did not answer {doing}: {_words(cause)}", hint=START_HINT
        ) from error
    except OSError as error:
        raise EngineLostError(
            f"the connection to the Engine broke {doing}: {error}", hint=START_HINT
        ) from error


def connect() -> tuple[DockerClient, EngineFacts]:
    """Connect to the Engine that DOCKER_HOST names, or else to this machine's.

    Raises HostError where no Engine answers or it is too old.
    """
    with extra("container"):
        import docker  # noqa: PLC0415  (start-up time)

    where = os.environ.get("DOCKER_HOST") or "its default socket"
    try:
        with engine_faults(f"on {where}"):
            client = docker.from_env(timeout=CONNECT_TIMEOUT_S)
            facts = _facts(client.version(), client.info())
    except ValueError as error:
        # The SDK reads an address the way Python's standard library does.
        raise HostError(f"{where} is not an address: {error}", hint=START_HINT) from error
    client.api.timeout = CALL_TIMEOUT_S
    if _as_numbers(facts.version) < OLDEST and facts.name != PODMAN:
        client.close()
        oldest = ".".join(map(str, OLDEST))
        raise HostError(
            f"{facts.name} {facts.version} is too old", hint=f"install {oldest} or newer"
        )
    return client, facts


def _facts(version: dict[str, Any], info: dict[str, Any]) -> EngineFacts:
    names = [component.get("Name", "") for component in version.get("Components") or []]
    podman = next((name for name in names if "podman" in name.lower()), None)
    return EngineFacts(
        name=PODMAN if podman else "Docker Engine",
        version=str(version.get("Version", "")),
        cgroup_version=str(info.get("CgroupVersion") or "1"),
        architecture=str(info.get("Architecture", "")),
        cores=int(info.get("NCPU") or 1),
    )


def _as_numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in parts)


def _root_cause(error: BaseException) -> BaseException:
    """Return the innermost cause, since the SDK wraps a refused connection four times."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _words(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())


OWNER_LABEL: Final = "org.pibench.owner"


def owner_label() -> dict[str, str]:
    """Return the label by which this process marks its containers."""
    pid = os.getpid()
    owner = {"host": _host(), "boot": _boot(), "pid": pid, "started_ticks": _started_ticks(pid)}
    return {OWNER_LABEL: json.dumps(owner, sort_keys=True)}


def remove_orphans(client: DockerClient) -> int:
    """Remove the containers whose owner ran on this machine and is gone; return their number."""
    with engine_faults("to list its containers"):
        found = client.api.containers(all=True, filters={"label": OWNER_LABEL})
    removed = 0
    for container in found:
        if is_orphan((container.get("Labels") or {}).get(OWNER_LABEL, "")):
            # Another pibench may remove orphans at the same time.
            with contextlib.suppress(HostError), engine_faults("to remove a container"):
                client.api.remove_container(container["Id"], force=True, v=True)
                removed += 1
    return removed


def is_orphan(label: str) -> bool:
    """Return whether the process that a label names ran on this machine and is gone."""
    try:
        owner: dict[str, Any] = json.loads(label)
        host, boot = owner["host"], owner["boot"]
        pid, started = int(owner["pid"]), int(owner["started_ticks"])
    except (ValueError, KeyError, TypeError):
        return False
    return host == _host() and (boot != _boot() or _started_ticks(pid) != started)


def _started_ticks(pid: int) -> int | None:
    """Return when a process started, in the kernel's ticks since boot (proc(5)), or None.

    A process id can be used again. The pair of id and start is unique, even if the clock is set.
    """
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(fields[19]) if fields else None


def _host() -> str:
    """Return an id of this machine (or of this container on it) that survives reboots.

    It is a hash, since the machine's identity is confidential (machine-id(5)).
    """
    namespace = str(Path("/proc/self/ns/pid").readlink())
    identity = _text(Path("/etc/machine-id")) + platform.node() + namespace
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _boot() -> str:
    return _text(Path("/proc/sys/kernel/random/boot_id"))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
