"""One side of a comparison: its figures per network, from any source; and baselines.

A baseline is a committed file of accepted figures for later runs to match.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, ValidationError

from pibench import devices, file_io
from pibench.crosscheck.paper import is_of_the_zoo, plain
from pibench.engines.registry import label_of
from pibench.errors import InvalidInputError
from pibench.file_io import write_whole
from pibench.records.identity import Run, labels, run_of
from pibench.records.schema import (
    Bytes,
    LayerTime,
    Milliseconds,
    OutputBlob,
    Protocol,
    Provenance,
    ProvenanceKind,
    Record,
    Sha256,
    SignedBytes,
    Verdict,
)
from pibench.records.store import first_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

BASELINE_MARK: Final = "pibench_baseline"
"""The first key of a baseline's file; its value is the version."""
BASELINE_VERSION: Final = "1.0"
_HEAD_BYTES: Final = 200
NOTHING = Provenance(kind="unavailable", reason="this side does not tell")


class Entry(Run):
    """One run on one side: figures, each with its provenance, or the reason why it is missing.

    `network_sha256` is None if the side has names only. `ram_bytes` is the peak minus
    that of the same program without a network. `came_to_its_end` is False for a run that
    was cut short, None if nothing was run. `clock` identifies what the time measures: "board
    rpi3b", or a processor; None for times that apply only to their own run (emulated, or
    on the twin). `facts` are the properties of the environment that can explain a difference.
    """

    protocol: Protocol
    kind: ProvenanceKind
    verdict: Verdict | None = None
    came_to_its_end: bool | None = None
    ram_bytes: Bytes | None = None
    ram: Provenance = NOTHING
    headroom_bytes: SignedBytes | None = None
    latency_ms: Milliseconds | None = None
    latency: Provenance = NOTHING
    clock: str | None = None
    layers: tuple[LayerTime, ...] = ()
    input_sha256: Sha256 | None = None
    outputs: tuple[OutputBlob, ...] = ()
    values: Provenance = NOTHING
    facts: dict[str, str] = Field(default_factory=dict)

    @property
    def like(self) -> tuple[str, int, Protocol]:
        """The key used to compare with a side that has names only."""
        return plain(self.network), self.batch, self.protocol

    @property
    def goes_by_its_name(self) -> bool:
        """Whether its name has the same meaning as on a side that has names only.

        A user's file may have any name; only networks of the zoo, or copies of them, qualify.
        """
        return self.network_sha256 is None or is_of_the_zoo(self)

    def value_of(self, option: str) -> Any:
        """Return the value of one of `OPTIONS`; None if it is unknown, or if nothing was run."""
        if option == "source" and self.kind in ("planned", "predicted", "paper"):
            return None
        return getattr(self, option)


Origin = Literal["records", "plan", "predictions", "baseline", "paper"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """A named list of entries: the last one of each run."""

    name: str
    origin: Origin
    entries: tuple[Entry, ...]
    left_out: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, name: str, origin: Origin, entries: Iterable[Entry]) -> Side:
        """Create a side; only the last entry of each run counts."""
        latest = {one.identity: one for one in entries}
        return cls(name=name, origin=origin, entries=tuple(latest.values()))

    @cached_property
    def labels(self) -> dict[tuple[Any, ...], str]:
        """Names that distinguish the entries on this side, by the runs of the entries."""
        identities = (one.identity for one in self.entries)
        return dict(zip(identities, labels(self.entries), strict=True))


def entry_of(record: Record) -> Entry:
    """Convert a record to an entry."""
    ended = record.evidence.exit_status == 0
    ram_bytes, ram = record.network_rss_bytes, record.provenance["network_rss_bytes"]
    no_ram = "the process did not come to its end, its peak is a lower bound" if not ended else ""
    if ended and ram_bytes is not None and ram_bytes < 0:
        no_ram = "the peak is below that of the same program without a network"
    if no_ram:
        ram_bytes, ram = None, Provenance(kind="unavailable", reason=no_ram)
    return Entry(
        **dict(run_of(record)),
        kind=record.target_kind.provenance_of_run(emulated=record.is_emulated_or_twin),
        verdict=record.verdict,
        came_to_its_end=ended,
        ram_bytes=ram_bytes,
        ram=ram,
        headroom_bytes=record.headroom_bytes,
        latency_ms=record.latency_ms,
        latency=record.provenance["latency_ms"],
        clock=_clock(record),
        layers=record.layers,
        input_sha256=record.input_sha256,
        outputs=record.outputs,
        values=record.provenance["outputs"],
        facts=_facts(record),
    )


def _clock(record: Record) -> str | None:
    """Return the clock of the record's time."""
    kind = record.provenance["latency_ms"].kind
    if kind == "predicted" or (kind == "measured" and record.ran_on_board):
        return f"board {record.device}"
    if kind == "measured":
        return f"processor {record.environment.host.cpu_model or 'unknown'}"
    return None


def _facts(record: Record) -> dict[str, str]:
    """Return the environment facts that can explain a difference, without unknown ones."""
    host, guest = record.environment.host, record.environment.guest
    threads = record.limits.in_force.threads or guest.blas_threads
    emulated = record.is_emulated_or_twin and record.target_kind.provenance != "twin"
    # If QEMU runs a program of another architecture, kernel and probe are the host's.
    processor = f"{devices.load(record.device).qemu_cpu}, emulated" if emulated else host.cpu_model
    blas = guest.blas_name
    found = {
        "target": record.target if record.machine is None else f"{record.target} {record.machine}",
        "compute": record.compute,
        label_of(record.engine): record.engine_version,
        "Caffe's origin": guest.caffe_origin,
        # Only the version: build options and the core follow it.
        "BLAS": " ".join(blas.split()[:2]) if blas else None,
        "BLAS core": guest.blas_core_type,
        "BLAS threads": str(threads) if threads else None,
        "packages": guest.image_lock_digest and guest.image_lock_digest[:12],
        "kernel": guest.kernel or host.kernel,
        "architecture": "aarch64" if emulated else guest.architecture or host.architecture,
        "CPU": processor,
        "QEMU": host.qemu_version,
        "Python": guest.python_version,
        "pibench": host.pibench_version,
    }
    return {name: value for name, value in found.items() if value}


def differing_facts(pairs: Sequence[tuple[Entry, Entry]]) -> list[tuple[str, str, str]]:
    """Return the environment differences of all pairs: name and both sides' values, each once.

    If only one side knows a value, the other's is "unknown".
    """
    found: dict[tuple[str, str, str], None] = {}
    for first, second in pairs:
        for name in dict.fromkeys([*first.facts, *second.facts]):
            values = [side.facts.get(name, "unknown") for side in (first, second)]
            # A side without facts has no environment: nothing was run.
            if first.facts and second.facts and values[0] != values[1]:
                found[name, values[0], values[1]] = None
    return list(found)


def write_baseline(side: Side, path: Path) -> Path:
    """Write a side's figures to a baseline, without layer times, sorted for readable diffs.

    The write is atomic: on failure the previous file is unchanged.

    Raises:
        InvalidInputError: if the path already contains another kind of file.
        HostError: if the file cannot be written.
    """
    if path.is_file() and path.stat().st_size:
        # The existing file may be the measured records themselves.
        with path.open("rb") as file:
            if BASELINE_MARK.encode() not in file.read(_HEAD_BYTES):
                raise InvalidInputError.at(
                    path, None, "is there already, and is not a baseline", hint="name another file"
                )
    entries = sorted(side.entries, key=lambda one: (one.network, one.protocol, one.batch))
    content = {
        BASELINE_MARK: BASELINE_VERSION,
        # Bytes of a file name that are not valid text would make the JSON invalid.
        "from": side.name.encode("utf-8", "replace").decode(),
        "networks": [
            one.model_copy(update={"layers": ()}).model_dump(mode="json", exclude_defaults=True)
            for one in entries
        ],
    }
    return write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def parse_baseline(text: bytes, path: Path, name: str) -> Side:
    """Parse a baseline's text. Raises InvalidInputError with the file and the place in it."""
    hint = "write it again: pibench reconcile RECORDS --write-baseline FILE"
    content = file_io.json_of(text, path, None, hint=hint)
    if not isinstance(content, dict) or BASELINE_MARK not in content:
        raise InvalidInputError.at(path, None, "is not a baseline", hint=hint)
    version = str(content[BASELINE_MARK])
    if version.partition(".")[0] != BASELINE_VERSION.partition(".")[0]:
        problem = f"is a baseline of version {version}, this reads {BASELINE_VERSION}"
        raise InvalidInputError.at(path, None, problem, hint=hint)
    entries = []
    networks = content.get("networks")
    for number, item in enumerate(networks if isinstance(networks, list) else [], start=1):
        try:
            entries.append(Entry.model_validate(item))
        except ValidationError as error:
            raise InvalidInputError.at(
                path, f"network {number}", first_of(error), hint=hint
            ) from error
    if not entries:
        raise InvalidInputError.at(path, None, "has no network", hint=hint)
    return Side.of(name, "baseline", entries)
