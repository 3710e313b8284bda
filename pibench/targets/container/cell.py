"""One container: its limits, and its life from creation to removal."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench.errors import HostError
from pibench.images.rootfs import RootLoader
from pibench.probe.cgroup import limit_of
from pibench.targets import emulation
from pibench.targets.confined import PAGE_BYTES, effective_limits
from pibench.targets.container.engine import (
    EngineLacksError,
    EngineLostError,
    engine_faults,
    owner_label,
)
from pibench.targets.job import PROBE
from pibench.targets.probe_session import SILENCE_DEADLINE_S
from pibench.targets.worker_pool import Turns

if TYPE_CHECKING:
    from docker.models.containers import Container

    from docker import DockerClient
    from pibench.devices import Device

PERIOD_US: Final = 100_000
"""The kernel's default period of the CPU quota."""
PIDS_LIMIT: Final = 64
"""Processes and threads: the probe, Caffe with its BLAS threads, and two of QEMU for each."""
ULIMITS: Final = {"nofile": 1024, "nproc": 4096, "core": 0}
"""Processes are limited by the cgroup: `nproc` counts all of the user's on the host."""
TMP_BYTES: Final = 16 << 20
NOBODY: Final = 65534
JOB: Final = "/job"
PROBE_ROOT: Final = "/probe-root"
PYTHON: Final = "/usr/bin/python3.9"
EXIT_DEADLINE_S: Final = 10.0
VERDICT_DEADLINE_S: Final = 2.0
"""How long the Engine may take to report that a container ran out of memory.

It learns of that separately from the container's end."""
_POLL_S: Final = 0.05
_STOPPED: Final = "stopped"
_QUEUE_CHUNKS: Final = 1024


class CapNotInForceError(HostError):
    """A requested limit is not in force, so a run there would show nothing about the device."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits requested for a container. `memory_bytes` includes swap: there is none.

    `cores` is how many of the device's cores the host can provide. `cpu` is the CPU model for
    an emulator.
    """

    memory_bytes: int
    cores: int
    cpu: str

    @property
    def cpuset(self) -> str:
        """Return the CPUs by number, as the kernel writes such lists."""
        return f"0-{self.cores - 1}" if self.cores > 1 else "0"


def limits_for(device: Device, *, allowance_bytes: int, host_cores: int) -> Limits:
    """Return limits for the device's memory and cores, with room for the allowance.

    The allowance is memory that the device itself would not need. The sum is rounded to whole
    pages, as the kernel counts it. The cores are at most the host's: the Engine rejects more.
    """
    memory_bytes = device.usable_bytes + allowance_bytes
    return Limits(
        memory_bytes=memory_bytes // PAGE_BYTES * PAGE_BYTES,
        cores=min(device.cores, host_cores),
        cpu=device.qemu_cpu,
    )


def attest(machine: Mapping[str, Any], requested: Limits, *, emulated: bool) -> None:
    """Raise CapNotInForceError unless every requested limit is in force inside the container."""
    found = effective_limits(machine)
    if found.memory_bytes != requested.memory_bytes:
        has = "no limit" if found.memory_bytes is None else f"{found.memory_bytes} bytes"
        raise CapNotInForceError(
            f"the memory limit is not in force: {requested.memory_bytes} bytes were requested, "
            f"the container has {has}",
            hint="switch the memory cgroup on; on a Raspberry Pi add cgroup_enable=memory to "
            "/boot/cmdline.txt and reboot",
        )
    if found.swap_bytes != 0:
        has = "an unknown amount" if found.swap_bytes is None else f"{found.swap_bytes} bytes"
        raise CapNotInForceError(
            f"the swap limit is not in force: the container may swap {has}",
            hint="boot with swapaccount=1, or switch swap off: sudo swapoff -a",
        )
    if found.cores != requested.cores:
        has = "no quota" if found.cores is None else f"{found.cores:g}"
        raise CapNotInForceError(
            f"the CPU quota is not in force: {requested.cores} cores were requested, "
            f"the container has {has}",
            hint="the kernel needs CPU quotas (CONFIG_CFS_BANDWIDTH), and a cgroup v2 user "
            "the delegated cpu controller",
        )
    usable = machine.get("cores_usable")
    if usable != requested.cores:
        raise CapNotInForceError(
            f"the CPU set is not in force: {requested.cores} cores were requested, "
            f"{usable} can be used",
            hint="the kernel needs cpuset cgroups (CONFIG_CPUSETS)",
        )
    midr = machine.get("main_id_register")
    if emulated and not emulation.is_cpu(requested.cpu, midr):
        raise CapNotInForceError(
            f"the emulated CPU is not a {requested.cpu} (MIDR_EL1 {midr})",
            hint="the registered QEMU does not heed QEMU_CPU: sudo pibench doctor --fix",
        )
    _attest_sandbox(machine)


def _attest_sandbox(machine: Mapping[str, Any]) -> None:
    found = machine.get("sandbox") or {}
    faults = {
        "the container runs as root": found.get("uid") == 0,
        "the container has capabilities": int(found.get("capabilities") or "1", 16) != 0,
        "the container can gain privileges": found.get("no_new_privileges") != "1",
        "the container can write to its root": found.get("root_read_only") is not True,
        "the container has a network": found.get("interfaces") != ["lo"],
        "the container may start any number of processes": (
            limit_of(machine.get("cgroup_pids")) != PIDS_LIMIT
        ),
    }
    for fault, is_present in faults.items():
        if is_present:
            raise CapNotInForceError(
                f"{fault}: a model is not trusted that far",
                hint="look for settings of the Engine that override a container's own",
            )


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
    """What to run: the image, the job's folder, the limits, and whether it is emulated.

    `probe_root` is a root of this machine's architecture, whose Python runs the probe at full
    speed; None where the image's own Python does.
    """

    image: str
    job: Path
    limits: Limits
    emulated: bool
    probe_root: Path | None = None


def run_container(
    client: DockerClient,
    order: Order,
    on_output: Callable[[bytes], bool],
    *,
    stopping: threading.Event,
    turns: Turns,
    out_of_memory: Callable[[], bool],
) -> Ending:
    """Run one container to its end, and always remove it.

    Args:
        client: the connection to the Engine.
        order: what to run.
        on_output: receives the probe's output, and returns True once nothing more is expected;
            its exceptions are passed on.
        stopping: ends the container when it is set.
        turns: limits how many containers run at once.
        out_of_memory: returns whether the probe saw a kill for lack of memory, which
            the Engine then has to confirm.

    Raises:
        EngineLostError: the Engine stops answering.
    """
    with engine_faults("to create a container"):
        container = client.containers.create(**_settings(order))
    try:
        with turns.one(stopping) as has_turn:
            died = _listen(client, container, on_output, stopping) if has_turn else _STOPPED
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
    python = [PYTHON]
    volumes = {str(order.job): {"bind": JOB, "mode": "ro"}}
    if order.probe_root is not None:
        python = RootLoader(Path(PROBE_ROOT), "amd64").python()
        volumes[str(order.probe_root)] = {"bind": PROBE_ROOT, "mode": "ro"}
    return {
        "image": order.image,
        "platform": "linux/arm64",
        "command": [*python, "-I", "-S", f"{JOB}/{PROBE}", f"{JOB}/job.json"],
        "environment": emulation.environment(limits.cpu) if order.emulated else {},
        "labels": owner_label(),
        "mem_limit": limits.memory_bytes,
        # The limit of memory and swap together: without it Docker grants as much swap on top.
        "memswap_limit": limits.memory_bytes,
        "cpu_period": PERIOD_US,
        "cpu_quota": PERIOD_US * limits.cores,
        "cpuset_cpus": limits.cpuset,
        "pids_limit": PIDS_LIMIT,
        # All explicit: an Engine's own defaults may be more than it is able to grant.
        "ulimits": [{"Name": name, "Soft": most, "Hard": most} for name, most in ULIMITS.items()],
        "network_mode": "none",
        "read_only": True,
        "user": f"{NOBODY}:{NOBODY}",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "tmpfs": {"/tmp": f"size={TMP_BYTES},mode=1777,nosuid,nodev,noexec"},  # noqa: S108
        "volumes": volumes,
        # Not to the disk: an untrusted model can make Caffe write any amount of output.
        "log_config": {"Type": "none"},
        "stdin_open": False,
        "tty": False,
    }


def _listen(
    client: DockerClient,
    container: Container,
    on_output: Callable[[bytes], bool],
    stopping: threading.Event,
) -> str | None:
    """Start the container and read its output; return why it had to be ended, or None."""
    with engine_faults("to attach to a container"):
        stream = container.attach(stream=True, stdout=True, stderr=True, logs=False)
    with engine_faults("to start a container"):
        container.start()
    last_output = time.monotonic()
    for chunk in _chunks(stream):
        if chunk:
            last_output = time.monotonic()
            if on_output(chunk):
                return None
        elif time.monotonic() - last_output > SILENCE_DEADLINE_S:
            return f"the probe sent nothing for {SILENCE_DEADLINE_S:.0f} s"
        if stopping.is_set():
            return _STOPPED
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
    deadline = time.monotonic() + VERDICT_DEADLINE_S
    while out_of_memory() and not state.get("OOMKilled") and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        state = _state(container)
    return Ending(died=died, exit_code=state.get("ExitCode"), oom_killed=state.get("OOMKilled"))


def _state(container: Container) -> dict[str, Any]:
    with engine_faults("to report how a container ended"):
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
