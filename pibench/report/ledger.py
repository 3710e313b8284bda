"""The ledger as rows of text: one row per network of the paper, with numbered notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pibench.report.numbers import NOTHING, number, signed, signed_mib
from pibench.report.terminal import evidence_in_a_word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pibench.crosscheck.claims import Claim
    from pibench.crosscheck.paper import Column
    from pibench.records.schema import ProvenanceKind, Record
    from pibench.report.content import Report

MARKS: Final = {True: "=", False: "≠", None: "?"}
WORDS: Final = {True: "agrees", False: "differs", None: "not compared"}
DECIMALS: Final[dict[Column, int]] = {"ram_mb": 0, "model_size_mb": 1, "latency_ms": 0}
TITLES: Final[dict[Column, str]] = {
    "verdict": "verdict",
    "ram_mb": "RAM",
    "model_size_mb": "model size",
    "latency_ms": "latency",
}


@dataclass(frozen=True, kw_only=True)
class Note:
    """An explanation, and the cells that it concerns: "DenseNet-121 (RAM, latency)"."""

    number: int
    about: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A printed figure and pibench's as text; `interval` is empty if pibench's has none."""

    claim: Claim
    paper: str
    ours: str
    error: str
    interval: str
    notes: tuple[int, ...]

    @property
    def kind(self) -> ProvenanceKind:
        """The provenance of pibench's figure."""
        return self.claim.provenance.kind

    @property
    def word(self) -> str:
        """Whether it agrees, as a word."""
        return WORDS[self.claim.agrees]

    @property
    def mark(self) -> str:
        """Whether it agrees, as a symbol."""
        return MARKS[self.claim.agrees]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network of the paper; `record` is the source of pibench's figures, if any."""

    key: str
    paper_row: int | None
    name: str
    network: str | None
    record: Record | None
    cells: Mapping[Column, Cell]
    headroom: str
    evidence: str

    @property
    def differs(self) -> bool:
        """Whether any cell differs from the printed figure."""
        return any(cell.claim.agrees is False for cell in self.cells.values())

    @property
    def headroom_kind(self) -> ProvenanceKind:
        """The provenance of the headroom."""
        return self.record.provenance["headroom_bytes"].kind if self.record else "unavailable"


def rows(report: Report) -> list[Row]:
    """Return one row per selected network of the paper, in the paper's order."""
    by_id = {record.record_id: record for record in report.records}
    numbered = {note.text: note.number for note in notes(report)}
    return [
        _row([claim for claim in report.claims if claim.key == key], by_id, numbered)
        for key in dict.fromkeys(claim.key for claim in report.claims)
    ]


def notes(report: Report) -> list[Note]:
    """Return each explanation once, in the order of the ledger."""
    about: dict[str, dict[str, list[str]]] = {}
    for claim in report.claims:
        if claim.explanation:
            cells = about.setdefault(claim.explanation, {})
            cells.setdefault(claim.paper_network, []).append(TITLES[claim.column])
    return [
        Note(
            number=index,
            about=", ".join(f"{name} ({', '.join(titles)})" for name, titles in cells.items()),
            text=text,
        )
        for index, (text, cells) in enumerate(about.items(), start=1)
    ]


def shared_kind(of: Sequence[Row], column: Column) -> ProvenanceKind | None:
    """Return the common provenance of pibench's figures in a column; None if they differ."""
    kinds = {
        row.cells[column].kind
        for row in of
        if column in row.cells and row.cells[column].claim.ours is not None
    }
    return next(iter(kinds)) if len(kinds) == 1 else None


def _row(claims: Sequence[Claim], by_id: Mapping[str, Record], numbered: Mapping[str, int]) -> Row:
    first = claims[0]
    record = by_id.get(first.record_id) if first.record_id else None
    return Row(
        key=first.key,
        paper_row=first.row,
        name=first.paper_network,
        network=first.network,
        record=record,
        cells={claim.column: _cell(claim, numbered) for claim in claims},
        headroom=signed_mib(record.headroom_bytes if record else None),
        evidence=evidence_in_a_word(record) if record else NOTHING,
    )


def _cell(claim: Claim, numbered: Mapping[str, int]) -> Cell:
    interval = ""
    if claim.low is not None and claim.high is not None:
        interval = f"{number(claim.low)} to {number(claim.high)}"
    return Cell(
        claim=claim,
        paper=_printed(claim.paper),
        ours=_ours(claim),
        error=signed(claim.error_pct),
        interval=interval,
        notes=(numbered[claim.explanation],) if claim.explanation else (),
    )


def _printed(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:,g}"


def _ours(claim: Claim) -> str:
    if isinstance(claim.ours, float):
        return number(claim.ours, DECIMALS[claim.column])
    return claim.ours or (NOTHING if claim.column != "verdict" else "missing")
