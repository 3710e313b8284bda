"""The record of one run: every number with its unit and its provenance.

Units are in the field names (`_bytes`, `_ms`, `_seconds`) and, for programs,
under the key `unit` of the JSON Schema and in `UNITS`. Bytes are bytes: nothing
here is in MB (10^6 bytes) or MiB (2^20 bytes), which only reports use.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, get_args
from uuid import uuid4

from pydantic import (
    AwareDatetime,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)

from pibench import devices
from pibench.display import Displayed
from pibench.engines.base import Compute, Protocol
from pibench.records.fields import (
    INPUT_SIZE,
    MOST_AXES,
    MOST_VALUES,
    Batch,
    Bytes,
    Cores,
    Count,
    Extreme,
    Frozen,
    Milliseconds,
    Name,
    Norm,
    Positive,
    Projection,
    Seconds,
    Sha256,
    SignedBytes,
    Whole,
    unit,
)
from pibench.setups import DEFAULT, Setup
from pibench.target_kinds import Machine, TargetKind, kind_of

if TYPE_CHECKING:
    from pibench.devices import Device

SCHEMA_VERSION: Final = "1.10"
WEIGHTS_GIVEN: Final = "with the weights given"
"""The reason recorded with outputs if the user gave the weights, so that none were generated."""
JSON_SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Verdict = Literal["fit", "no-fit", "borderline", "inconclusive"]
# Another package may add targets: a record of one that is not installed here is valid too.
Target = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Enforcer = Literal["kernel", "cgroup", "watcher"]
NetworkFormat = Literal["caffe", "onnx", "tflite"]
MemoryOnlyTier = Literal["blas", "loops"]
Boot = Literal["fresh", "restored"]
ProvenanceKind = Literal[
    "measured", "emulated", "twin", "predicted", "planned", "computed", "paper", "unavailable"
]

# Each of these is either a number or, with a reason, unavailable.
RESULT_FIELDS: Final = (
    "parameter_count",
    "weights_file_bytes",
    "peak_rss_bytes",
    "baseline_rss_bytes",
    "emulator_rss_bytes",
    "network_rss_bytes",
    "headroom_bytes",
    "latency_ms",
    "layers",
    "outputs",
)
# Results that only a run can produce; the target limits their provenance.
RUN_FIELDS: Final = (
    "peak_rss_bytes",
    "baseline_rss_bytes",
    "emulator_rss_bytes",
    "latency_ms",
    "layers",
    "outputs",
)
# Results that contain the values of a computation, or its time.
COMPUTE_FIELDS: Final = ("latency_ms", "layers", "outputs")

_OF_A_RUN: Final = ("measured", "emulated", "twin")


class Provenance(Frozen):
    """The provenance of a number.

    measured: on a real board or natively; emulated: under QEMU; twin: on the amd64 twin of the same
    Caffe packages; predicted: by a fitted model; planned: from a static model of Caffe's
    allocations; computed: from the network or a file, without a run; paper: printed there;
    unavailable: no number, with the cause in `reason`.
    """

    kind: ProvenanceKind
    reason: str = ""

    @classmethod
    def missing(cls, reason: str) -> Self:
        """Return the provenance of a number that is not there."""
        return cls(kind="unavailable", reason=reason)

    @model_validator(mode="after")
    def _require_reason(self) -> Self:
        if self.kind == "unavailable" and not self.reason.strip():
            raise ValueError("provenance 'unavailable' needs a reason")
        return self


class LayerTime(Frozen):
    """The time of one layer; backward is None if only the forward pass ran."""

    name: str
    type: Name
    forward_ms: Milliseconds
    backward_ms: Milliseconds | None = None


class Sample(Frozen):
    """One timed forward pass, and the state of the machine around it.

    `throttled_bits` are the Pi firmware's: all bits that were set from right before the pass until
    the kernel must have noticed events during it (0: never); bits from 16 on may be from an earlier
    time. `clock_hz` is the slowest core's, the lower of the readings before and after,
    `temperature_c` the higher one; `swapped_bytes` is what the kernel moved to and from swap
    meanwhile. Values are None if the machine does not report them: `unavailable` of the guest's
    environment gives the reason. `set_aside` is the reason why the sample does not count, `outlier`
    is only a mark. Under `caffe-time` there is one sample, the mean of its iterations, and the
    state covers the whole run.
    """

    latency_ms: Milliseconds
    throttled_bits: Whole | None = None
    clock_hz: Annotated[Whole, unit("Hz")] | None = None
    temperature_c: Annotated[float, Field(ge=-1e6, le=1e6), unit("degC")] | None = None
    swapped_bytes: Bytes | None = None
    set_aside: str | None = None
    outlier: bool = False


class LatencyInterval(Frozen):
    """An interval of the median of the samples that count, and how often such intervals hold it."""

    low_ms: Milliseconds
    high_ms: Milliseconds
    confidence: Annotated[PositiveFloat, Field(lt=1), unit("1")]


class StartUp(Frozen):
    """What came before the timed passes of `inference`, and what is resident after them.

    `load_ms` is the time to read the model and its weights and set the network up, `first_pass_ms`
    that of the first forward pass, which also allocates: an untimed pass, or the first timed one if
    there is none. `loaded_peak_rss_bytes` is the peak until the network was set up,
    `steady_rss_bytes` what is resident after the last timed pass. Both are of the whole process,
    and None where a program of the host emulates it. Their provenance is that of the peak.
    """

    load_ms: Milliseconds
    first_pass_ms: Milliseconds | None = None
    loaded_peak_rss_bytes: Bytes | None = None
    steady_rss_bytes: Bytes | None = None


class BlobSummary(Frozen):
    """A summary of the values of one blob, used to compare two runs.

    `sha256` is over the blob's float32 values, little-endian, in C order. `minimum`, `maximum`,
    `l2_norm` and `projection` are over the finite values only and None (empty) if there are none;
    `non_finite_count` is the number of excluded values. `projection` has dot products with fixed
    random signs: see Projector in pibench/probe/values.py.
    """

    name: Name
    shape: Annotated[tuple[Whole, ...], Field(max_length=MOST_AXES)]
    sha256: Sha256
    minimum: Extreme | None = None
    maximum: Extreme | None = None
    l2_norm: Norm | None = None
    non_finite_count: Count = 0
    projection: tuple[Projection, ...] = ()

    @field_validator("shape")
    @classmethod
    def _caffe_can_hold_it(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if prod(shape) > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values")
        return shape


class OutputBlob(BlobSummary):
    """One output blob; `values` are its float32 values as base64, None if there are too many.

    They are little-endian and in C order, as for `sha256`.
    """

    values: str | None = None


class LayerSignature(BlobSummary):
    """A blob written by a layer, as it was right after the layer ran.

    A layer with several tops has several; a blob that layers change in place
    has one per layer. `index` is the layer's position in the net that ran.
    """

    index: Whole
    layer: str
    type: Name


class InputTensor(Frozen):
    """An input of a user's own model file: NumPy's name of its element type, and its shape."""

    name: Name
    type: Name
    shape: Annotated[tuple[Positive, ...], Field(max_length=MOST_AXES)]


class KeptBlobs(Frozen):
    """A file of whole blobs (npz), kept on request: the values behind some signatures.

    `file` is its name without a folder, `blobs` are its arrays: a layer's name, and
    after a colon the blob's if the layer wrote several. `missing` lists layers for
    which some of the requested blobs did not arrive.
    """

    file: Name
    sha256: Sha256
    blobs: tuple[Name, ...]
    missing: tuple[Name, ...] = ()


class Evidence(Frozen):
    """The evidence for the verdict.

    `exit_status` is the measured process's own, in the form of Python's subprocess: negative for a
    signal, which `signal` then repeats; both are None if the end of the process was not observed.
    `oom_kills` are unmodified lines of the kernel's log, `oom_counter` is the cgroup's count of
    kills, `fatal_message` is the message with which the engine ended. `memory_limit_bytes` is the
    effective limit: the guest's MemTotal or the cgroup's limit, which includes room for the
    emulator (`Limits.allowance`). `reached_own_limit` is whether the process's own control group
    reached that limit, None without such a group. `container_exit_code` and `container_oom_killed`
    are the Engine's reports about the container, None without one.
    """

    summary: Name
    exit_status: int | None = None
    signal: Positive | None = None
    oom_kills: tuple[str, ...] = ()
    oom_counter: Count | None = None
    container_exit_code: int | None = None
    container_oom_killed: bool | None = None
    timed_out: bool = False
    guest_died: bool = False
    fatal_message: str | None = None
    swap_used_bytes: Bytes | None = None
    memory_limit_bytes: Bytes | None = None
    reached_own_limit: bool | None = None
    elapsed_seconds: Seconds | None = None
    notes: tuple[str, ...] = ()


class LimitSet(Frozen):
    """Limits of a run; None for no limit or an unknown one."""

    memory_bytes: Bytes | None = None
    swap_bytes: Bytes | None = None
    cores: Cores | None = None
    threads: Positive | None = None


class Allowance(Frozen):
    """Memory on top of the device's, for overhead that does not exist on the device.

    `emulator_bytes` is QEMU's own memory when the guest fills the device,
    `emulator_error_bytes` the difference between two ways of measuring it (its own
    mappings, and an emulated program against the same program on the amd64
    twin), `probe_bytes` the monitoring program's. `measured` is the time of the measurement.
    """

    emulator_bytes: Bytes
    emulator_error_bytes: Bytes | None = None
    probe_bytes: Bytes
    measured: str


class Limits(Frozen):
    """The requested and the effective limits, which can differ.

    `enforced_by` is what limits the process's memory: the kernel of a machine with no more memory,
    a cgroup, or pibench's watcher, which checks every few milliseconds; None if nothing does.
    `reserve_bytes` of the device are for other programs on it, and not part of `asked`.
    """

    asked: LimitSet = LimitSet()
    in_force: LimitSet = LimitSet()
    enforced_by: Enforcer | None = None
    allowance: Allowance | None = None
    reserve_bytes: Bytes = 0


class HostEnvironment(Frozen):
    """The machine that ran pibench; see `pibench.records.environment`.

    `qemu_accelerator` is how QEMU's system emulation ran the cores (`-accel`), `qemu_boot` whether
    the guest booted for this run, or was restored from the snapshot of one that had booted.
    """

    pibench_version: Name
    python_version: Name
    kernel: Name
    architecture: Name
    cpu_model: str | None = None
    logical_cores: Positive | None = None
    memory_bytes: Bytes | None = None
    load_1_minute: Annotated[NonNegativeFloat, Field(le=MOST_VALUES), unit("1")] | None = None
    qemu_version: str | None = None
    qemu_accelerator: str | None = None
    qemu_boot: Boot | None = None
    engine: str | None = None


class GuestEnvironment(Frozen):
    """The environment of the engine: inside the machine, the container or the image.

    `main_id_register` is the CPU's MIDR_EL1 as a program there reads it: 0x410fd034
    is a Cortex-A53 r0p4. `kernel_arguments` is /proc/cmdline of the VM's guest. `caffe_origin` is
    the origin of the engine that ran: the system or pibench's root. `governor` is the one of the
    CPU's clock.
    `unavailable` gives a reason for each figure that this machine does not report.
    """

    kernel: str | None = None
    kernel_arguments: str | None = None
    architecture: str | None = None
    memory_total_bytes: Bytes | None = None
    device_tree_model: str | None = None
    main_id_register: str | None = None
    caffe_origin: Literal["system", "root"] | None = None
    blas_name: str | None = None
    blas_core_type: str | None = None
    blas_threads: Positive | None = None
    python_version: str | None = None
    image_lock_digest: str | None = None
    container_image_id: str | None = None
    governor: str | None = None
    unavailable: dict[str, str] = Field(default_factory=dict)


class Environment(Frozen):
    """Host and guest; a native run also describes its engine in `guest`."""

    host: HostEnvironment
    guest: GuestEnvironment = GuestEnvironment()


class CellMark(Frozen):
    """The cell of a study that produced a record; see `pibench.sweeps`.

    `key` is the SHA-256 of everything that determines the result, `attempt` the number of the
    attempt, and `seal` the SHA-256 of the rest of the record, which detects disk corruption.
    """

    key: Sha256
    attempt: PositiveInt
    seal: Sha256


class Record(Displayed, Frozen):
    """The record of one network on one target.

    `engine` ran it, such as `caffe`; `engine_version` is what that engine reports of itself.
    `memory_only_tier` is what memory-only compute replaced, as the program itself reported:
    `blas`, or `loops` for Caffe's own loops too. It is None with real compute, where the program's
    end was not observed, and in records before 1.7. `setup` names the configuration of BLAS and
    allocator (pibench/setups.toml).

    `peak_rss_bytes` is of the network's own process; if a host process emulates it, QEMU's own
    memory is subtracted and reported in `emulator_rss_bytes`. `network_rss_bytes` is the peak minus
    the baseline (the same program waiting for a network), which the paper prints as RAM.
    `input_size` is the images' height and width if they are not the network's own, or the shapes
    that were given for a model file, such as 1x3x224x224. `network_format` is onnx or tflite for a
    user's own model file: `network_sha256` is then the file's, `weights_sha256` that of files with
    weights beside it, and `inputs` has what the file declares. `latency_ms` is
    the median of the forward passes that count; `samples` are all of them. `start_up` is None with
    `caffe-time`, with memory-only compute and in records before 1.10. `weights_file_bytes` is
    the caffemodel's size or, if none was written, the size it would have. An empty `layers` or
    `outputs` counts as unavailable. `network_source` is "zoo" or the prototxt's path as it was
    given, in older records only the file's name. `seed` and `input_sha256` belong to the input of
    the outputs (float32, little-endian, all input blobs concatenated); a run without outputs has
    only the seed. `signatures` are of the same forward pass as `outputs`, and share their
    provenance.
    """

    schema_version: Literal["1.10"] = SCHEMA_VERSION
    record_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] = Field(
        default_factory=lambda: uuid4().hex
    )
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))

    network: Name
    network_sha256: Sha256
    network_source: Name
    network_format: NetworkFormat = "caffe"
    inputs: tuple[InputTensor, ...] = ()
    parameter_count: Count | None
    weights_file_bytes: Bytes | None
    weights_sha256: Sha256 | None = None
    repairs: tuple[str, ...] = ()
    fork_layers: tuple[str, ...] = ()
    """The layer types that stock Caffe lacks, which pibench's library has computed."""

    device: Name
    target: Target
    machine: Machine | None = None
    engine: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")] = "caffe"
    engine_version: str | None = None
    protocol: Protocol
    compute: Compute
    memory_only_tier: MemoryOnlyTier | None = None
    setup: Setup = DEFAULT
    batch: Batch = 1
    input_size: Annotated[str, Field(pattern=INPUT_SIZE)] | None = None

    verdict: Verdict
    evidence: Evidence
    peak_rss_bytes: Bytes | None
    baseline_rss_bytes: Bytes | None
    emulator_rss_bytes: Bytes | None
    network_rss_bytes: SignedBytes | None
    headroom_bytes: SignedBytes | None
    latency_ms: Milliseconds | None
    layers: tuple[LayerTime, ...] = ()
    repeats: Count = 1
    samples: tuple[Sample, ...] = ()
    latency_interval: LatencyInterval | None = None
    start_up: StartUp | None = None
    seed: Whole | None = None
    input_sha256: Sha256 | None = None
    outputs: tuple[OutputBlob, ...] = ()
    signatures: tuple[LayerSignature, ...] = ()
    kept_blobs: KeptBlobs | None = None
    cell: CellMark | None = None

    limits: Limits = Limits()
    environment: Environment
    provenance: dict[str, Provenance]

    def __repr__(self) -> str:
        peak = "peak unknown"
        if self.peak_rss_bytes is not None:
            peak = f"peak {self.peak_rss_bytes / devices.MIB:.0f} MiB"
        facts = [f"{self.verdict} on {self.device}", peak]
        kind = self.provenance["latency_ms"].kind
        if self.latency_ms is not None and kind != "emulated":
            facts.append(f"{self.latency_ms:.3g} ms ({kind})")
        where = [self.target, *([] if self.engine == "caffe" else [self.engine]), self.protocol]
        return f"<{self.network}, {', '.join(where)}: {', '.join(facts)}>"

    def __str__(self) -> str:
        return repr(self)

    @field_validator("created")
    @classmethod
    def _created_in_utc(cls, created: datetime) -> datetime:
        try:
            return created.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("not a date in UTC") from error

    @property
    def target_kind(self) -> TargetKind:
        """What the target is; cautious defaults if it is not installed here."""
        return kind_of(self.target)

    @property
    def device_profile(self) -> Device:
        """The device, without the reserve. Raises InvalidInputError for an unknown device."""
        return devices.load(self.device).with_reserve(self.limits.reserve_bytes / devices.MIB)

    @property
    def ran_on_board(self) -> bool:
        """Whether the engine ran natively on the board's architecture."""
        architecture = self.environment.guest.architecture or self.environment.host.architecture
        return self.target_kind.is_board and architecture in ("aarch64", "armv7l")

    @property
    def is_emulated_or_twin(self) -> bool:
        """Whether nothing in it ran as it would on a Raspberry Pi."""
        kind = self.target_kind
        if kind.is_board or not kind.installed:
            # A board may have turned out to be emulated.
            kinds = {self.provenance[name].kind for name in RUN_FIELDS}
            return "measured" not in kinds and (not kind.is_board or "emulated" in kinds)
        native = self.environment.host.qemu_version is None
        return not (kind.emulation == "other-hosts" and native)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for contradiction in self._contradictions():
            raise ValueError(contradiction)
        return self

    def _contradictions(self) -> Iterator[str]:
        """Yield what cannot be true together; each sentence may rely on those before it."""
        kind, end = self.target_kind, self.evidence
        if kind.installed and bool(kind.machines) != (self.machine is not None):
            yield "only target 'vm' has a machine"
        yield from self._impossible_provenances()
        if self.memory_only_tier is not None and self.compute != "memory-only":
            yield f"memory_only_tier of a run with {self.compute} compute"
        if self.signatures and not self.outputs:
            yield "signatures need outputs, and there are none"
        if self.verdict in ("fit", "borderline"):
            if end.exit_status != 0 or end.signal or end.timed_out or end.guest_died:
                yield f"verdict {self.verdict!r} of a process that did not end with 0"
            if self.verdict == "fit" and (self.headroom_bytes or 0) < 0:
                yield "verdict 'fit' with a negative headroom_bytes"
        sizes = (self.peak_rss_bytes, self.baseline_rss_bytes, self.network_rss_bytes)
        if None not in sizes and sizes[2] != (sizes[0] or 0) - (sizes[1] or 0):
            yield "network_rss_bytes is not peak_rss_bytes less baseline_rss_bytes"

    def _impossible_provenances(self) -> Iterator[str]:
        unknown = sorted(set(self.provenance) - set(RESULT_FIELDS))
        if unknown:
            yield f"provenance for fields that are not results: {', '.join(unknown)}"
        for name in RESULT_FIELDS:
            if name not in self.provenance:
                yield f"{name} has no provenance"
            missing, source = getattr(self, name) in (None, ()), self.provenance[name].kind
            if missing and source != "unavailable":
                yield f"{name} is missing but its provenance is {source!r}"
            if not missing and source == "unavailable":
                yield f"{name} has a value but its provenance is 'unavailable'"
        for name in RUN_FIELDS:
            source = self.provenance[name].kind
            if source == "measured" and self.is_emulated_or_twin:
                yield f"{name} cannot be 'measured' on target {self.target!r}"
            if self.compute == "memory-only" and name in COMPUTE_FIELDS and source in _OF_A_RUN:
                yield (
                    f"{name} cannot come from a run with memory-only compute, "
                    "which computes no values"
                )


def _models_within(annotation: Any) -> list[type[Frozen]]:
    """Return the models in an annotation, through unions, tuples and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_within(inner)]


def _unit_within(annotation: Any) -> str | None:
    """Return the unit of an annotation, at any depth of unions."""
    extra = getattr(annotation, "json_schema_extra", None)
    if isinstance(extra, dict):
        return str(extra["unit"])
    found = (_unit_within(inner) for inner in get_args(annotation))
    return next((unit for unit in found if unit), None)


def _units(model: type[Frozen], prefix: str = "") -> dict[str, str]:
    units: dict[str, str] = {}
    for name, field in model.model_fields.items():
        parts = (field, field.annotation)
        unit = next((unit for unit in map(_unit_within, parts) if unit), None)
        if unit:
            units[prefix + name] = unit
        for inner in _models_within(field.annotation):
            units |= _units(inner, f"{prefix}{name}.")
    return units


UNITS: Final = _units(Record)
"""Unit of every quantity of a record, by its dotted path: {"peak_rss_bytes": "byte", ...}."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one record, as stored on a line."""
    head = {"$schema": JSON_SCHEMA_DIALECT, "$id": f"urn:pibench:record:{SCHEMA_VERSION}"}
    return head | Record.model_json_schema(mode="serialization")
