"""What a board may say of itself and of a run: the fields that records are made of, checked.

A file of results comes from elsewhere. Whatever is in it has to be of the right
type and within bounds before the code that makes records sees it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

Bytes = Annotated[int, Field(ge=0, lt=1 << 60)]
Text = Annotated[str, Field(max_length=4096)]
Bits = Annotated[int, Field(ge=0, lt=1 << 32)]


class Seen(BaseModel):
    """Strict in what is known; what a newer probe tells besides is passed on."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    def as_event(self) -> dict[str, Any]:
        """As the probe said it, what it left out left out."""
        return self.model_dump(exclude_unset=True)


class SeenThrottle(Seen):
    """See MachineState.describe in pibench/probe/machine_state.py."""

    lag_s: Annotated[float, Field(ge=0, le=60)]
    occurred_since: Text


class SeenMachine(Seen):
    """The `hello` of a probe: see describe_machine in pibench/probe/machine.py."""

    kernel: Text
    architecture: Text
    python: Text
    board: Text | None
    no_board: Text | None = None
    cpu: Text | None
    main_id_register: Annotated[int, Field(ge=0, lt=1 << 64)] | None
    cores: Annotated[int, Field(ge=1, le=4096)] | None
    cores_usable: Annotated[int, Field(ge=1, le=4096)]
    mem_total_kib: Bytes | None
    swap_total_kib: Bytes | None
    governor: Text | None
    throttle: SeenThrottle | None
    unavailable: dict[Text, Text]
    huge_pages: bool
    caffe_version: Text | None
    caffe_origin: Annotated[str, Field(pattern=r"^(system|root)$")]
    caffe_lock: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    blas: Text | None
    blas_core: Text | None


class SeenReading(Seen):
    """See MachineState.read."""

    time_s: NonNegativeFloat
    throttled_bits: Bits | None
    clock_hz: Annotated[int, Field(ge=0, lt=1 << 40)] | None
    temperature_c: Annotated[float, Field(ge=-273.15, le=1000)] | None
    swapped_bytes: Bytes | None


class SeenBare(Seen):
    """The same program with no network."""

    exit_status: int | None
    peak_rss_bytes: Bytes
    emulator_rss_bytes: Bytes | None


class SeenState(Seen):
    """What the network's own process was told of the machine."""

    governor: Text | None
    unavailable: dict[Text, Text]


class SeenLayer(Seen):
    """The time of one layer."""

    name: Text
    type: Text
    forward_ms: NonNegativeFloat


class SeenInference(Seen):
    """What pibench/probe/inference.py prints."""

    totals_ms: list[NonNegativeFloat]
    readings: Annotated[list[SeenReading], Field(min_length=1)]
    state: SeenState
    layers: list[SeenLayer]
    outputs: list[dict[str, Any]]
    signatures: list[dict[str, Any]]
    input_sha256: Text | None


class SeenCaffeTime(Seen):
    """What is in caffe time's log."""

    # JSON has no tuples.
    layers: list[Annotated[tuple[Text, Text, NonNegativeFloat], Field(strict=False)]]
    totals: dict[Text, NonNegativeFloat]


class SeenResult(Seen):
    """The `result` of a probe: see Watched in pibench/probe/job.py."""

    pid: NonNegativeInt
    exit_status: int | None
    signal: Annotated[int, Field(ge=1, le=128)] | None
    timed_out: bool
    peak_rss_bytes: Bytes
    emulator_rss_bytes: Bytes | None
    swap_used_bytes: Bytes
    elapsed_ms: NonNegativeFloat
    oom_lines: list[Text] | None
    oom_kills: NonNegativeInt | None
    cgroup_oom_kills: NonNegativeInt | None
    fatal_message: Text | None
    complaint: Text | None
    log_tail: list[Text]
    readings: Annotated[list[SeenReading], Field(min_length=2)]
    baseline: SeenBare | None
    inference: SeenInference | None = None
    caffe_time: SeenCaffeTime | None = None


class MachineEntry(Seen):
    """A probe began."""

    machine: SeenMachine
    unix_s: float


class StartEntry(Seen):
    """A network was started."""

    id: Text
    unix_s: float
    load_1_minute: NonNegativeFloat


class ResultEntry(Seen):
    """A network ended."""

    id: Text
    result: SeenResult


class DiedEntry(Seen):
    """A network whose end nobody saw."""

    id: Text
    why: Text


class EndEntry(Seen):
    """Nothing is missing before this."""

    finished: list[Text]
