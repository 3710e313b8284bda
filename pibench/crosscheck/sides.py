"""One side of a comparison: its figures per network, from any source.

The sources are records, what `plan` and `predict` print as JSON, published tables, and baselines:
committed files of accepted figures for later runs to match.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, ValidationError

from pibench import devices, file_io
from pibench.crosscheck.paper import DEFAULT, is_of_the_zoo, load_paper, plain
from pibench.engines.base import Protocol
from pibench.engines.registry import label_of
from pibench.errors import InvalidInputError, first_of
from pibench.file_io import write_whole
from pibench.records.fields import Bytes, Milliseconds, Sha256, SignedBytes
from pibench.records.identity import Run, labels, latest, run_of
from pibench.records.schema import (
    LayerTime,
    OutputBlob,
    Provenance,
    ProvenanceKind,
    Record,
    Verdict,
)
from pibench.records.store import parse, record_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pibench.crosscheck.paper import Paper, PaperEntry, ResultField

PAPER: Final = "paper"
BASELINE_MARK: Final = "pibench_baseline"
"""The first key of a baseline's file; its value is the version."""
BASELINE_VERSION: Final = "1.0"
_BASELINE: Final = re.compile(rf'\s*\{{\s*"{BASELINE_MARK}"'.encode())
_HEAD_BYTES: Final = 1000
_HINT: Final = "give records (JSON lines), or what plan, predict or run print with --json"
_RECORDS_HINT: Final = "give records: what run wrote with --out, or printed with --json"
_AS_IN_A_RECORD: Final = (
    "verdict", "headroom_bytes", "latency_ms", "layers", "input_sha256", "outputs",
)  # fmt: skip
NOTHING = Provenance.missing("this side does not tell")


class Entry(Run):
    """One run on one side: figures, each with its provenance, or the reason why it is missing.

    `network_sha256` is None if the side has names only. `ram_bytes` is the peak minus
    that of the same program without a network. `came_to_its_end` is False for a run that
    was cut short, None if nothing was run. `clock` identifies what the time measures: "board
    rpi3b", or a processor; None for times that apply only to their own run (emulated, or
    on the twin). `latency_range_ms` is what a time may be that was predicted for no single stack.
    `facts` are the properties of the environment that can explain a difference.
    """

    protocol: Protocol
    kind: ProvenanceKind
    verdict: Verdict | None = None
    came_to_its_end: bool | None = None
    ram_bytes: Bytes | None = None
    ram: Provenance = NOTHING
    headroom_bytes: SignedBytes | None = None
    latency_ms: Milliseconds | None = None
    latency_range_ms: tuple[Milliseconds, Milliseconds] | None = None
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
    """A named list of entries: the last one of each run, and the records that they are of."""

    name: str
    origin: Origin
    entries: tuple[Entry, ...]
    records: tuple[Record, ...] = ()

    @classmethod
    def of(
        cls, name: str, origin: Origin, entries: Iterable[Entry], records: Iterable[Record] = ()
    ) -> Side:
        """Create a side; only the last entry of each run counts."""
        last = {one.identity: one for one in entries}
        return cls(name=name, origin=origin, entries=tuple(last.values()), records=tuple(records))

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
        ram_bytes, ram = None, Provenance.missing(no_ram)
    return Entry(
        **dict(run_of(record)),
        kind=record.target_kind.provenance_of_run(emulated=record.is_emulated_or_twin),
        **{name: getattr(record, name) for name in _AS_IN_A_RECORD},
        came_to_its_end=ended,
        ram_bytes=ram_bytes,
        ram=ram,
        latency=record.provenance["latency_ms"],
        clock=_clock(record),
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
        "set-up": record.setup,
        "engine": f"{label_of(record.engine)} {_version(record)}".strip(),
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


def _version(record: Record) -> str:
    return (record.engine_version or "").removeprefix("caffe version ")


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


def _baseline(text: bytes, path: Path, name: str) -> Side:
    """Parse a baseline, which begins with its mark. Raises InvalidInputError with the place."""
    hint = "write it again: pibench reconcile RECORDS --write-baseline FILE"
    content = file_io.json_of(text, path, None, hint=hint)
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


def read_sides(sources: Sequence[str]) -> list[Side]:
    """Read a side from each source: a file, a folder of a table, or "paper".

    Sides with the same file name are labelled with their full paths.

    Raises:
        InvalidInputError: for a file that cannot be read, or has nothing that can be compared.
    """
    names = [_name(source) for source in sources]
    return [
        read_side(source, name if names.count(name) == 1 else source)
        for source, name in zip(sources, names, strict=True)
    ]


def read_side(source: str, name: str | None = None) -> Side:
    """Read one side; see `read_sides`."""
    if source == PAPER and not Path(source).exists():
        return paper_side()
    path, name = Path(source), name or _name(source)
    if path.is_dir():
        return paper_side(source, name)
    meant = difflib.get_close_matches(source.lower(), [PAPER]) if not path.exists() else ()
    content = file_io.read_input(path, hint=f"did you mean {PAPER}?" if meant else _HINT)
    if _is_array(content):
        return _array(path, name, content)
    if _BASELINE.match(content):
        return _baseline(content, path, name)
    records = latest(parse(content, path))
    if not records:
        raise _nothing(path)
    return Side.of(name, "records", map(entry_of, records), records)


def read_records(path: Path) -> list[Record]:
    """Read the records of a file: JSON lines, or the array that `run --json` prints.

    Raises:
        InvalidInputError: as `records.store.parse`, and for a plan, a prediction or a baseline,
            which the message names.
    """
    content = file_io.read_input(path, hint=_RECORDS_HINT)
    if _BASELINE.match(content):
        raise InvalidInputError.at(
            path, None, "is a baseline, which has no whole records", hint=_RECORDS_HINT
        )
    if not _is_array(content):
        return parse(content, path)
    return [_record(path, place, item) for place, item in _items(path, content)]


def _record(path: Path, place: str, item: dict[str, Any]) -> Record:
    kind = _kind_of(item)
    if kind == "record":
        return record_from(item, path, place)
    what = {"planned": "a plan, and nothing was run", "predicted": "a prediction"}.get(kind or "")
    hint = "pibench reconcile compares it with records" if what else _RECORDS_HINT
    raise InvalidInputError.at(path, place, f"is {what or 'not a record'}", hint=hint)


def _kind_of(item: dict[str, Any]) -> str | None:
    """Tell an object in a file by a key that only objects of its kind have."""
    marks = {"schema_version": "record", "peak_at": "planned", "pressure_ms": "predicted"}
    return next((kind for mark, kind in marks.items() if mark in item), None)


def paper_side(table: str = DEFAULT, name: str = PAPER) -> Side:
    """Return a published table: verdicts, RAM, and the board's times."""
    paper = load_paper(table)
    printed = Provenance(kind="paper", reason="as printed")
    entries = []
    for one in paper.entries:
        ram_bytes = _printed(paper, one, "network_rss_bytes")
        latency_ms = _printed(paper, one, "latency_ms")
        entries.append(
            Entry(
                network=one.zoo_network,
                batch=paper.batch,
                protocol=paper.protocol,
                device=paper.device,
                source=PAPER,
                kind="paper",
                verdict=one.verdict,
                came_to_its_end=None if one.verdict is None else one.verdict == "fit",
                ram_bytes=None if ram_bytes is None else round(ram_bytes),
                ram=_not_printed("RAM") if ram_bytes is None else printed,
                latency_ms=latency_ms,
                latency=_not_printed("latency") if latency_ms is None else printed,
                clock=f"board {paper.device}",
                values=_not_printed("outputs"),
            )
        )
    return Side.of(name, "paper", entries)


def _printed(paper: Paper, entry: PaperEntry, field: ResultField) -> float | None:
    """Return a printed figure in the unit of the record's field."""
    name = paper.column_of(field)
    figure = entry.figures.get(name) if name else None
    return figure.value * paper.columns[name].unit_size if name and figure else None


def _not_printed(what: str) -> Provenance:
    return Provenance.missing(f"the paper prints no {what} of it")


def _name(source: str) -> str:
    return source if source == PAPER else Path(source).stem


def _nothing(path: Path) -> InvalidInputError:
    return InvalidInputError.at(path, None, "has nothing to compare", hint=_HINT)


def _is_array(content: bytes) -> bool:
    return content[:_HEAD_BYTES].lstrip().startswith(b"[")


def _items(path: Path, content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of an array, each with its place in the file."""
    items = file_io.json_of(content, path, None, hint=_HINT)
    if not items:
        raise _nothing(path)
    for number, item in enumerate(items, start=1):
        place = f"item {number}"
        if not isinstance(item, dict):
            raise InvalidInputError.at(path, place, "is not an object", hint=_HINT)
        yield place, item


def _array(path: Path, name: str, content: bytes) -> Side:
    """Read the array that `run`, `plan` or `predict` prints with --json."""
    entries, records = [], []
    for place, item in _items(path, content):
        try:
            if _kind_of(item) == "record":
                records.append(record_from(item, path, place))
                entries.append(entry_of(records[-1]))
            else:
                entries.append(_entry(path, place, item))
        except (ValidationError, KeyError, TypeError) as error:
            why = f" ({type(error).__name__}: {error})"
            if isinstance(error, ValidationError):
                why = f": {first_of(error)}"
            raise InvalidInputError.at(path, place, f"is not valid{why}", hint=_HINT) from error
    kinds = {entry.kind for entry in entries}
    origins: dict[str, Origin] = {"planned": "plan", "predicted": "predictions"}
    origin = origins.get(kinds.pop(), "records") if len(kinds) == 1 else "records"
    return Side.of(name, origin, entries, latest(records))


def _entry(path: Path, place: str, item: dict[str, Any]) -> Entry:
    kind = _kind_of(item)
    if kind is None:
        raise InvalidInputError.at(path, place, "is not a record, plan or prediction", hint=_HINT)
    needed, optional = ("network", "protocol", "device"), ("network_sha256", "network_source")
    run = {name: item[name] for name in needed} | {name: item.get(name) for name in optional}
    figures = (_planned if kind == "planned" else _predicted)(item)
    run |= {"source": kind, "kind": kind, "headroom_bytes": item["headroom_bytes"]}
    return Entry(**run, **figures)


def _planned(item: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one network of `plan --json`, as fields of an entry."""
    nothing = Provenance.missing("a plan runs nothing")
    environment = item.get("environment", {})
    # A plan for the twin has the host's threads, one for the board its own.
    of_board = environment.get("architecture") == "arm64"
    return {
        "batch": item["batch"],
        "threads": environment.get("threads") if of_board else None,
        "setup": environment.get("setup"),
        "verdict": item["verdict"],
        "ram_bytes": item["network_rss_bytes"],
        "ram": item["provenance"]["network_rss_bytes"],
        "latency": nothing,
        "values": nothing,
    }


def _predicted(item: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one network of `predict --json`, as fields of an entry."""
    nothing = Provenance.missing("a prediction is of the time alone")
    return {
        "batch": item.get("batch", 1),
        "ram": nothing,
        "latency_ms": item["latency_ms"],
        "latency": item["provenance"],
        "latency_range_ms": _range_of(item),
        "clock": f"board {item['device']}",
        "layers": [
            {"name": one["name"], "type": one["type"], "forward_ms": one["latency_ms"]}
            for one in item["layers"]
        ],
        "values": nothing,
    }


def _range_of(item: dict[str, Any]) -> tuple[float, float] | None:
    """Return the range of a prediction for any stack."""
    return (item["low_ms"], item["high_ms"]) if item.get("stack") == "unknown" else None
