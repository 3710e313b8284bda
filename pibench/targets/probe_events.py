"""Validation of a probe's reports on its machine and on a run, before records are made of them.

A frame may come from a failing machine, and a file of results from elsewhere. Its fields must
have the right type and be within bounds before the code that makes records sees them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError

Bytes = Annotated[int, Field(ge=0, lt=1 << 60)]
Text = Annotated[str, Field(max_length=4096)]
Bits = Annotated[int, Field(ge=0, lt=1 << 32)]


class Reported(BaseModel):
    """Strict for known fields; further fields of a newer probe are passed on."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    def as_event(self) -> dict[str, Any]:
        """Return the fields as the probe reported them, without those it left out."""
        return self.model_dump(exclude_unset=True)


class ThrottleInfo(Reported):
    """See MachineState.describe in pibench/probe/machine_state.py."""

    lag_s: Annotated[float, Field(ge=0, le=60)]
    occurred_since: Text


class MachineInfo(Reported):
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
    throttle: ThrottleInfo | None
    unavailable: dict[Text, Text]
    huge_pages: bool
    memory_limit_bytes: Bytes | None = None
    address_space_bytes: Bytes | None = None
    engine: Text = "caffe"
    engine_version: Text | None = None
    caffe_origin: Annotated[str, Field(pattern=r"^(system|root)$")]
    caffe_lock: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    blas: Text | None = None
    blas_core: Text | None = None


class Reading(Reported):
    """See MachineState.read."""

    time_s: NonNegativeFloat
    throttled_bits: Bits | None
    clock_hz: Annotated[int, Field(ge=0, lt=1 << 40)] | None
    temperature_c: Annotated[float, Field(ge=-273.15, le=1000)] | None
    swapped_bytes: Bytes | None


class BareResult(Reported):
    """The same program with no network."""

    exit_status: int | None
    peak_rss_bytes: Bytes
    emulator_rss_bytes: Bytes | None


class MachineState(Reported):
    """What the network's own process read of the machine's state."""

    governor: Text | None
    unavailable: dict[Text, Text]


class LayerTiming(Reported):
    """The time of one layer."""

    name: Text
    type: Text
    forward_ms: NonNegativeFloat


class InferenceResult(Reported):
    """What an engine's program prints, such as pibench/probe/engines/pycaffe.py."""

    totals_ms: list[NonNegativeFloat]
    readings: Annotated[list[Reading], Field(min_length=1)]
    state: MachineState
    layers: list[LayerTiming]
    # Memory-only compute has no values.
    outputs: list[dict[str, Any]] = []
    signatures: list[dict[str, Any]] = []
    input_sha256: Text | None = None


class CaffeTimeResult(Reported):
    """What caffe time's log contains."""

    # JSON has no tuples.
    layers: list[Annotated[tuple[Text, Text, NonNegativeFloat], Field(strict=False)]]
    totals: dict[Text, NonNegativeFloat]


class RunResult(Reported):
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
    reached_own_limit: bool | None = None
    fatal_message: Text | None
    complaint: Text | None
    log_tail: list[Text]
    readings: Annotated[list[Reading], Field(min_length=2)]
    baseline: BareResult | None = None
    inference: InferenceResult | None = None
    caffe_time: CaffeTimeResult | None = None


class Calibration(Reported):
    """What `calibrate` in pibench/probe/job.py reports."""

    bare: list[list[RunResult]]
    filled: RunResult | None
    probe_rss_kib: Bytes | None


_CHECKED: Final[dict[str, tuple[str, type[Reported]]]] = {
    "hello": ("machine", MachineInfo),
    "result": ("result", RunResult),
    "calibration": ("calibration", Calibration),
}
"""The events with measurements: the key of each report, and the model that validates it."""


def problem_with(event: dict[str, Any]) -> str | None:
    """Return why an event of a probe is impossible, or None if it is valid."""
    key, model = _CHECKED.get(str(event["event"]), (None, None))
    if key is None or model is None:
        return None
    try:
        model.model_validate(event.get(key))
    except ValidationError as error:
        return first_of(error)
    return None


def first_of(error: ValidationError) -> str:
    """Return the first of the errors: its place, and what is wrong there."""
    detail = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in detail["loc"])
    return f"{place}: {detail['msg']}"[:300]
