"""The ledger for every output: a row per network of the paper, totals, and numbered notes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from statistics import fmean
from typing import TYPE_CHECKING, Final

from pibench.crosscheck.claims import summary
from pibench.crosscheck.paper import load_paper
from pibench.report import tables
from pibench.report.runs import engine, evidence_in_a_word, how_it_ran, stack
from pibench.report.tables import ASCII_MARKS, MARKS, SHORT, Cell, Column, Table, printable
from pibench.report.text import MIB, NOTHING, number, preset, sentence, signed, signed_mib
from pibench.setups import parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from pibench.crosscheck.claims import Claim
    from pibench.crosscheck.estimated import RamBySetup
    from pibench.crosscheck.paper import Paper
    from pibench.records.schema import ProvenanceKind, Record

WORDS: Final = {True: "agrees", False: "differs", None: "not compared"}
_IN_80_COLUMNS: Final = 2
"""Columns of figures that a narrow terminal has room for, and errors of the first of them."""
_LEGEND: Final = (
    "\n= agrees, ! differs, ? undecided or missing. Head is the headroom: usable memory less"
    " the peak RSS, for a killed process the peak of the amd64 twin. RAM is headed MB in the"
    " paper and agrees in MiB (2^20 bytes); model size is in MB (10^6 bytes)."
)


@dataclass(frozen=True, kw_only=True)
class Note:
    """An explanation, and the cells that it concerns: "DenseNet-121 (RAM, latency)"."""

    number: int
    about: str
    text: str


@dataclass(frozen=True, kw_only=True)
class LedgerCell:
    """A printed figure and pibench's as text; `interval` is empty if pibench's has none."""

    claim: Claim
    paper: str
    pibench: str
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
    record: Record | None
    cells: Mapping[str, LedgerCell]
    headroom: str
    headroom_kind: ProvenanceKind
    evidence: str
    engine: str
    stack: str

    @property
    def verdict(self) -> LedgerCell | None:
        """The cell of the verdict, if the table prints one."""
        return next((one for one in self.cells.values() if one.claim.field == "verdict"), None)

    @property
    def differs(self) -> bool:
        """Whether any cell differs from the printed figure."""
        return any(cell.claim.agrees is False for cell in self.cells.values())

    @property
    def notes(self) -> tuple[int, ...]:
        """The numbers of the notes on any of its cells."""
        return tuple(sorted({number for cell in self.cells.values() for number in cell.notes}))


def rows(claims: Sequence[Claim], records: Sequence[Record], paper: Paper) -> list[Row]:
    """Return one row per selected network of the paper, in the paper's order."""
    by_id = {record.record_id: record for record in records}
    numbered = {note.text: note.number for note in notes(claims, paper)}
    by_key: dict[str, list[Claim]] = {}
    for claim in claims:
        by_key.setdefault(claim.key, []).append(claim)
    return [_row(of_network, by_id, numbered, paper) for of_network in by_key.values()]


def notes(claims: Sequence[Claim], paper: Paper) -> list[Note]:
    """Return each explanation once, in the order of the ledger."""
    about: dict[str, dict[str, list[str]]] = {}
    for claim in claims:
        if claim.explanation:
            cells = about.setdefault(claim.explanation, {})
            title = paper.columns[claim.column].title
            cells.setdefault(claim.paper_network, []).append(title)
    return [
        Note(
            number=index,
            about=", ".join(f"{name} ({', '.join(titles)})" for name, titles in cells.items()),
            text=text,
        )
        for index, (text, cells) in enumerate(about.items(), start=1)
    ]


def table(ledger: Sequence[Row], paper: Paper) -> Table:
    """Return the ledger as a table: printed and pibench's figures side by side, and the errors."""
    figures = [(n, one) for n, one in paper.columns.items() if one.field != "verdict"]
    has_verdicts = len(figures) < len(paper.columns)
    columns = [Column(heading="#", numeric=True), Column(heading="Network", fold=True)]
    if has_verdicts:
        columns += [Column(heading="Paper"), Column(heading="pibench", fold=True)]
    narrow = 0
    for _, one in figures:
        timed = one.field == "latency_ms"
        narrow += not timed
        columns += [
            Column(
                heading=f"{short_title(one.title)} {one.unit}\npaper/run",
                numeric=True, wide=narrow > _IN_80_COLUMNS, file_only=timed,
            ),
            Column(heading="Err\n%", numeric=True, file_only=timed or narrow > 1),
        ]  # fmt: skip
    columns += [
        Column(heading="Head\nMiB", file_heading="Headroom MiB", numeric=True),
        Column(heading="Evidence", fold=True),
        Column(heading="Engine", file_only=True),
        Column(heading="Stack", file_only=True),
    ]
    return Table(
        tight=True,
        columns=columns,
        rows=[
            _table_row(row, [n for n, _ in figures], has_verdicts=has_verdicts) for row in ledger
        ],
    )


def latency_table(ledger: Sequence[Row], paper: Paper) -> Table | None:
    """Return the latencies with their intervals; None if no row has one of pibench."""
    name = paper.column_of("latency_ms") or ""
    cells = [(row, row.cells[name]) for row in ledger if name in row.cells]
    timed = [(row, cell) for row, cell in cells if cell.claim.pibench is not None]
    if not timed:
        return None
    column = paper.columns[name]
    printed = f"{column.title.capitalize()} {column.unit}\npaper"
    return Table.of(
        (
            {
                "#": str(row.paper_row or NOTHING),
                "Network": row.name,
                printed: cell.paper,
                "\npibench": cell.pibench,
                "\nlow": number(cell.claim.low, column.decimals),
                "\nhigh": number(cell.claim.high, column.decimals),
                "Err\n%": cell.error,
                "pibench's is": cell.kind,
            }
            for row, cell in timed
        ),
        numeric=("#", printed, "\npibench", "\nlow", "\nhigh", "Err\n%"),
    )


def totals(claims: Sequence[Claim], paper: Paper) -> list[str]:
    """Return the ledger's totals as sentences, and each verdict that does not agree."""
    lines = []
    for name, total in summary(claims).items():
        column = paper.columns[name]
        title = sentence(column.title)
        if column.field == "verdict":
            lines.append(f"Verdicts: {total.agreed} of {total.total} agree with the paper.")
            lines += [
                f"  {MARKS[one.agrees]} {one.paper_network}: {one.pibench or 'missing'}, "
                f"{one.provenance.reason}"
                for one in claims
                if one.column == name and not one.agrees
            ]
        elif total.mean_absolute_error_pct is None:
            if column.compared_with == "prediction":
                (reason, *_) = (one.provenance.reason for one in claims if one.column == name)
                lines.append(f"{title}: not compared, {reason}.")
            elif column.field == "latency_ms":
                of_column = [one for one in claims if one.column == name]
                why = "an emulated time is never a Pi time"
                if any(one.provenance.kind == "predicted" for one in of_column):
                    why = "each prediction rests on the printed time of its network"
                lines.append(f"{title}: not compared, {why}.")
        elif column.field == "weights_file_bytes":
            differing = ", ".join(total.differing)
            lines.append(
                f"{title}: {total.agreed} of {total.compared} agree"
                + (f"; {MARKS[False]} differ: {differing}." if differing else ".")
            )
        else:
            exact = f", {total.agreed} agree" if column.compared_with != "run" else ""
            lines.append(
                f"{title}{_if_predicted(claims, name)}: mean absolute error "
                f"{total.mean_absolute_error_pct:.1f} % over "
                f"{total.compared} of {total.total} rows, worst {total.worst_network} "
                f"({total.worst_error_pct:+.1f} %){exact}."
            )
    return lines


def print_reproduction(
    claims: Sequence[Claim], records: Sequence[Record], *, to: Console | None = None
) -> None:
    """Print the paper's table beside pibench's figures, the totals, their provenance, and notes."""
    to, paper = to or tables.console(), load_paper()
    found = rows(claims, records, paper)
    to.print(table(found, paper))
    latencies = latency_table(found, paper)
    if latencies:
        to.print(latencies)
    used = {claim.record_id for claim in claims}
    ways = how_it_ran(record for record in records if record.record_id in used)
    for line in [*totals(claims, paper), "", *ways]:
        to.print(printable(line.replace(MARKS[False], ASCII_MARKS[False])))
    _print_notes(claims, paper, to)
    to.print(_LEGEND)


def _print_notes(claims: Sequence[Claim], paper: Paper, to: Console) -> None:
    explained = notes(claims, paper)
    if explained:
        to.print("\nNotes")
    for note in explained:
        to.print(printable(f"* {note.about}: {note.text}"))


def print_estimates(claims: Sequence[Claim], paper: Paper, *, to: Console | None = None) -> None:
    """Print a table beside figures of pibench that no run made, the totals, sources and notes."""
    to = to or tables.console()
    found = rows(claims, [], paper)
    columns = [
        Column(heading="Network", fold=True),
        *tables.numeric("Printed", "pibench", "Low", "High", "Err\n%"),
        Column(heading=""),
    ]
    for name, column in paper.columns.items():
        cells = [(row, row.cells[name]) for row in found if name in row.cells]
        used = [True] * 3 + [any(cell.interval for _, cell in cells)] * 2 + [True, True]
        if column.field == "verdict":
            used[3:6] = [False] * 3
        lines = [
            [
                row.name, cell.paper, cell.pibench,
                number(cell.claim.low, column.decimals), number(cell.claim.high, column.decimals),
                cell.error, WORDS[cell.claim.agrees],
            ]
            for row, cell in cells
        ]  # fmt: skip
        to.print(printable(f"{sentence(column.title)} {column.unit}: {kinds(cells)}"))
        to.print(
            Table(
                columns=[one for one, shown in zip(columns, used, strict=True) if shown],
                rows=[[*compress(line, used)] for line in lines],
            )
        )
    for line in totals(claims, paper):
        to.print(printable(line.replace(MARKS[False], ASCII_MARKS[False])))
    if paper.reserve_mib:
        reserve = f"{paper.reserve_mib:g} MiB{preset(round(paper.reserve_mib * MIB))}"
        to.print(f"Reserve for other programs on the board: {reserve}.")
    to.print()
    to.print(printable(f"Source: {paper.citation or paper.title}."))
    if paper.unstated:
        to.print("\nNot stated there")
    for text in paper.unstated:
        to.print(printable(f"* {text}"))
    _print_notes(claims, paper, to)


def print_ram_by_setup(found: Sequence[RamBySetup], *, to: Console | None = None) -> None:
    """Print the RAM column as planned for each set-up, the errors, and the evidence."""
    if not found:
        return
    to = to or tables.console()
    setups = [*found[0].planned]
    to.print("\nRAM MiB by set-up: planned, nothing was run")
    to.print(
        Table(
            columns=[
                Column(heading="Network", fold=True),
                *tables.numeric("\nPaper"),
                *tables.numeric(*(h for one in setups for h in (f"\n{one}", "Err\n%"))),
            ],
            rows=[
                [
                    one.network,
                    number(one.printed),
                    *(
                        text
                        for setup in setups
                        for text in (number(one.planned[setup], 1), signed(one.error_pct(setup)))
                    ),
                ]
                for one in found
            ],
        )
    )
    for setup in setups:
        errors = {one.network: one.error_pct(setup) for one in found}
        worst = max(errors, key=lambda network: abs(errors[network]))
        to.print(
            printable(
                f"{setup}, {parameters(setup).title}: mean absolute error "
                f"{fmean(map(abs, errors.values())):.2f} %, worst {worst} ({errors[worst]:+.1f} %)."
            )
        )
        for text in parameters(setup).evidence:
            to.print(printable(f"* {text}"))


def kinds(cells: Sequence[tuple[Row, LedgerCell]]) -> str:
    """Return the provenance of pibench's figures."""
    return " and ".join(sorted({cell.kind for _, cell in cells if cell.claim.pibench is not None}))


def shared_kind(of: Sequence[Row], column: str) -> ProvenanceKind | None:
    """Return the common provenance of pibench's figures in a column; None if they differ."""
    kinds = {
        row.cells[column].kind
        for row in of
        if column in row.cells and row.cells[column].claim.pibench is not None
    }
    return next(iter(kinds)) if len(kinds) == 1 else None


def shared_headroom_kind(of: Sequence[Row]) -> ProvenanceKind | None:
    """Return the common provenance of all headrooms; None if they differ or there is none."""
    kinds = {row.headroom_kind for row in of if row.headroom != NOTHING}
    return next(iter(kinds)) if len(kinds) == 1 else None


def _if_predicted(claims: Sequence[Claim], name: str) -> str:
    compared = [one for one in claims if one.column == name and one.error_pct is not None]
    return ", predicted" if {one.provenance.kind for one in compared} == {"predicted"} else ""


def short_title(title: str) -> str:
    """Return the last word of a column's title, for its heading: "model size" -> "Size"."""
    return sentence(title.rsplit(maxsplit=1)[-1])


def _row(
    claims: Sequence[Claim], by_id: Mapping[str, Record], numbered: Mapping[str, int], paper: Paper
) -> Row:
    first = claims[0]
    record = by_id.get(first.record_id) if first.record_id else None
    return Row(
        key=first.key,
        paper_row=first.row,
        name=first.paper_network,
        record=record,
        cells={
            claim.column: _cell(claim, numbered, paper.columns[claim.column].decimals)
            for claim in claims
        },
        headroom=signed_mib(record.headroom_bytes if record else None),
        headroom_kind=record.provenance["headroom_bytes"].kind if record else "unavailable",
        evidence=evidence_in_a_word(record) if record else NOTHING,
        engine=engine(record) if record else NOTHING,
        stack=stack(record) if record else NOTHING,
    )


def _cell(claim: Claim, numbered: Mapping[str, int], decimals: int) -> LedgerCell:
    interval = ""
    if claim.low is not None and claim.high is not None:
        interval = f"{number(claim.low, decimals)} to {number(claim.high, decimals)}"
    if isinstance(claim.pibench, float):
        pibench = number(claim.pibench, decimals)
    else:
        pibench = claim.pibench or ("missing" if claim.field == "verdict" else NOTHING)
    return LedgerCell(
        claim=claim,
        paper=claim.paper if isinstance(claim.paper, str) else f"{claim.paper:,.12g}",
        pibench=pibench,
        error=signed(claim.error_pct),
        interval=interval,
        notes=(numbered[claim.explanation],) if claim.explanation else (),
    )


def _table_row(row: Row, figures: Sequence[str], *, has_verdicts: bool) -> list[Cell | str]:
    cells: list[Cell | str] = [str(row.paper_row or NOTHING), Cell(text=row.name, notes=row.notes)]
    if has_verdicts:
        verdict = row.verdict
        cells += [verdict.paper, _verdict(verdict)] if verdict else [NOTHING, NOTHING]
    for name in figures:
        cell = row.cells.get(name)
        if cell is None:
            cells += [NOTHING, NOTHING]
            continue
        cells += [
            Cell(
                text=f"{cell.paper}/{cell.pibench}", compared=True, agrees=cell.claim.agrees,
                kind="predicted" if cell.kind == "predicted" else "",
            ),
            cell.error,
        ]  # fmt: skip
    known_from_twin = row.headroom_kind == "twin" and row.headroom != NOTHING
    return [
        *cells,
        Cell(text=row.headroom, short=row.headroom, kind="twin" if known_from_twin else ""),
        Cell(text=row.evidence, long=row.record.evidence.summary if row.record else ""),
        row.engine,
        row.stack,
    ]


def _verdict(cell: LedgerCell) -> Cell:
    return Cell(
        text=cell.pibench, short=SHORT.get(cell.pibench, ""), chip="verdict",
        compared=True, agrees=cell.claim.agrees,
    )  # fmt: skip
