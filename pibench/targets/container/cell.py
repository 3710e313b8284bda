"""One container, from its creation to its removal, with the probe's words in between."""

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
from pibench.targets.container.engine import EngineLacksError, EngineLostError, engine_faults
from pibench.targets.container.leftovers import owner_label
from pibench.targets.job import PROBE
from pibench.targets.probe_session import SILENCE_DEADLINE_S

if TYPE_CHECKING:
    from docker.models.containers import Container

    from docker import DockerClient

JOB: Final = "/job"
PYTHON: Final = "/usr/bin/python3.9"
EXIT_DEADLINE_S: Final = 10.0
VERDICT_DEADLINE_S: Final = 2.0
"""How long the Engine may take to tell that a container ran out of memory: it hears of it apart."""
_POLL_S: Final = 0.05
_QUEUE_CHUNKS: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a container ended by the Engine's words; `died` says why it was ended by us."""

    died: str | None
    exit_code: int | None
    oom_killed: bool | None

    @classmethod
    def unknown(cls, died: str) -> Ending:
        """The ending of a container that nobody can be asked about any more."""
        return cls(died=died, exit_code=None, oom_killed=None)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to run: the image, the job's folder, the limits, emulated or not."""

    image: str
    job: Path
    limits: limit.Limits
    emulated: bool


Hear = Callable[[bytes], bool]
"""Takes what the probe wrote; true once nothing more is to come."""


def run_container(
    client: DockerClient,
    order: Order,
    hear: Hear,
    stopping: threading.Event,
    out_of_memory: Callable[[], bool],
) -> Ending:
    """Run one container to its end, and remove it whatever happens.

    `out_of_memory` says whether the probe saw a kill for want of memory, which
    the Engine then has to confirm. Raises EngineLostError when the Engine stops
    answering, and whatever `hear` raises.
    """
    with engine_faults("to create a container"):
        container = client.containers.create(**_settings(order))
    try:
        died = _listen(client, container, hear, stopping)
        return _ending(container, died, out_of_memory)
    except EngineLacksError:
        return Ending.unknown("somebody removed the container")
    finally:
        # A lost Engine cannot be told: the next start sweeps.
        with contextlib.suppress(HostError), engine_faults("to remove a container"):
            container.remove(force=True, v=True)


def _settings(order: Order) -> dict[str, Any]:
    """All that is asked of the Engine for one container."""
    limits = order.limits
    return {
        "image": order.image,
        "platform": "linux/arm64",
        "command": [PYTHON, "-I", "-S", f"{JOB}/{PROBE}", f"{JOB}/job.json"],
        "environment": emulation.environment(limits.cpu) if order.emulated else {},
        "labels": owner_label(),
        "mem_limit": limits.memory_bytes,
        # Memory and swap together: without it Docker grants as much swap on top.
        "memswap_limit": limits.memory_bytes,
        "cpu_period": limit.PERIOD_US,
        "cpu_quota": limit.PERIOD_US * limits.cores,
        "cpuset_cpus": limits.cpuset,
        "pids_limit": limit.PIDS_LIMIT,
        # Said in full: an Engine's own defaults may be more than it can grant itself.
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
        # Not to the disk: what an untrusted model makes Caffe say has no bounds.
        "log_config": {"Type": "none"},
        "stdin_open": False,
        "tty": False,
    }


def _listen(
    client: DockerClient, container: Container, hear: Hear, stopping: threading.Event
) -> str | None:
    """Start the container and hear it out; why it had to be ended, None if it had not."""
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
    """What a blocking stream gives, and empty chunks while it gives nothing."""
    waiting: queue.Queue[bytes | None] = queue.Queue(maxsize=_QUEUE_CHUNKS)

    def read() -> None:
        # However the stream breaks, it is at its end: who reads asks the Engine why.
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
    """Wait for the container's end, forced where it does not come; the Engine's words of it."""
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
