"""Read the sides of a comparison: records, plans, predictions, a baseline, the paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from pibench import file_io
from pibench.crosscheck.paper import DEFAULT, load_paper
from pibench.crosscheck.sides import BASELINE_MARK, Entry, Side, entry_of, parse_baseline
from pibench.errors import InvalidInputError
from pibench.records.identity import latest
from pibench.records.schema import LayerTime, Provenance
from pibench.records.store import first_of, parse, record_from

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pibench.crosscheck.paper import Paper, PaperEntry, ResultField
    from pibench.crosscheck.sides import Origin
    from pibench.records.schema import Record

PAPER: Final = "paper"
_HEAD_BYTES: Final = 1000
_HINT: Final = "give records (JSON lines), or what plan, predict or run print with --json"
_RECORDS_HINT: Final = "give records: what run wrote with --out, or printed with --json"
_BASELINE: Final = re.compile(rf'\s*\{{\s*"{BASELINE_MARK}"'.encode())


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
    content = file_io.read_input(path, hint=_HINT)
    if _is_array(content):
        return _array(path, name, content)
    if _BASELINE.match(content):
        return parse_baseline(content, path, name)
    records = parse(content, path)
    _refuse_nothing(path, records)
    return Side.of(name, "records", map(entry_of, latest(records)))


def read_records(path: Path) -> list[Record]:
    """Read the records of a file: JSON lines, or the array that `run --json` prints.

    Raises:
        InvalidInputError: as `records.store.read`, and for a plan, a prediction or a baseline,
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
    if "schema_version" in item:
        return record_from(item, path, place)
    known = {"peak_at": "a plan, and nothing was run", "pressure_ms": "a prediction"}
    what = next((text for key, text in known.items() if key in item), None)
    hint = "pibench reconcile compares it with records" if what else _RECORDS_HINT
    raise InvalidInputError.at(path, place, f"is {what or 'not a record'}", hint=hint)


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
    return Provenance(kind="unavailable", reason=f"the paper prints no {what} of it")


def _name(source: str) -> str:
    return source if source == PAPER else Path(source).stem


def _refuse_nothing(path: Path, found: Sequence[object]) -> None:
    if not found:
        raise InvalidInputError.at(path, None, "has nothing to compare", hint=_HINT)


def _is_array(content: bytes) -> bool:
    return content[:_HEAD_BYTES].lstrip().startswith(b"[")


def _items(path: Path, content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of an array, each with its place in the file."""
    items = file_io.json_of(content, path, None, hint=_HINT)
    _refuse_nothing(path, items)
    for number, item in enumerate(items, start=1):
        place = f"item {number}"
        if not isinstance(item, dict):
            raise InvalidInputError.at(path, place, "is not an object", hint=_HINT)
        yield place, item


def _array(path: Path, name: str, content: bytes) -> Side:
    """Read the array that `run`, `plan` or `predict` prints with --json."""
    entries = []
    for place, item in _items(path, content):
        try:
            entries.append(_entry(path, place, item))
        except ValidationError as error:
            raise InvalidInputError.at(
                path, place, f"is not valid: {first_of(error)}", hint=_HINT
            ) from error
        except (KeyError, TypeError) as error:
            problem = f"is not valid ({type(error).__name__}: {error})"
            raise InvalidInputError.at(path, place, problem, hint=_HINT) from error
    kinds = {entry.kind for entry in entries}
    origins: dict[str, Origin] = {"planned": "plan", "predicted": "predictions"}
    origin = origins.get(kinds.pop(), "records") if len(kinds) == 1 else "records"
    return Side.of(name, origin, entries)


def _entry(path: Path, place: str, item: dict[str, Any]) -> Entry:
    if "schema_version" in item:
        return entry_of(record_from(item, path, place))
    if "peak_at" in item:
        return _planned(item)
    if "pressure_ms" in item:
        return _predicted(item)
    raise InvalidInputError.at(path, place, "is not a record, plan or prediction", hint=_HINT)


def _planned(item: dict[str, Any]) -> Entry:
    """Read one network of `plan --json`."""
    nothing = Provenance(kind="unavailable", reason="a plan runs nothing")
    environment = item.get("environment", {})
    # A plan for the twin has the host's threads, one for the board its own.
    of_board = environment.get("architecture") == "arm64"
    return Entry(
        **_run_of(item),
        batch=item["batch"],
        threads=environment.get("threads") if of_board else None,
        source="planned",
        kind="planned",
        verdict=item["verdict"],
        ram_bytes=item["network_rss_bytes"],
        ram=Provenance.model_validate(item["provenance"]["network_rss_bytes"]),
        headroom_bytes=item["headroom_bytes"],
        latency=nothing,
        values=nothing,
    )


def _run_of(item: dict[str, Any]) -> dict[str, Any]:
    needed, optional = ("network", "protocol", "device"), ("network_sha256", "network_source")
    return {name: item[name] for name in needed} | {name: item.get(name) for name in optional}


def _predicted(item: dict[str, Any]) -> Entry:
    """Read one network of `predict --json`."""
    nothing = Provenance(kind="unavailable", reason="a prediction is of the time alone")
    return Entry(
        **_run_of(item),
        batch=item.get("batch", 1),
        source="predicted",
        kind="predicted",
        ram=nothing,
        headroom_bytes=item["headroom_bytes"],
        latency_ms=item["latency_ms"],
        latency=Provenance.model_validate(item["provenance"]),
        clock=f"board {item['device']}",
        layers=tuple(
            LayerTime(name=one["name"], type=one["type"], forward_ms=one["latency_ms"])
            for one in item["layers"]
        ),
        values=nothing,
    )
