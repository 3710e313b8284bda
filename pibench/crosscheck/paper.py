"""The paper's printed table and the explanations of it, from the data files in this folder."""

from __future__ import annotations

import csv
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal, get_args

from pibench import networks
from pibench.errors import InvalidInputError
from pibench.records.identity import ZOO

if TYPE_CHECKING:
    from pibench.records.identity import Run
    from pibench.records.schema import Protocol, Record

Column = Literal["verdict", "ram_mb", "model_size_mb", "latency_ms"]
COLUMNS: Final[tuple[Column, ...]] = get_args(Column)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A printed number, and half a unit of its last printed digit: the rounding error."""

    value: float
    rounding: float

    @classmethod
    def parse(cls, text: str) -> Figure:
        """Parse the printed text: "2.3" stands for 2.25 to 2.35, "30" for 29.5 to 30.5."""
        exponent = Decimal(text).as_tuple().exponent
        return cls(value=float(text), rounding=0.5 * 10.0 ** int(exponent))


@dataclass(frozen=True, kw_only=True)
class PaperEntry:
    """One network of the paper; `row` is its printed number, None for networks that did not run.

    `our_network` is its name in pibench's catalogue, which its records use.
    """

    key: str
    row: int | None
    network: str
    ran: bool
    figures: dict[Column, Figure]
    our_network: str

    def answers_to(self, name: str) -> bool:
        """Return whether a name refers to this network; case and punctuation are ignored."""
        known = {plain(known) for known in (self.key, self.network, self.our_network)}
        return plain(name) in known


@dataclass(frozen=True, kw_only=True)
class ColumnDoc:
    """The meaning of a column; `tolerance` is a fraction of the printed figure."""

    unit: str
    doc: str
    tolerance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The table, and the run that produced its columns."""

    title: str
    device: str
    protocol: Protocol
    batch: int
    entries: tuple[PaperEntry, ...]
    columns: dict[Column, ColumnDoc]
    explanations: dict[tuple[str, Column], str]


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
def load_paper() -> Paper:
    """Load the table of "Deep Neural Networks on Embedded Systems", 26 networks, as printed."""
    folder = resources.files(__package__)
    notes = tomllib.loads((folder / "paper.toml").read_text(encoding="utf-8"))
    table = csv.DictReader((folder / "paper.csv").read_text(encoding="utf-8").splitlines())
    return Paper(
        title=notes["title"],
        device=notes["device"],
        protocol=notes["protocol"],
        batch=notes["batch"],
        entries=tuple(_entry(line) for line in table),
        columns={column: ColumnDoc(**notes["columns"][column]) for column in COLUMNS},
        explanations={
            (key, column): explanation["text"]
            for explanation in notes["explanation"]
            for key in explanation["keys"]
            for column in explanation["columns"]
        },
    )


def _entry(line: dict[str, str]) -> PaperEntry:
    return PaperEntry(
        key=line["key"],
        row=int(line["row"]) if line["row"] else None,
        network=line["network"],
        ran=line["ran"] == "yes",
        figures={
            column: Figure.parse(line[column])
            for column in COLUMNS
            if column != "verdict" and line[column]
        },
        our_network=line["our_network"],
    )
