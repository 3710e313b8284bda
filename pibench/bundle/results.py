"""Read a board's file of results, check each line, and convert the outcomes to records."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from gzip import GzipFile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, NonNegativeFloat, ValidationError

from pibench import file_io
from pibench.bundle.kit import NAME, TOP, KitNetwork, Manifest, digest_of, remembered
from pibench.devices import KIB
from pibench.errors import InvalidInputError, first_of
from pibench.probe.results import VERSION, Damaged, entries
from pibench.records.schema import HostEnvironment
from pibench.runner.record import Context, record_of
from pibench.targets.base import Outcome
from pibench.targets.probe_session import MachineInfo, Reported, RunResult, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.records.schema import Record
    from pibench.records.schema import Target as TargetName
    from pibench.records.store import RecordStore
    from pibench.target_kinds import Machine
    from pibench.targets.base import Job, Observer, Watcher

LONGEST_MANIFEST_BYTES: Final = 64 << 20
MOST_LINES: Final = 100_000
GO_ON: Final = "on the board, python3 run.py continues, or python3 run.py --end closes the results"
SAME_VERSION: Final = "use the version of pibench that made the bundle"
COPY: Final = "copy the file from the board again"

Entry = TypeVar("Entry", bound=BaseModel)

# Raised by code for values that a probe never reports, although each one alone is valid.
_ABSURD: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


class MachineEntry(Reported):
    """A probe started."""

    machine: MachineInfo
    unix_s: float


class StartEntry(Reported):
    """A network was started."""

    id: Text
    unix_s: float
    load_1_minute: NonNegativeFloat


class ResultEntry(Reported):
    """A network ended."""

    id: Text
    result: RunResult


class DiedEntry(Reported):
    """A network whose end was not observed."""

    id: Text
    why: Text


class EndEntry(Reported):
    """The end of a complete sequence of entries."""

    finished: list[Text]


@dataclass(frozen=True, kw_only=True)
class BoardRun:
    """One network of a bundle with the board's outcome, and the digest and number of its line."""

    network: KitNetwork
    outcome: Outcome
    digest: str
    line: int


@dataclass(frozen=True, kw_only=True)
class BoardResults:
    """A complete file of results, and its kit."""

    path: Path
    manifest: Manifest
    runs: tuple[BoardRun, ...]


def read_results(path: Path, kit: Path | None = None) -> BoardResults:
    """Read and check a file of results.

    Args:
        path: the file.
        kit: the bundle's archive, if this machine did not make the bundle.

    Raises:
        InvalidInputError: with the line, for anything that a bundle did not write, that was
            changed, or that ends too early.
    """
    reader: _Reader | None = None
    content = file_io.read_input(path, hint="give the board's pi-results.jsonl")
    try:
        for number, digest, entry in entries(BytesIO(content)):
            if reader is None:
                _check_version(path, entry)
                reader = _Reader(path=path, manifest=_manifest(path, entry["kit"], kit))
            else:
                reader.take(number, digest, entry)
    except Damaged as damage:
        hint = f"{COPY}; if it is so there too, {GO_ON}" if damage.torn else COPY
        raise InvalidInputError.at(
            path, f"line {damage.number}", damage.problem, hint=hint
        ) from None
    if reader is None:
        raise InvalidInputError.at(path, None, "is empty", hint=COPY)
    return reader.whole()


def _check_version(path: Path, entry: dict[str, Any]) -> None:
    if entry.get("version") != VERSION:
        problem = f"results of version {entry.get('version')!r}, this program reads {VERSION}"
        raise InvalidInputError.at(path, "line 1", problem, hint=SAME_VERSION)


def _manifest(path: Path, digest: str, kit: Path | None) -> Manifest:
    """Return the manifest with that digest, from the archive of the bundle or the cache."""
    text = _manifest_in(kit) if kit is not None else remembered(digest)
    if text is None:
        problem = f"of a bundle that was not made here ({digest[:16]})"
        hint = "give the bundle too: --bundle pi-kit.tar.gz"
        raise InvalidInputError.at(path, "line 1", problem, hint=hint)
    if digest_of(text) != digest:
        problem = f"of another bundle ({digest[:16]}) than {kit} ({digest_of(text)[:16]})"
        hint = "give the bundle that ran on the board"
        raise InvalidInputError.at(path, "line 1", problem, hint=hint)
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        problem = f"is not a manifest that this version of pibench reads: {first_of(error)}"
        raise InvalidInputError.at(kit or path, NAME, problem, hint=SAME_VERSION) from None


def _manifest_in(kit: Path) -> bytes:
    """Read the manifest from a bundle's archive without unpacking it."""
    hint = "give the bundle as pibench bundle wrote it"
    try:
        with file_io.open_input(kit, hint=hint) as stream, GzipFile(fileobj=stream) as packed:
            head = _head(packed)
        with tarfile.open(fileobj=head, mode="r:") as archive:
            member = archive.next()
            if member is None or member.name != f"{TOP}/{NAME}" or not member.isreg():
                raise InvalidInputError.at(kit, None, "is not a bundle", hint=hint)
            if member.size > LONGEST_MANIFEST_BYTES:
                raise InvalidInputError.at(kit, NAME, "is too long", hint=hint)
            content = archive.extractfile(member)
            assert content is not None  # noqa: S101
            text = content.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InvalidInputError.at(kit, None, f"cannot be read: {error}", hint=hint) from None
    return text


def _head(packed: GzipFile) -> BytesIO:
    """Read the limited head that contains the manifest, whatever sizes the headers claim."""
    head = bytearray()
    with suppress(EOFError):
        while len(head) <= LONGEST_MANIFEST_BYTES and (chunk := packed.read1(1 << 16)):
            head += chunk
    return BytesIO(head)


@dataclass(kw_only=True)
class _Reader:
    """Process the entries in order, and reject one that cannot follow."""

    path: Path
    manifest: Manifest
    runs: dict[str, BoardRun] = field(default_factory=dict)
    machine: MachineEntry | None = None
    started: StartEntry | None = None
    ended: bool = False
    lines: int = 1

    def take(self, number: int, digest: str, entry: dict[str, Any]) -> None:
        """Process one entry after the first."""
        self.lines = number
        event = entry.get("event")
        if number > MOST_LINES:
            raise self._refused("more lines than a bundle writes")
        self.ended = event == "end"
        if event == "machine":
            self.machine, self.started = self._checked(MachineEntry, entry), None
        elif event == "start":
            self.started = self._checked(StartEntry, entry)
            self._waiting(self.started.id)
        elif event == "result":
            self._add(self._checked(ResultEntry, entry), digest)
        elif event == "died":
            self._add(self._checked(DiedEntry, entry), digest)
        elif event == "interrupted":
            self.started = None
        elif event == "end":
            if self._checked(EndEntry, entry).finished != list(self.runs):
                raise self._refused("the end names other networks than those before it")
        else:
            raise self._refused(f"an entry that no bundle writes: {str(event)[:40]!r}")

    def whole(self) -> BoardResults:
        """Return the results if they are complete. Raises InvalidInputError."""
        if not self.ended:
            problem = "the results end here without an end: cut off, or interrupted"
            raise self._refused(problem, hint=f"{COPY}; if it is so there too, {GO_ON}")
        if not self.runs:
            raise self._refused("no network has a result", hint="python3 run.py continues")
        return BoardResults(path=self.path, manifest=self.manifest, runs=tuple(self.runs.values()))

    def _add(self, entry: ResultEntry | DiedEntry, digest: str) -> None:
        """Add the outcome of a network that ended, or whose end was not observed."""
        network = self._waiting(entry.id)
        own: dict[str, Any]
        if isinstance(entry, DiedEntry):
            own = {"died": entry.why}
        elif self.machine is None or self.started is None or self.started.id != entry.id:
            raise self._refused(f"a result of {network.name}, which was not started")
        else:
            own = {"result": entry.result.as_event(), "notes": (_when(self.started),)}
        machine = self.machine.machine if self.machine else None
        outcome = Outcome(
            job=self.manifest.job_of(network),
            machine=machine.as_event() if machine else None,
            host=self._host(machine) if machine else None,
            **own,
        )
        self.runs[network.id] = BoardRun(
            network=network, outcome=outcome, digest=digest, line=self.lines
        )
        self.started = None

    def _waiting(self, network_id: str) -> KitNetwork:
        """Return the network, which must be in the bundle and have no result yet."""
        known = {network.id: network for network in self.manifest.networks}
        if network_id not in known:
            raise self._refused(f"a network that the bundle does not have: {network_id[:40]!r}")
        if network_id in self.runs:
            raise self._refused(f"{known[network_id].name} a second time")
        return known[network_id]

    def _host(self, machine: MachineInfo) -> HostEnvironment:
        """Return the environment of the board that ran the bundle."""
        load = self.started.load_1_minute if self.started else None
        memory_kib = machine.mem_total_kib
        return self._checked(
            HostEnvironment,
            {
                "pibench_version": self.manifest.pibench_version,
                "python_version": machine.python,
                "kernel": f"Linux {machine.kernel}",
                "architecture": machine.architecture,
                "cpu_model": machine.cpu or machine.board,
                "logical_cores": machine.cores,
                "memory_bytes": memory_kib * KIB if memory_kib else None,
                "load_1_minute": load,
            },
        )

    def _checked(self, model: type[Entry], entry: dict[str, Any]) -> Entry:
        try:
            return model.model_validate(entry)
        except ValidationError as error:
            raise self._refused(f"not as a bundle writes it: {first_of(error)}") from None

    def _refused(self, problem: str, *, hint: str = COPY) -> InvalidInputError:
        return InvalidInputError.at(self.path, f"line {self.lines}", problem, hint=hint)


def _when(started: StartEntry) -> str:
    """Return the time by the board's clock, which may be wrong: it has no battery."""
    try:
        at = datetime.fromtimestamp(started.unix_s, UTC)
    except (OverflowError, OSError, ValueError):
        return "the board's clock gave no date"
    return f"ran on {at:%Y-%m-%d %H:%M} UTC by the board's own clock"


class BoardTarget:
    """The board that ran a bundle: its runs are complete, and nothing can be run."""

    name: TargetName = "native"
    machine: Machine | None = None

    def prepare(self, jobs: Sequence[Job]) -> None:
        """Do nothing."""

    def run(self, jobs: Sequence[Job], observe: Observer, watch: Watcher) -> None:
        """Do nothing: the results already exist."""

    def environment(self) -> dict[str, str | None]:
        """Return an empty environment: no emulator or image of this machine was used."""
        return {"qemu_version": None, "image_lock_digest": None}


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The records of a file of results, and how many of them the store already had."""

    records: tuple[Record, ...]
    known: int


def import_results(
    path: Path, *, kit: Path | None = None, store: RecordStore | None = None
) -> Imported:
    """Convert a board's results to records, and append the new ones to `store`.

    All records are created before the first one is written.

    Raises:
        InvalidInputError: for results that are damaged, of another bundle or incomplete.
        HostError: if a record cannot be written.
    """
    results = read_results(path, kit)
    records = tuple(_record(results, run) for run in results.runs)
    if store is None:
        return Imported(records=records, known=0)
    store.prepare()
    return Imported(records=records, known=len(records) - store.append_new(records))


def _record(results: BoardResults, run: BoardRun) -> Record:
    context = Context(device=results.manifest.options.profile, target=BoardTarget())
    try:
        record = record_of(run.network, run.outcome, context, None)
    except _ABSURD as error:
        reason = " ".join(str(error).split())[:300]
        problem = f"no record can be made of it: {reason}"
        place = f"line {run.line}"
        raise InvalidInputError.at(results.path, place, problem, hint=SAME_VERSION) from error
    # The same line gives the same record id, however often it is imported.
    name = hashlib.sha256(f"record of {run.digest}".encode()).hexdigest()[:32]
    return record.model_copy(update={"record_id": name})
