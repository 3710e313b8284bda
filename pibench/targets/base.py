"""Interfaces that all targets share: work goes in, and one outcome per piece comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pibench.probe.values import PIXELS
from pibench.setups import DEFAULT, Blas, Setup

if TYPE_CHECKING:
    from pibench.engines.base import Compute
    from pibench.engines.base import Protocol as ProfilingProtocol
    from pibench.records.schema import Enforcer, HostEnvironment
    from pibench.records.schema import Target as TargetName
    from pibench.target_kinds import Machine


@dataclass(frozen=True, kw_only=True)
class End:
    """An input or output of a network, for engines that do not know it.

    `name` and `shape` are Caffe's, or those of a user's model file; the shape of such a file's
    output may not be known. `inside` is its name in the engine's model: the blob's, or for
    an output of a model in Caffe's format the layer that makes it, as its top number `top`.
    `type` is NumPy's name of an input's element type; seeded values are from `low` to `high`.
    """

    name: str
    shape: tuple[int, ...] | None
    inside: str
    top: int = 0
    type: str = "float32"
    low: float = -PIXELS
    high: float = PIXELS


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The inputs and outputs of a network, in Caffe's order or the order of the model file."""

    inputs: tuple[End, ...]
    outputs: tuple[End, ...]


@dataclass(frozen=True, kw_only=True)
class LayerBlob(End):
    """A blob that a layer writes: an End, whose `inside` is empty for an input of the network.

    `index` is the layer's position in the network, `layer` its name.
    """

    index: int
    layer: str
    type: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """One network to run. `cost_bytes` only orders and divides the work; it is not a measurement.

    Under `inference` with real compute, `inputs` is an npz file with the values of each input
    blob (None: seeded numbers), and `keep` names the layers whose blobs are transferred
    whole. All work of one run has the same `blas` and `engine`. `files` is the network in the
    engine's own format where that is not Caffe's, the model first, and `ends` its inputs and
    outputs for an engine other than Caffe. `beside` has further files by their paths as the
    model names them, from its own folder. `layers` are the blobs whose values that engine is to
    give, in the order of the layers, which takes memory of its own; Caffe gives them always.
    `fork_layers` is true for a network
    with layers of Caffe's forks, which need pibench's library. `values_only` leaves out what
    an earlier run already reported: the engine's version and the program's own memory.
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
    setup: Setup = DEFAULT
    inputs: Path | None = None
    keep: tuple[str, ...] = ()
    values_only: bool = False
    engine: str = "caffe"
    files: tuple[Path, ...] = ()
    beside: tuple[tuple[str, Path], ...] = ()
    ends: Ends | None = None
    layers: tuple[LayerBlob, ...] = ()
    fork_layers: bool = False

    @property
    def baseline_key(self) -> BaselineKey:
        """Return the properties that the baseline of this work depends on."""
        names = (field.name for field in fields(BaselineKey))
        return BaselineKey(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class BaselineKey:
    """What the same program with no network depends on: all work of one kind shares a baseline."""

    protocol: ProfilingProtocol
    compute: Compute
    threads: int
    blas: Blas = "openblas"
    setup: Setup = DEFAULT
    engine: str = "caffe"
    fork_layers: bool = False


@dataclass(frozen=True, kw_only=True)
class KeptBlob:
    """A whole blob as a layer wrote it: float32, little-endian, in C order.

    `index` is the layer's position in the net that ran. The SHA-256 of `content` is
    the one in the layer's signature.
    """

    index: int
    layer: str
    name: str
    shape: tuple[int, ...]
    content: bytes


@dataclass(frozen=True, kw_only=True)
class MemoryLimits:
    """How a process was limited to the device's memory on a machine that has more.

    `memory_bytes`, `swap_bytes` and `cores` are the limits found in force, None
    where they could not be read. `emulator_bytes` and `probe_bytes` are the parts of
    the memory that the device would not need; see `Allowance` in
    pibench/records/schema.py. The `container_` fields are reported by the Engine.
    `watcher_saw_bytes` is the memory of the process when the watcher ended it.
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
        """Return the part of the memory limit that does not stand for the device's memory."""
        return self.emulator_bytes + self.probe_bytes


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a target observed of one piece of work.

    `machine` and `result` are the probe's `hello` and `result` events (see
    pibench/probe for their fields), None where none arrived; `died` then gives the
    reason. `console_oom_lines` are the kernel's messages about killed processes
    that reached the host without the probe. `kept` are the blobs of the layers that
    the work names, if they arrived whole. `host` is the machine that ran the work
    where that is not this one; `notes` are its further remarks.
    """

    job: Job
    machine: dict[str, Any] | None
    result: dict[str, Any] | None = None
    died: str | None = None
    console_oom_lines: tuple[str, ...] = ()
    memory_limits: MemoryLimits | None = None
    kept: tuple[KeptBlob, ...] = ()
    host: HostEnvironment | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """An event during a run, for progress display."""

    job: Job | None
    message: str


Observer = Callable[[Outcome], None]
Watcher = Callable[[Progress], None]


class Target(Protocol):
    """A place where networks can run."""

    name: TargetName
    machine: Machine | None

    def prepare(self, jobs: Sequence[Job]) -> None:
        """Build or check everything that the work needs. Raises HostError."""

    def run(self, jobs: Sequence[Job], observe: Observer, watch: Watcher) -> None:
        """Run all work; call `observe` once for each piece, as soon as it has ended.

        A failure affects only the piece that fails.

        Raises:
            HostError: nothing can be run at all.
        """

    def environment(self) -> dict[str, str | None]:
        """Return what the host side adds to a record.

        The keys are `qemu_version` and `image_lock_digest`, and with an Engine also
        `engine` and `container_image_id`.
        """
