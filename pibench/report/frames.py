"""Flatten records into rows: lines of CSV, or rows of a DataFrame (`pibench.load`)."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from pibench.errors import InvalidInputError, extra
from pibench.records.identity import labels_of
from pibench.records.schema import UNITS, Record
from pibench.report.sources import read_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

Rows = Literal["records", "layers", "samples"]

_LISTS: Final = ("layers", "samples", "outputs", "signatures")
"""Fields with many values per record: the first two have their own row types."""
_KEYS: Final = (
    "record_id", "network", "device", "target", "machine", "protocol", "compute", "batch",
    "input_size",
)  # fmt: skip
_FORMULA: Final = tuple("=+-@\t\r")
"""Initial characters that make a spreadsheet treat a cell as a formula."""


def flat(record: Record) -> dict[str, Any]:
    """Return a record with dotted names ("evidence.exit_status"), and counts in place of lists.

    Sizes are in bytes; the fields' names give the units of times. The provenance of a result is
    "provenance.peak_rss_bytes.kind" and ".reason".
    """
    data = record.model_dump(mode="json")
    for name in _LISTS:
        data[f"{name}_count"] = len(data.pop(name, ()))
    unavailable = data["environment"]["guest"].pop("unavailable", {})
    row = dict(_flattened(data))
    for figure, reason in sorted(unavailable.items()):
        row[f"environment.guest.unavailable.{figure}"] = reason
    return row


def rows_of(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return a row per record: `flat`, and `run`, a name that is unique to its run."""
    names = labels_of(records)
    return [flat(record) | {"run": names[record.record_id]} for record in records]


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one line per row; lists of text are joined by " | ".

    Text that a spreadsheet would treat as a formula gets an apostrophe in front: names are not
    trusted. Numbers are unchanged.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def load(*paths: Path | str, rows: Rows = "records") -> pd.DataFrame:
    """Read record files into a DataFrame: the latest record of each run, older versions upgraded.

    Args:
        paths: the record files.
        rows: what a row is: a record (`flat`), a layer's time or a timed sample. Rows of the last
            two also have the columns that distinguish the records.

    Returns:
        A DataFrame. The column `run` is the shortest name that no other run has. Units are in the
        columns' names and in `attrs["units"]`, the number of superseded records is in
        `attrs["superseded"]`. Integers that may be missing are Int64, `created` is a UTC timestamp.

    Raises:
        InvalidInputError: with the file's name.
    """
    if not paths:
        raise InvalidInputError(
            "no file of records was given", hint='pibench.load("records.jsonl")'
        )
    if rows not in get_args(Rows):
        raise InvalidInputError(
            f"rows {rows!r} is none of {', '.join(get_args(Rows))}", hint='rows="records"'
        )
    from pathlib import Path  # noqa: PLC0415  (start-up time)

    merged = read_all([Path(path) for path in paths])
    found = _rows(merged.records, rows)
    frame = _frame(found)
    prefix = "" if rows == "records" else f"{rows}."
    frame.attrs["units"] = {
        name: UNITS[prefix + name] for name in frame.columns if prefix + name in UNITS
    }
    frame.attrs["superseded"] = merged.superseded
    return frame


def _rows(records: Sequence[Record], rows: Rows) -> list[dict[str, Any]]:
    if rows == "records":
        return rows_of(records)
    names = labels_of(records)
    found = []
    for record in records:
        key = {"run": names[record.record_id]} | {name: getattr(record, name) for name in _KEYS}
        kind = record.provenance["latency_ms" if rows == "samples" else "layers"].kind
        for index, one in enumerate(getattr(record, rows)):
            found.append({**key, "provenance": kind, "index": index, **one.model_dump(mode="json")})
    return found


def _frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    with extra("report"):
        import pandas as pd  # noqa: PLC0415  (start-up time)

    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, Any] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        present = {type(value) for value in values if value is not None}
        if name == "created":
            columns[name] = pd.to_datetime(values, utc=True, format="ISO8601")
        elif present == {int}:
            # With a missing value pandas would convert them to floats, and bytes would lose digits.
            columns[name] = pd.array(values, dtype="Int64")
        else:
            columns[name] = values
    return pd.DataFrame(columns)


def _flattened(data: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = " | ".join(map(str, value))
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
