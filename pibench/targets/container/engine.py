"""The Docker Engine, or what speaks its language: found, asked what it can do, its faults told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pibench.errors import HostError

if TYPE_CHECKING:
    from docker import DockerClient

CALL_TIMEOUT_S: Final = 60.0
"""How long one call of the API may take; what takes longer has a deadline of its own."""
CONNECT_TIMEOUT_S: Final = 10.0
OLDEST: Final = (20, 10)
PODMAN: Final = "Podman"
ARM64_NAMES: Final = ("aarch64", "arm64")
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
    """The Engine does not have, or no longer, what it was asked about."""


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What an Engine says of itself; `cores` are those that its containers can have."""

    name: str
    version: str
    cgroup_version: str
    architecture: str
    cores: int

    def __str__(self) -> str:
        return f"{self.name} {self.version}, cgroup v{self.cgroup_version}"

    @property
    def tells_of_children(self) -> bool:
        """Whether its OOMKilled is about all processes of a container, and not the first alone.

        Docker's is (containerd watches the cgroup); Podman's was seen to be false where
        the kernel had killed a child (4.3).
        """
        return self.name != PODMAN

    @property
    def is_arm64(self) -> bool:
        """Whether it runs arm64 programs without an emulator."""
        return self.architecture in ARM64_NAMES


@contextlib.contextmanager
def engine_faults(doing: str) -> Iterator[None]:
    """Turn what the SDK raises within the block into an HostError, in one line.

    Raises EngineLostError where nobody answered, and EngineLacksError where
    what was asked about is not there.
    """
    import docker.errors  # noqa: PLC0415  (start-up time)
    import requests.exceptions  # noqa: PLC0415  (start-up time)

    try:
        yield
    except docker.errors.APIError as error:
        said = " ".join(str(error.explanation or error).split())
        absent = isinstance(error, docker.errors.NotFound)
        kind = EngineLacksError if absent else HostError
        raise kind(f"the Engine refused {doing}: {said}") from error
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
    """The Engine that DOCKER_HOST names, or the one of this machine.

    Raises HostError where none answers or it is too old.
    """
    import docker  # noqa: PLC0415  (start-up time)

    where = os.environ.get("DOCKER_HOST") or "its default socket"
    try:
        with engine_faults(f"on {where}"):
            client = docker.from_env(timeout=CONNECT_TIMEOUT_S)
            facts = _facts(client.version(), client.info())
    except ValueError as error:
        # The SDK reads an address as Python's own library does.
        raise HostError(f"{where} is no address: {error}", hint=START_HINT) from error
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
    numbers = []
    for part in version.split(".")[:2]:
        digits = "".join(character for character in part if character.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers)


def _root_cause(error: BaseException) -> BaseException:
    """The innermost reason, since the SDK wraps a refused connection four times."""
    reason: BaseException = error
    while reason.__cause__ is not None or reason.__context__ is not None:
        reason = reason.__cause__ or reason.__context__ or reason
    return reason


def _words(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())
