"""Listen to one probe, check its events, and turn them into outcomes of its work.

A frame may come from a failing machine, and a file of results from elsewhere. Its fields must
have the right type and be within bounds before the code that makes records sees them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import math
import os
import re
import selectors
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError

from pibench.errors import HostError, first_of
from pibench.targets.base import Job, KeptBlob, Observer, Outcome, Progress, Watcher
from pibench.targets.job import PROBE
from pibench.targets.sandbox import sandboxed

if TYPE_CHECKING:
    import subprocess

SILENCE_DEADLINE_S: Final = 180.0
"""The longest silence accepted: the probe sends an event every five seconds."""
ATTEMPTS: Final = 2
"""A probe may die once without evidence: the network in flight is then tried again."""
_VALUE_BYTES: Final = 4
LARGEST_BYTES: Final = 1 << 30
"""How much of this machine's memory all dumped blobs of one run may use."""
_FRAME = re.compile(rb"PIBENCH ([0-9a-f]{8}) (\{.*\})\r?$")
_OOM = re.compile(rb"Out of memory: Killed process \d+ .*")
# A longer line is not one of pibench's frames, and is not worth the memory.
MAX_LINE_BYTES = 64 << 20
# How much of another line is stored, of at most 51 lines, however much a model makes Caffe write.
_KEPT_CHARACTERS = 2000

Bytes = Annotated[int, Field(ge=0, lt=1 << 60)]
Text = Annotated[str, Field(max_length=4096)]
Bits = Annotated[int, Field(ge=0, lt=1 << 32)]


class Reported(BaseModel):
    """Strict for known fields; further fields of a newer probe are passed on."""

    model_config = ConfigDict(
        frozen=True, extra="allow", strict=True, allow_inf_nan=False, defer_build=True
    )

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
    kernel_arguments: Text | None = None
    # Added by target vm: a guest does not know it.
    boot: Annotated[str, Field(pattern=r"^(fresh|restored)$")] | None = None
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
    """The same program with no network.

    `forks` is whether a process that was forked from the loaded program has the same peak, None
    where that was not tried.
    """

    exit_status: int | None
    forks: bool | None = None
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
    load_ms: NonNegativeFloat | None = None
    warmup_ms: list[NonNegativeFloat] = []
    read_high_water_kib: Bytes | None = None
    high_water_kib: Bytes | None = None
    steady_kib: Bytes | None = None


class CaffeTimeResult(Reported):
    """What caffe time's log contains."""

    # JSON has no tuples.
    layers: list[Annotated[tuple[Text, Text, NonNegativeFloat], Field(strict=False)]]
    totals: dict[Text, NonNegativeFloat]


class RunResult(Reported):
    """The `result` of a probe: see Watched in pibench/probe/job.py."""

    pid: NonNegativeInt
    forked: bool = False
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


class FrameReader:
    """Parses chunks of bytes into events, and keeps the last of the other lines."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.max_line_bytes = max_line_bytes
        self._rest = bytearray()
        self.oom_lines: list[str] = []
        self.other_lines: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """Yield the events of all lines that are now complete."""
        self._rest += chunk
        if len(self._rest) > self.max_line_bytes:
            self._rest.clear()
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            event = self._event(line)
            if event is not None:
                yield event

    def last_words(self, count: int = 3) -> str:
        """Return the last lines that were not frames."""
        return " | ".join(self.other_lines[-count:])

    def _event(self, line: bytes) -> dict[str, Any] | None:
        frame = _FRAME.search(line)
        if frame is not None and zlib.crc32(frame[2]) == int(frame[1], 16):
            try:
                event = json.loads(frame[2])
            except (ValueError, RecursionError):
                # A checksum does not prove who wrote the line.
                return None
            if not isinstance(event, dict) or "event" not in event:
                return None
            problem = problem_with(event)
            if problem is None:
                return event
            line = f"the probe reported a {event['event']} that cannot be: {problem}".encode()
        text = line[: 4 * _KEPT_CHARACTERS].decode("utf-8", "replace").strip()[:_KEPT_CHARACTERS]
        if text:
            self.other_lines = [*self.other_lines[-50:], text]
        oom = _OOM.search(line)
        if oom is not None:
            self.oom_lines.append(oom[0].decode("utf-8", "replace").strip())
        return None


@dataclass
class BlobCollector:
    """Collects the pieces as they arrive and returns only blobs that are whole and correct.

    Each frame that carries a piece has a checksum, and each blob a SHA-256, so
    a blob that lost a piece is dropped.
    """

    largest_bytes: int = LARGEST_BYTES
    _parts: dict[tuple[int, str], _Part] = field(default_factory=dict)
    _bytes: int = 0

    def add(self, piece: object) -> None:
        """Take one piece, in the format of `print_blob` in pibench/probe/values.py."""
        if not isinstance(piece, dict):
            return
        try:
            content = base64.b64decode(piece["data"], validate=True)
            key = int(piece["index"]), str(piece["name"])
            offset = int(piece["offset"])
        except (KeyError, TypeError, ValueError, binascii.Error):
            return
        self._bytes += len(content)
        if self._bytes > self.largest_bytes:
            return
        if offset == 0:
            # Also when a run is tried again: the pieces of the first attempt do not count.
            self._parts[key] = _Part(piece)
        part = self._parts.get(key)
        if part is not None and offset == len(part.content):
            part.content += content

    def take_all(self) -> tuple[KeptBlob, ...]:
        """Return the whole blobs in the order of their layers, and forget them."""
        whole = [part.blob() for _, part in sorted(self._parts.items())]
        self._parts.clear()
        self._bytes = 0
        return tuple(blob for blob in whole if blob is not None)


@dataclass
class _Part:
    """A blob of which some pieces have arrived."""

    first_piece: dict[str, Any]
    content: bytearray = field(default_factory=bytearray)

    def blob(self) -> KeptBlob | None:
        piece = self.first_piece
        if hashlib.sha256(self.content).hexdigest() != piece.get("sha256"):
            return None
        try:
            blob = KeptBlob(
                index=int(piece["index"]),
                layer=str(piece["layer"]),
                name=str(piece["name"]),
                shape=tuple(int(size) for size in piece["shape"]),
                content=bytes(self.content),
            )
        except (KeyError, TypeError, ValueError):
            return None
        return blob if len(blob.content) == _VALUE_BYTES * math.prod(blob.shape) else None


def _ignore(_: object) -> None:
    """Do nothing with a report."""


@dataclass
class ProbeSession:
    """What one probe has reported; each item leaves `pending` with its outcome.

    Events are matched with work by id, since a frame may be lost on a serial console. `reply`
    answers the events that ask for something.
    """

    pending: deque[Job] = field(default_factory=deque)
    observe: Observer = _ignore
    watch: Watcher = _ignore
    reply: Callable[[dict[str, Any]], None] = _ignore
    machine: dict[str, Any] | None = None
    running: Job | None = None
    result: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None
    ended: bool = False
    results: int = 0
    pids: set[int] = field(default_factory=set)
    frames: FrameReader = field(default_factory=FrameReader)
    blobs: BlobCollector = field(default_factory=BlobCollector)
    kept: tuple[KeptBlob, ...] = ()

    def feed(self, chunk: bytes) -> list[str]:
        """Take a chunk of output; return the names of the events in it."""
        return [self.take(event) for event in self.frames.feed(chunk)]

    def take(self, event: dict[str, Any]) -> str:
        """Take one event. Raises HostError where no Caffe there can run the work."""
        kind = str(event["event"])
        if kind == "hello":
            self.machine = event["machine"]
        elif kind == "start":
            self.running = self.find(event)
            if self.running is not None:
                self.watch(Progress(job=self.running, message="started"))
        elif kind == "calibration":
            self.calibration = event["calibration"]
        elif kind == "blob":
            self.blobs.add(event["blob"])
        elif kind == "result":
            self._finish(self.find(event), event["result"])
        elif kind == "unusable":
            raise HostError(
                f"no Caffe there can run this: {'; '.join(event['reasons'])}",
                hint="pibench doctor, or pibench board check, says what is missing",
            )
        elif kind in ("next", "place", "own"):
            self.reply(event)
        elif kind == "end":
            self.ended = True
        return kind

    def find(self, event: dict[str, Any]) -> Job | None:
        """Return the work that an event is about."""
        return next((work for work in self.pending if work.id == event["id"]), None)

    def _finish(self, work: Job | None, result: dict[str, Any]) -> None:
        self.running, self.result = None, result
        self.pids.add(result.get("pid", 0))
        if work is not None:
            self.pending.remove(work)
            self.results += 1
            self.kept = self.blobs.take_all()
            self.observe(Outcome(job=work, machine=self.machine, result=result, kept=self.kept))


def probe_command(job: Path) -> list[str]:
    """Return the command that runs a job's probe by this Python, isolated where possible."""
    # The probe needs the standard library only: without -S, Python also imports what is installed.
    return sandboxed([sys.executable, "-I", "-S", str(job.parent / PROBE), str(job)])


def answering(
    probe: subprocess.Popen[bytes], answer: Callable[[dict[str, Any]], str]
) -> Callable[[dict[str, Any]], None]:
    """Return a session's `reply` that writes a line with the answer to a local probe."""
    stdin = probe.stdin
    assert stdin is not None  # noqa: S101

    def reply(event: dict[str, Any]) -> None:
        line = answer(event).encode("ascii") + b"\n"
        # A probe that has died is noticed by the end of what it writes.
        with contextlib.suppress(BrokenPipeError):
            stdin.write(line)
            stdin.flush()

    return reply


def listen(
    probe: subprocess.Popen[bytes], session: ProbeSession, stopping: threading.Event
) -> str | None:
    """Read a local probe's pipe to its end; return how the probe died, or None if it did not."""
    assert probe.stdout is not None  # noqa: S101
    for chunk in read_chunks(probe.stdout):
        if chunk is None:
            return f"the probe sent nothing for {SILENCE_DEADLINE_S:.0f} s"
        session.feed(chunk)
        if session.ended or stopping.is_set():
            return None
    return f"the probe ended early (status {probe.wait()}): {session.frames.last_words()}"


def read_chunks(pipe: IO[bytes]) -> Iterator[bytes | None]:
    """Yield chunks as they arrive, empty ones during silence, and None if it lasts too long."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        last_output = time.monotonic()
        while True:
            if selector.select(timeout=0.5):
                chunk = os.read(pipe.fileno(), 65536)
                if not chunk:
                    return
                last_output = time.monotonic()
                yield chunk
            else:
                yield None if time.monotonic() - last_output > SILENCE_DEADLINE_S else b""
