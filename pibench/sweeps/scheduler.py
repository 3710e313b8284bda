"""Schedule a study: run the remaining cells, and store each record as soon as it exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pibench import devices
from pibench.errors import ExitCode, HostError, InvalidInputError
from pibench.file_io import write_whole
from pibench.records.schema import Verdict
from pibench.sweeps import matrix
from pibench.sweeps.execute import Room, run_cells
from pibench.sweeps.journal import CellCache, sealed
from pibench.sweeps.matrix import cell_key, made_with, weights_sha256
from pibench.target_kinds import kind_of_spec

if TYPE_CHECKING:
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.sweeps.execute import CellResult
    from pibench.sweeps.journal import Journal
    from pibench.sweeps.matrix import Cell, Study

IN_A_ROW: Final = 3
"""Consecutive cells that fail because of the machine before a study is aborted."""

State = Verdict | Literal["waiting", "left out", "like another"]


class Place(NamedTuple):
    """The position of a cell among all of the study's, and its key."""

    position: int
    key: str


@dataclass(kw_only=True)
class SweepSummary:
    """The state of a study: the number of cells in total, by verdict, reused, left out and failed.

    `failed` has exit code and message of each cell without a record, by its label.
    """

    cells: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    ran: int = 0
    cache_hits: int = 0
    left_out: int = 0
    failed: dict[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def recorded(self) -> int:
        """The number of cells that this call has recorded."""
        return self.ran + self.cache_hits

    @property
    def left(self) -> int:
        """The number of cells without a conclusive record."""
        conclusive = sum(self.verdicts.values()) - self.verdicts["inconclusive"]
        return self.cells - self.left_out - conclusive

    @property
    def exit_code(self) -> ExitCode:
        """The most severe exit code of the cells."""
        codes = {code for code, _ in self.failed.values()}
        if ExitCode.ENVIRONMENT in codes:
            return ExitCode.ENVIRONMENT
        if codes - {ExitCode.INCONCLUSIVE}:
            return ExitCode.INVALID_INPUT
        return ExitCode.INCONCLUSIVE if codes or self.verdicts["inconclusive"] else ExitCode.OK


@dataclass(kw_only=True)
class SweepScheduler:
    """One call of `pibench sweep`.

    `submit` starts a cell, `room` limits the cells that run at once (None: they run elsewhere),
    `cache` has the cells of other studies. `log` is called with each message, `on_change` with the
    summary whenever it changes, and with a cell's label and record if that cell caused the change.
    A `dry` call lists the cells and runs none.
    """

    study: Study
    journal: Journal
    submit: Callable[[Cell], Future[CellResult]]
    room: Room | None
    cache: CellCache | None
    dry: bool = False
    log: Callable[[str], None] = lambda _: None
    on_change: Callable[[SweepSummary, str, Record | None], None] = lambda *_: None
    summary: SweepSummary = field(default_factory=SweepSummary)

    def run(self) -> SweepSummary:
        """Run missing and inconclusive cells; each record is on the disk before the next one.

        Stored records remain if this fails.

        Raises:
            InvalidInputError: for a network that cannot be used.
            HostError: if cells fail repeatedly on this machine, or the journal cannot be written.
        """
        matrix.check_networks(self.study)
        with self.journal.locked():
            # By position: shared texts take little memory in a study of any size.
            self._states: list[State] = []
            write_whole(self.journal.study_file, self.study.model_dump_json(indent=2) + "\n")
            self.summary.cells = self.journal.write_cells(self._listed())
            self.summary.left_out = self._states.count("left out")
            self.on_change(self.summary, "", None)
            self._failed_in_a_row = 0
            if not self.dry:
                run_cells(self._waiting(), self.submit, self.room, self._on_result)
        return self.summary

    def _read(self) -> dict[str, Verdict]:
        content = self.journal.read()
        if content.damaged:
            aside = self.journal.set_aside(content.damaged)
            self.log(
                f"{self.journal.store.path}: {len(content.damaged)} damaged lines were moved "
                f"to {aside}; their cells run again"
            )
        return content.verdicts

    def _each(self) -> Iterator[tuple[str, Cell, Network, str | None]]:
        for cell, network, why_not in matrix.cells(self.study):
            yield cell_key(cell, network), cell, network, why_not

    def _listed(self) -> Iterator[dict[str, Any]]:
        """Yield every cell once: equivalent definitions have the same key."""
        verdicts = self._read()
        seen: set[bytes] = set()
        for key, cell, network, why_not in self._each():
            if (digest := bytes.fromhex(key)) in seen:
                self._states.append("like another")
                continue
            seen.add(digest)
            reason = why_not or self._beyond(cell, network)
            entry = {"key": key, "label": cell.label}
            if reason:
                self._states.append("left out")
                entry["left_out"] = reason
            else:
                self._states.append(verdicts.get(key, "waiting"))
                self.summary.verdicts.update([verdicts[key]] if key in verdicts else [])
            yield entry

    def _beyond(self, cell: Cell, network: Network) -> str | None:
        """Return why a cell is left out: its planned peak exceeds the limit of `prune`."""
        if self.study.prune is None:
            return None
        options = cell.options
        peak = _planned_bytes(network, options.protocol, options.device, options.engine)
        usable = cell.options.profile.usable_bytes
        if peak is None or peak <= usable * (1 + self.study.prune / 100):
            return None
        return f"planned: peak {peak / 2**20:.0f} MiB of {usable / 2**20:.0f} MiB usable"

    def _waiting(self) -> Iterator[tuple[Place, Cell]]:
        """Yield the cells to run, one at a time; cached cells are recorded on the way."""
        for position, (key, cell, _, _) in enumerate(self._each()):
            if self._states[position] not in ("waiting", "inconclusive"):
                continue
            place = Place(position, key)
            cache = self.cache if _is_cacheable(cell) else None
            record = cache.get(key) if cache else None
            if record is None:
                yield place, cell
                continue
            self.summary.cache_hits += 1
            self._add(place, cell, _of_this_study(record, cell, key))

    def _on_result(self, place: Place, cell: Cell, ran: CellResult) -> None:
        if ran.record is not None and (other := _is_other(cell, ran)):
            # The key would claim software that the record was not made with.
            message = f"the worker has another {other} than this machine; install the same there"
            ran = replace(ran, record=None, exit_code=int(ExitCode.ENVIRONMENT), message=message)
        if ran.record is None:
            self._failed(cell, ran)
            return
        self._failed_in_a_row = 0
        record = sealed(ran.record, place.key, ran.attempt)
        self.summary.ran += 1
        self._add(place, cell, record)
        is_as_keyed = ran.made_with == made_with(cell.options.target)
        if self.cache and is_as_keyed and _is_cacheable(cell):
            try:
                self.cache.put(record)
            except HostError as error:
                self.cache = None
                self.log(f"cells are no longer stored for other studies: {error}")

    def _add(self, place: Place, cell: Cell, record: Record) -> None:
        self.journal.store.append(record)
        if self._states[place.position] == "inconclusive":
            self.summary.verdicts["inconclusive"] -= 1
        self._states[place.position] = record.verdict
        self.summary.verdicts[record.verdict] += 1
        self.on_change(self.summary, cell.label, record)

    def _failed(self, cell: Cell, ran: CellResult) -> None:
        self.summary.failed[cell.label] = (ran.exit_code, ran.message)
        self.log(f"{cell.label}: no record: {ran.message}")
        self.on_change(self.summary, cell.label, None)
        if ran.exit_code != ExitCode.ENVIRONMENT:
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row == IN_A_ROW:
            raise HostError(
                f"{IN_A_ROW} cells failed one after another: {ran.message}",
                hint=f"fix the cause, then: pibench sweep --resume --out {self.journal.folder}",
            )


def _of_this_study(record: Record, cell: Cell, key: str) -> Record:
    """Return another study's record with this study's path of the network."""
    if record.cell is None or record.network_source == cell.source:
        return record
    moved = record.model_copy(update={"network_source": cell.source})
    return sealed(moved, key, record.cell.attempt)


def _is_other(cell: Cell, ran: CellResult) -> str | None:
    """Return which part of the key does not match the actual run; None if all match."""
    here = made_with(cell.options.target)
    if here["emulator"] is None:
        # Use the worker's own emulator: this machine has none to compare.
        here["emulator"] = ran.made_with["emulator"]
    for name, value in here.items():
        if ran.made_with[name] != value:
            return name
    weights = weights_sha256(cell.options.weights) if cell.options.weights else None
    is_same = weights is None or ran.record is None or ran.record.weights_sha256 == weights
    return None if is_same else f"{cell.options.weights}"


def _is_cacheable(cell: Cell) -> bool:
    # A board's results depend on its state at the time.
    return not kind_of_spec(cell.options.target).is_board


@lru_cache(maxsize=256)
def _planned_bytes(network: Network, protocol: Any, device: str, engine: str) -> int | None:
    from pibench.plan.environment import of_device  # noqa: PLC0415  (start-up time)
    from pibench.plan.planner import plan  # noqa: PLC0415  (start-up time)

    try:
        environment = of_device(devices.load(device), engine=engine)
        return plan(network, protocol=protocol, environment=environment).peak_rss_bytes
    except InvalidInputError:
        # Some networks run but cannot be planned.
        return None
