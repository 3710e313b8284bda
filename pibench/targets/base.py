"""What every target has in common: work goes in, outcomes come out, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pibench.images.other_blas import Blas
    from pibench.records.schema import Compute, Enforcer, HostEnvironment, Machine
    from pibench.records.schema import Protocol as ProfilingProtocol
    from pibench.records.schema import Target as TargetName


@dataclass(frozen=True, kw_only=True)
class Work:
    """One network to run. `cost_bytes` orders and shares the work, and measures nothing.

    Under `inference` with real compute, `inputs` is an npz file of what to feed each input
    blob (None: seeded numbers), and `keep` names the layers whose blobs are handed over
    whole. All work of one run has the same `blas`. `values_only` leaves out what is known
    from a run before: which Caffe it is, and the program's own memory.
    """

    id: str
    name: str
    prototxt: str
    weights: Path | None
    protocol: ProfilingProtocol
    compute: Compute
    threads: int
    timeout_s: float
    cost_bytes: int = 0
    # `caffe time` runs one pass before its iterations: that pass reaches the peak.
    iterations: int = 1
    warmup: int = 1
    repeats: int = 5
    seed: int = 0
    blas: Blas = "openblas"
    inputs: Path | None = None
    keep: tuple[str, ...] = ()
    values_only: bool = False

    @property
    def kind(self) -> Kind:
        """What its baseline depends on."""
        return Kind(
            protocol=self.protocol, compute=self.compute, threads=self.threads, blas=self.blas
        )


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the same program with no network depends on: all work of one kind shares a baseline."""

    protocol: ProfilingProtocol
    compute: Compute
    threads: int
    blas: Blas = "openblas"


@dataclass(frozen=True, kw_only=True)
class KeptBlob:
    """A whole blob as a layer wrote it: float32, little-endian, in C order.

    `index` is the layer's place in the net that ran. `content` has the SHA-256
    that the layer's signature says.
    """

    index: int
    layer: str
    name: str
    shape: tuple[int, ...]
    content: bytes


@dataclass(frozen=True, kw_only=True)
class MemoryLimits:
    """How a process was held to the device's memory where the machine itself has more.

    `memory_bytes`, `swap_bytes` and `cores` are what was found in force, None
    where nothing could be read. Of the memory, `emulator_bytes` and
    `probe_bytes` are for what the device would not have to hold; see
    `Allowance` in pibench/records/schema.py. The `container_` fields are the
    Engine's words, `watcher_saw_bytes` what a process had that was ended for it.
    """

    enforced_by: Enforcer
    memory_asked_bytes: int
    memory_bytes: int | None
    swap_bytes: int | None
    cores: float | None
    emulator_bytes: int
    emulator_error_bytes: int | None
    probe_bytes: int
    calibrated: str
    container_exit_code: int | None = None
    container_oom_killed: bool | None = None
    watcher_saw_bytes: int | None = None

    @property
    def allowance_bytes(self) -> int:
        """What of the memory does not stand for the device's."""
        return self.emulator_bytes + self.probe_bytes


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a target saw of one piece of work.

    `machine` and `result` are the probe's `hello` and `result` events (see
    pibench/probe for their fields), None where none came; `died` says
    why then. `console_oom_lines` are the kernel's words about killed processes
    that reached the host by another way than the probe. `kept` are the blobs of
    the layers that the work names, those that came whole. `host` is the machine
    that ran it where that is not this one, `notes` what else it has to say.
    """

    work: Work
    machine: dict[str, Any] | None
    result: dict[str, Any] | None
    died: str | None = None
    console_oom_lines: tuple[str, ...] = ()
    memory_limits: MemoryLimits | None = None
    kept: tuple[KeptBlob, ...] = ()
    host: HostEnvironment | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Something that happened on the way, for whoever watches."""

    work: Work | None
    said: str


Observer = Callable[[Outcome], None]
Watcher = Callable[[Progress], None]


class Target(Protocol):
    """Somewhere that networks can run."""

    name: TargetName
    machine: Machine | None

    def prepare(self, work: Sequence[Work]) -> None:
        """Build or check all that the work needs; raises HostError."""

    def run(self, work: Sequence[Work], observe: Observer, watch: Watcher) -> None:
        """Run all work; `observe` is called once for each piece, as soon as it has ended.

        A piece that fails costs only itself. Raises HostError only
        where nothing can be run at all.
        """

    def environment(self) -> dict[str, str | None]:
        """What the host side adds to a record.

        `qemu_version` and `image_lock_digest`, and where there is an Engine
        `engine` and `container_image_id`.
        """
