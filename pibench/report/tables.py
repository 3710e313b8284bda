"""One table model for all outputs, with renderers for the terminal, Markdown and HTML.

Cells are plain text; each renderer escapes it. Figures are written with the characters of
`pibench.report.text`; the terminal shows them in ASCII. Rich omits colours if the output is not a
terminal or NO_COLOR is set, so colour is never the only sign.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from html import escape
from itertools import compress
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Final

from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from pibench.report.text import visible

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from rich.console import ConsoleOptions

WIDE: Final = 120
"""Minimum columns of a terminal for the columns that are marked `wide`."""
MARKS: Final = {True: "=", False: "≠", None: "?"}
ASCII_MARKS: Final = {True: "=", False: "!", None: "?"}
SHORT: Final = {"inconclusive": "inconcl."}
"""Shorter words, for narrow columns."""
STYLES: Final = {True: "green", False: "bold red", None: "yellow"}
_ASCII: Final = str.maketrans({"\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", ",": None})
_WORD: Final = re.compile(r"\S+")
_PART: Final = re.compile(r"[^/_.,:=-]*[/_.,:=-]+|[^/_.,:=-]+")
"""A word of a name or a path, with the mark after it."""
_CLASS: Final = {True: Markup(' class="n"'), False: Markup()}
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]#|~$@]|:(?=/|\w+:)|(?<=www)\.)")
"""Characters that start markup, an automatic link or a mention in Markdown."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column. `file_heading` replaces its heading in files, where line feeds become spaces.

    `wide` columns are in files and wide terminals only, and `file_only` columns in files only.
    """

    heading: str
    file_heading: str = ""
    numeric: bool = False
    fold: bool = False
    wide: bool = False
    file_only: bool = False

    @property
    def title(self) -> str:
        """The heading in a file."""
        return self.file_heading or self.heading.replace("\n", " ").strip()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell that has more than text.

    `agrees` is whether it agrees with another source, if `compared`. `kind` is the provenance of
    a figure. `short` replaces text and kind in a narrow terminal, `long` the text in a wide one.
    `notes` are the numbers of notes, `chip` is the class of a label, `link` the id of a section in
    the page.
    """

    text: str
    short: str = ""
    long: str = ""
    compared: bool = False
    agrees: bool | None = None
    kind: str = ""
    notes: tuple[int, ...] = ()
    chip: str = ""
    link: str = ""

    @property
    def stands_out(self) -> bool:
        """Whether it differs, or is the word for a verdict."""
        return bool(self.chip) or (self.compared and self.agrees is False)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns and rows; a row has a cell for each column. `tight` saves width in a terminal.

    A Rich console prints it as it is.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell | str]]
    tight: bool = False

    @classmethod
    def of(
        cls,
        rows: Iterable[Mapping[str, Cell | str]],
        *,
        numeric: Collection[str] = (),
        fold: Collection[str] = ("Network", "Layer"),
        file_only: Collection[str] = (),
        file_headings: Mapping[str, str] = MappingProxyType({}),
        tight: bool = False,
    ) -> Table:
        """Return the table of rows that have their cells by heading.

        `numeric`, `fold` and `file_only` are the headings of such columns.
        """
        found = [*rows]
        columns = [
            Column(
                heading=heading,
                file_heading=file_headings.get(heading, ""),
                numeric=heading in numeric,
                fold=heading in fold,
                file_only=heading in file_only,
            )
            for heading in (found[0] if found else ())
        ]
        return cls(columns=columns, rows=[[*row.values()] for row in found], tight=tight)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[RichTable]:
        """Yield the table with the columns that fit the terminal."""
        yield to_terminal(self, width=options.max_width)


def without_constant(table: Table, among: Collection[str]) -> tuple[Table, list[tuple[str, str]]]:
    """Return the table without columns that have one text in all rows, and those texts.

    `among` are headings of the columns that may be left out. Of one row, every column stays.
    """
    texts = [
        {cell.text if isinstance(cell, Cell) else cell for cell in column}
        for column in zip(*table.rows, strict=True)
    ]
    alike = [
        len(table.rows) > 1 and column.heading in among and len(of) == 1
        for column, of in zip(table.columns, texts, strict=True)
    ]
    kept = [not one for one in alike]
    shorter = replace(
        table,
        columns=[*compress(table.columns, kept)],
        rows=[[*compress(row, kept)] for row in table.rows],
    )
    found = compress(zip(table.columns, texts, strict=False), alike)
    return shorter, [(column.title, "".join(of)) for column, of in found]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the caller; Rich would exit with 1, which here means a disagreement."""
        raise BrokenPipeError


def console(file: IO[str] | None = None, *, width: int | None = None) -> Console:
    """Return a console for the tables; on standard output if no file is given.

    `width` is in columns; None uses the terminal's, or 80 if there is none.
    """
    # Highlighting would colour every digit, emoji would replace ":names:".
    return _Console(file=file, width=width, highlight=False, emoji=False, markup=False)


def printable(text: str) -> Text:
    """Return plain text without markup, with terminal control characters escaped."""
    return Text(visible(text))


def plain(*headings: str) -> tuple[Column, ...]:
    """Return columns of text with these headings."""
    return tuple(Column(heading=heading) for heading in headings)


def numeric(*headings: str) -> tuple[Column, ...]:
    """Return columns of figures with these headings."""
    return tuple(Column(heading=heading, numeric=True) for heading in headings)


def escape_markdown(text: str) -> str:
    """Escape untrusted text, so that Markdown and HTML show it unchanged."""
    return _SPECIAL.sub(r"\\\1", escape(visible(text), quote=False))


def to_terminal(table: Table, *, width: int) -> RichTable:
    """Return the table for Rich, with the columns that a terminal of this width shows."""
    padding = (0, 0 if table.tight else 1, 0, 0)
    made = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=padding, show_edge=False)
    shown = [
        index
        for index, column in enumerate(table.columns)
        if not column.file_only and (width >= WIDE or not column.wide)
    ]
    for index in shown:
        column = table.columns[index]
        made.add_column(
            column.heading,
            justify="right" if column.numeric else "left",
            no_wrap=not column.fold,
            overflow="fold",
            min_width=14 if column.heading in ("Network", "Layer") else None,
        )
    for row in table.rows:
        cells = [_text(row[i], table.columns[i], wide=width >= WIDE) for i in shown]
        folds = [table.columns[i].fold for i in shown]
        made.add_row(
            *(_Folding(cell) if fold else cell for cell, fold in zip(cells, folds, strict=True))
        )
    return made


class _Folding:
    """A cell that breaks a word too long for its column after a punctuation mark, if it has one."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._text)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[Text]:
        width = options.max_width
        plain = _WORD.sub(lambda word: _folded(word[0], width), self._text.plain)
        yield Text(plain, style=self._text.style, overflow="fold")


def _folded(word: str, width: int) -> str:
    """Return a word, on several lines if it is longer than `width`."""
    if cell_len(word) <= width:
        return word
    lines = [""]
    for part in _PART.findall(word):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _text(cell: Cell | str, column: Column, *, wide: bool) -> Text:
    found = cell if isinstance(cell, Cell) else Cell(text=cell)
    text = visible((found.long if wide else found.short) or found.text)
    if column.numeric or text == "\N{EN DASH}":
        text = text.translate(_ASCII)
    if found.kind and (wide or not found.short):
        text = f"{text} {found.kind}"
    if not found.compared or (column.numeric and found.agrees is not False):
        return Text(text)
    space = "" if column.numeric else " "
    return Text(f"{ASCII_MARKS[found.agrees]}{space}{text}", style=STYLES[found.agrees])


def to_markdown(table: Table) -> list[str]:
    """Return the lines of a Markdown table."""
    heads = [column.title for column in table.columns]
    rules = ["---:" if column.numeric else "---" for column in table.columns]
    rows = [[_markdown(cell) for cell in row] for row in table.rows]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows)]


def _markdown(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return escape_markdown(cell)
    text = escape_markdown(cell.text) + (f" {cell.kind}" if cell.kind else "")
    if cell.compared and (cell.chip or cell.agrees is False):
        text = f"{MARKS[cell.agrees]} {text}"
    if cell.stands_out and not (cell.compared and cell.agrees):
        text = f"**{text}**"
    return text + "".join(f"<sup>{number}</sup>" for number in cell.notes)


def to_html(table: Table) -> Markup:
    """Return an HTML table; the first cell of a row is its heading."""
    heads = Markup().join(
        Markup('<th scope="col"{}>{}</th>').format(_CLASS[column.numeric], column.title)
        for column in table.columns
    )
    rows = Markup("\n").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            _html(row[0]),
            Markup().join(
                Markup("<td{}>{}</td>").format(_CLASS[column.numeric], _html(cell))
                for column, cell in zip(table.columns[1:], row[1:], strict=True)
            ),
        )
        for row in table.rows
    )
    return Markup("<table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}\n</tbody>\n</table>").format(
        heads, rows
    )


def _html(cell: Cell | str) -> Markup:
    found = cell if isinstance(cell, Cell) else Cell(text=cell)
    text = Markup("<bdi>{}</bdi>").format(visible(found.text))
    if found.link:
        text = Markup('<a href="#{}">{}</a>').format(found.link, text)
    if found.chip:
        name = visible(found.text)
        text = Markup('<span class="{0} {0}-{1}">{1}</span>').format(found.chip, name)
    if found.kind:
        text += Markup(' <span class="kind kind-{0}">{0}</span>').format(found.kind)
    return text
