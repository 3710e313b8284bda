"""One container, from its creation to its removal, and the reading of the probe's output."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench.errors import HostError
from pibench.targets import emulation
from pibench.targets.container import limits as limit
from pibench.targets.container.engine import (
    EngineLacksError,
    EngineLostError,
    engine_faults,
    owner_label,
)
from pibench.targets.job import PROBE
from pibench.targets.probe_session import SILENCE_DEADLINE_S

if TYPE_CHECKING:
    from docker.models.containers import Container

    from docker import DockerClient

JOB: Final = "/job"
PYTHON: Final = "/usr/bin/python3.9"
EXIT_DEADLINE_S: Final = 10.0
VERDICT_DEADLINE_S: Final = 2.0
"""How long the Engine may take to report that a container ran out of memory.

It learns of that separately from the container's end."""
_POLL_S: Final = 0.05
_QUEUE_CHUNKS: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How the Engine reports a container's end; `died` is the reason if pibench ended it."""

    died: str | None
    exit_code: int | None
    oom_killed: bool | None

    @classmethod
    def unknown(cls, died: str) -> Ending:
        """Return the ending of a container whose state cannot be queried any more."""
        return cls(died=died, exit_code=None, oom_killed=None)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to run: the image, the job's folder, the limits, and whether it is emulated."""

    image: str
    job: Path
    limits: limit.Limits
    emulated: bool


Hear = Callable[[bytes], bool]
"""Takes the probe's output; returns True once nothing more is expected."""


def run_container(
    client: DockerClient,
    order: Order,
    hear: Hear,
    stopping: threading.Event,
    out_of_memory: Callable[[], bool],
) -> Ending:
    """Run one container to its end, and always remove it.

    Args:
        client: the connection to the Engine.
        order: what to run.
        hear: receives the probe's output; its exceptions are passed on.
        stopping: ends the container when it is set.
        out_of_memory: returns whether the probe saw a kill for lack of memory, which
            the Engine then has to confirm.

    Raises:
        EngineLostError: the Engine stops answering.
    """
    with engine_faults("to create a container"):
        container = client.containers.create(**_settings(order))
    try:
        died = _listen(client, container, hear, stopping)
        return _ending(container, died, out_of_memory)
    except EngineLacksError:
        return Ending.unknown("somebody removed the container")
    finally:
        # A lost Engine cannot remove it now; the next start removes orphans.
        with contextlib.suppress(HostError), engine_faults("to remove a container"):
            container.remove(force=True, v=True)


def _settings(order: Order) -> dict[str, Any]:
    """Return all settings of one container for the Engine."""
    limits = order.limits
    return {
        "image": order.image,
        "platform": "linux/arm64",
        "command": [PYTHON, "-I", "-S", f"{JOB}/{PROBE}", f"{JOB}/job.json"],
        "environment": emulation.environment(limits.cpu) if order.emulated else {},
        "labels": owner_label(),
        "mem_limit": limits.memory_bytes,
        # The limit of memory and swap together: without it Docker grants as much swap on top.
        "memswap_limit": limits.memory_bytes,
        "cpu_period": limit.PERIOD_US,
        "cpu_quota": limit.PERIOD_US * limits.cores,
        "cpuset_cpus": limits.cpuset,
        "pids_limit": limit.PIDS_LIMIT,
        # All explicit: an Engine's own defaults may be more than it is able to grant.
        "ulimits": [
            {"Name": name, "Soft": most, "Hard": most} for name, most in limit.ULIMITS.items()
        ],
        "network_mode": "none",
        "read_only": True,
        "user": f"{limit.NOBODY}:{limit.NOBODY}",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "tmpfs": {"/tmp": f"size={limit.TMP_BYTES},mode=1777,nosuid,nodev,noexec"},  # noqa: S108
        "volumes": {str(order.job): {"bind": JOB, "mode": "ro"}},
        # Not to the disk: an untrusted model can make Caffe write any amount of output.
        "log_config": {"Type": "none"},
        "stdin_open": False,
        "tty": False,
    }


def _listen(
    client: DockerClient, container: Container, hear: Hear, stopping: threading.Event
) -> str | None:
    """Start the container and read its output; return why it had to be ended, or None."""
    with engine_faults("to attach to a container"):
        stream = container.attach(stream=True, stdout=True, stderr=True, logs=False)
    with engine_faults("to start a container"):
        container.start()
    heard = time.monotonic()
    for chunk in _chunks(stream):
        if chunk:
            heard = time.monotonic()
            if hear(chunk):
                return None
        elif time.monotonic() - heard > SILENCE_DEADLINE_S:
            return f"the probe said nothing for {SILENCE_DEADLINE_S:.0f} s"
        if stopping.is_set():
            return "stopped"
    # The stream also ends where the Engine does.
    with engine_faults("while a container ran"):
        client.ping()
    return "the probe ended early"


def _chunks(stream: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what a blocking stream delivers, and empty chunks while it delivers nothing."""
    waiting: queue.Queue[bytes | None] = queue.Queue(maxsize=_QUEUE_CHUNKS)

    def read() -> None:
        # If the stream breaks, it just ends here: the reader asks the Engine for the reason.
        with contextlib.suppress(Exception):
            for chunk in stream:
                waiting.put(chunk)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            chunk = waiting.get(timeout=0.5)
        except queue.Empty:
            yield b""
            continue
        if chunk is None:
            return
        yield chunk


def _ending(container: Container, died: str | None, out_of_memory: Callable[[], bool]) -> Ending:
    """Wait for the container's end, force it where needed, and return the Engine's report of it."""
    if died is not None and not died.startswith("the probe ended"):
        _kill(container)
    deadline = time.monotonic() + EXIT_DEADLINE_S
    state = _state(container)
    while state.get("Running"):
        if time.monotonic() > deadline:
            _kill(container)
            deadline = time.monotonic() + EXIT_DEADLINE_S
        time.sleep(_POLL_S)
        state = _state(container)
    told = time.monotonic() + VERDICT_DEADLINE_S
    while out_of_memory() and not state.get("OOMKilled") and time.monotonic() < told:
        time.sleep(_POLL_S)
        state = _state(container)
    return Ending(died=died, exit_code=state.get("ExitCode"), oom_killed=state.get("OOMKilled"))


def _state(container: Container) -> dict[str, Any]:
    with engine_faults("when asked how a container ended"):
        container.reload()
    state: dict[str, Any] = container.attrs["State"]
    return state


def _kill(container: Container) -> None:
    # It may have ended by itself just before.
    try:
        with engine_faults("to kill a container"):
            container.kill()
    except EngineLostError:
        raise
    except HostError:
        pass
