"""Published tables as data: a folder with table.toml (columns, explanations) and data.csv (cells).

A second table is a second folder, in `tables/` or anywhere else (`pibench report --table`).
"""

from __future__ import annotations

import csv
import math
import tomllib
from contextlib import contextmanager, suppress
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError

from pibench import devices, file_io, networks
from pibench.crosscheck import explanations
from pibench.engines.base import Protocol
from pibench.errors import InvalidInputError, first_of
from pibench.records.fields import Frozen
from pibench.records.identity import ZOO
from pibench.setups import Setup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from pibench.networks.network import Network
    from pibench.records.identity import Run
    from pibench.records.schema import Record

DEFAULT: Final = "embedded-dnn"
_HINT: Final = "docs/report.md describes the format of a table"
_FIXED: Final = ("key", "row", "network", "zoo_network")
_OPTIONAL: Final = ("batch", "threads")
UNITS: Final = {
    "bytes": {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6,
              "GB": 10**9},
    "ms": {"ms": 1, "s": 1000},
}  # fmt: skip
"""Units by the suffix of a record's field, each with its size in that suffix."""

ResultField = Literal[
    "verdict", "peak_rss_bytes", "network_rss_bytes", "weights_file_bytes", "latency_ms",
    "memory_required_for_data_bytes",
]  # fmt: skip
Source = Literal["run", "plan", "prediction"]
_SOURCES: Final[dict[ResultField, tuple[Source, ...]]] = {
    "verdict": ("run", "plan"),
    "peak_rss_bytes": ("run", "plan"),
    "network_rss_bytes": ("run", "plan"),
    "weights_file_bytes": ("run",),
    "latency_ms": ("run", "prediction"),
    "memory_required_for_data_bytes": ("plan",),
}
"""Where pibench's figure for a column may come from."""


_EMPTY_IS_NONE: Final = BeforeValidator(lambda text: text or None)


class Figure(Frozen):
    """A printed number, and half a unit of its last printed digit: the rounding error."""

    value: Annotated[float, Field(gt=0)]
    rounding: float

    @classmethod
    def parse(cls, text: str) -> Figure:
        """Parse the printed text: "2.3" stands for 2.25 to 2.35, "30" for 29.5 to 30.5."""
        try:
            exponent = Decimal(text).as_tuple().exponent
        except InvalidOperation:
            raise ValueError(f"{text!r} is not a number") from None
        if not isinstance(exponent, int) or not math.isfinite(float(text)):
            raise ValueError(f"{text!r} is not finite")
        return cls(value=float(text), rounding=0.5 * float(f"1e{exponent}"))


class PaperEntry(Frozen):
    """One network of the table; `row` is its printed number, None for networks without one.

    `zoo_network` is its name in pibench's catalogue, which its records use, or a prototxt file in
    the table's folder: then `path` is the file. `batch` and `threads` differ from the table's if
    they are given.
    """

    key: Annotated[str, Field(min_length=1)]
    row: Annotated[int | None, _EMPTY_IS_NONE] = None
    network: Annotated[str, Field(min_length=1)]
    zoo_network: str
    path: str | None = None
    batch: Annotated[int | None, Field(ge=1), _EMPTY_IS_NONE] = None
    threads: Annotated[int | None, Field(ge=1), _EMPTY_IS_NONE] = None
    verdict: Literal["fit", "no-fit"] | None = None
    figures: dict[str, Figure]

    @property
    def label(self) -> str:
        """The printed name, with what distinguishes the entry from others of the network."""
        own = [self.network]
        own += [f"batch {self.batch}"] * bool(self.batch)
        own += [f"{self.threads} thread{'s' * (self.threads > 1)}"] if self.threads else []
        return ", ".join(own)

    def answers_to(self, name: str) -> bool:
        """Return whether a name refers to this network; case and punctuation are ignored."""
        known = {plain(known) for known in (self.key, self.network, self.zoo_network)}
        return plain(name) in known


class Column(Frozen):
    """A column: the field of a record that it prints, and how it is compared.

    `compared_with` is where pibench's figure comes from: a run's record, a plan or a prediction.
    `tolerance` is a fraction of the printed figure, for verdicts the share of the cells that may
    not agree; `decimals` are those of pibench's figure.
    """

    title: str
    field: ResultField
    compared_with: Source = "run"
    unit: str = ""
    decimals: Annotated[int, Field(ge=0, le=9)] = 0
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.0
    doc: str = ""

    def model_post_init(self, _: Any) -> None:
        """Reject a unit that the field cannot have, and figures that pibench does not have."""
        if self.compared_with not in _SOURCES[self.field]:
            raise ValueError(
                f"{self.field} is compared with a {' or '.join(_SOURCES[self.field])}, not with "
                f"a {self.compared_with}"
            )
        known = UNITS.get(self.field.rpartition("_")[2], {"": 1})
        if self.unit not in known:
            raise ValueError(f"unit {self.unit!r} of {self.field} is none of {', '.join(known)}")

    @property
    def unit_size(self) -> int:
        """The size of `unit` in the unit of the record's field."""
        return UNITS.get(self.field.rpartition("_")[2], {"": 1})[self.unit]


class Explanation(Frozen):
    """Why cells differ, for entries by their keys. `pibench.crosscheck.explanations` fills it in.

    `variants` are endings of names of the zoo: `floor = "-floor"` of `DenseNet-121` is the network
    `DenseNet-121-floor`.
    """

    keys: tuple[str, ...]
    columns: tuple[str, ...]
    text: str | tuple[str, ...]
    variants: Annotated[dict[str, str], Field(default_factory=dict)]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The text in parts: each is shown if its figures are known."""
        return (self.text,) if isinstance(self.text, str) else self.text


class Paper(Frozen):
    """A published table, and the run that produced its columns.

    `unstated` lists what the table leaves unsaid, `reserve_mib` is the memory of the device that
    other programs took. `stack` is the software that its times are predicted for, with an input of
    `data`. `inferred_setup` is the set-up that its RAM column points to, if there is such an
    inference.
    """

    title: str
    stack: str = "openblas-a53"
    data: Literal["zeros", "images"] = "zeros"
    citation: str = ""
    unstated: tuple[str, ...] = ()
    reserve_mib: Annotated[float, Field(ge=0)] = 0.0
    inferred_setup: Setup | None = None
    device: str
    protocol: Protocol
    batch: Annotated[int, Field(ge=1)]
    columns: Annotated[dict[str, Column], Field(min_length=1)]
    explanation: tuple[Explanation, ...] = ()
    entries: tuple[PaperEntry, ...] = ()

    @property
    def needs_runs(self) -> bool:
        """Whether any column is compared with runs."""
        return any(one.compared_with == "run" for one in self.columns.values())

    def prints(self, entry: PaperEntry, name: str) -> bool:
        """Return whether the table has a cell for this network in this column."""
        return name in entry.figures or bool(
            self.columns[name].field == "verdict" and entry.verdict
        )

    def batch_of(self, entry: PaperEntry) -> int:
        """Return the batch size of an entry."""
        return entry.batch or self.batch

    def network_of(self, entry: PaperEntry) -> Network:
        """Return the network of an entry, for its batch. Raises InvalidInputError."""
        return _loaded(entry.path or entry.zoo_network).with_batch(self.batch_of(entry))

    def column_of(self, field: ResultField) -> str | None:
        """Return the name of the column that prints a record's field, if there is one."""
        return next((name for name, one in self.columns.items() if one.field == field), None)


@cache
def _loaded(spec: str) -> Network:
    """Return a network as its file has it: a table may have it in many batches."""
    return networks.load(spec)


def plain(name: str) -> str:
    """Remove case and punctuation from a network's name, so that different spellings match."""
    return "".join(character for character in name.casefold() if character.isalnum())


def is_of_the_zoo(run: Run | Record) -> bool:
    """Return whether a run is of the zoo's network, by name or as an identical copy in a file.

    A user's file may define another network called AlexNet.
    """
    if run.network_source == ZOO:
        return True
    return run.network_sha256 == _sha256_in_the_zoo(run.network, run.batch)


@cache
def _sha256_in_the_zoo(name: str, batch: int) -> str:
    with suppress(InvalidInputError):
        return networks.load(networks.find(name).name, batch=batch).sha256
    return ""


@cache
def load_paper(table: str = DEFAULT) -> Paper:
    """Load a table: one of pibench's by its id, or the folder of another one.

    Raises:
        InvalidInputError: if there is no such table, or its files are not valid.
    """
    if table in table_ids():
        return _read(_tables() / table)
    if not Path(table).is_dir():
        raise InvalidInputError(
            f"there is no table {table}", hint=f"give a folder, or one of {', '.join(table_ids())}"
        )
    return _read(Path(table))


def table_ids() -> list[str]:
    """Return the ids of pibench's tables, the default first."""
    return sorted(
        (one.name for one in _tables().iterdir()), key=lambda name: (name != DEFAULT, name)
    )


def _tables() -> Traversable:
    return resources.files(__package__) / "tables"


def _read(folder: Traversable) -> Paper:
    notes, lines = folder / "table.toml", folder / "data.csv"
    place: str | None = None
    file = notes
    try:
        data = tomllib.loads(_text(notes))
        paper = Paper.model_validate(data | {"entries": ()})
        with _as_value_errors():
            _check(paper)
        explanations.check(paper)
        file = lines
        entries = []
        for number, line in enumerate(csv.DictReader(_text(lines).splitlines()), start=2):
            place = f"line {number}"
            with _as_value_errors():
                entries.append(_entry(line, paper, folder))
    except ValidationError as error:
        raise InvalidInputError.at(str(file), place, first_of(error), hint=_HINT) from error
    except ValueError as error:
        raise InvalidInputError.at(str(file), place, str(error), hint=_HINT) from error
    if not entries or len({entry.key for entry in entries}) < len(entries):
        problem = "has a key twice" if entries else "has no network"
        raise InvalidInputError.at(str(lines), None, problem, hint=_HINT)
    return paper.model_copy(update={"entries": tuple(entries)})


@contextmanager
def _as_value_errors() -> Iterator[None]:
    """Let errors that do not know the table's file be those of a value in it."""
    try:
        yield
    except InvalidInputError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise ValueError(error.message + hint) from error


def _check(paper: Paper) -> None:
    """Raise InvalidInputError for a device, a reserve or a stack that there is not."""
    device = devices.load(paper.device).with_reserve(paper.reserve_mib)
    if any(column.compared_with == "prediction" for column in paper.columns.values()):
        from pibench.latency import stacks  # noqa: PLC0415  (start-up time)
        from pibench.latency.analytic import Configuration  # noqa: PLC0415  (start-up time)
        from pibench.latency.model import UNKNOWN  # noqa: PLC0415  (start-up time)

        names = stacks.of_cpu(device.cpu) if paper.stack in (UNKNOWN, "paper") else (paper.stack,)
        stack = stacks.load(names[0])
        _ = Configuration(stack=stack, device=device, threads=1, data=paper.data).memory


def _text(file: Traversable) -> str:
    content = file_io.read_input(file, hint=_HINT) if isinstance(file, Path) else file.read_bytes()
    return content.decode()


def _entry(line: dict[str | None, Any], paper: Paper, folder: Traversable) -> PaperEntry:
    columns = paper.columns
    surplus = {*line} - {*_FIXED, *_OPTIONAL, *columns}
    missing = {*_FIXED, *columns} - {name for name, text in line.items() if text is not None}
    if surplus or missing:
        names = ", ".join(sorted(str(name or "a cell without a heading") for name in surplus))
        raise ValueError(f"unknown: {names}" if surplus else f"lacks {', '.join(sorted(missing))}")
    printed = {name: line[name] for name in columns if line[name]}
    file = folder / line["zoo_network"]
    is_file = line["zoo_network"].endswith(".prototxt")
    if is_file and not file.is_file():
        raise ValueError(f"there is no file {line['zoo_network']} in the table's folder")
    if not is_file and not paper.needs_runs:
        networks.find(line["zoo_network"])
    verdicts = {name for name, column in columns.items() if column.field == "verdict"}
    entry = PaperEntry(
        **{name: line[name] for name in (*_FIXED, *_OPTIONAL) if name in line},
        path=str(file) if is_file else None,
        verdict=next((text for name, text in printed.items() if name in verdicts), None),
        figures={n: Figure.parse(text) for n, text in printed.items() if n not in verdicts},
    )
    cores = devices.load(paper.device).cores
    if (entry.threads or 1) > cores:
        raise ValueError(f"{entry.threads} threads, but {paper.device} has {cores} cores")
    return entry
