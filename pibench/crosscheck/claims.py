"""A published table as a ledger of claims: each printed cell, pibench's value, their agreement.

The table's file defines the columns, their fields and tolerances. pibench's figures are compared
only if they are of the same kind: RAM from a run that completed, latency measured on a board or
predicted for one, without using the network's printed time.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, Final

from pibench.crosscheck.estimated import estimates
from pibench.crosscheck.explanations import explained
from pibench.crosscheck.paper import (
    Column,
    Figure,
    Paper,
    PaperEntry,
    is_of_the_zoo,
    load_paper,
    plain,
)
from pibench.devices import MIB
from pibench.errors import ExitCode, InvalidInputError
from pibench.file_io import write_whole
from pibench.records.identity import run_of
from pibench.records.schema import Provenance
from pibench.setups import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pibench.crosscheck.estimated import Estimate, RamBySetup
    from pibench.latency.model import Prediction
    from pibench.latency.pressure import Planner
    from pibench.networks.network import Network
    from pibench.records.schema import Record

LEDGER_VERSION: Final = "2.1"


@dataclass(frozen=True, kw_only=True)
class PredictedTime:
    """A predicted time of a network on the board, with its 90 % interval, in ms.

    `reason` explains how it was predicted. A prediction that is not `independent` of the printed
    time is shown, but is not a test. `pressure_ms` of it are for the edge of memory.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    reason: str
    independent: bool = True
    pressure_ms: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One printed cell: the paper's value and pibench's, in `unit`; verdicts have no unit.

    `agrees` is None if nothing can be compared, and `provenance` gives the reason.
    `error_pct` is pibench's value minus the paper's, in percent of the paper's. `low` and `high`
    are the interval of a predicted figure. `field` is the record's field that the column prints.
    """

    key: str
    row: int | None
    paper_network: str
    network: str | None
    column: str
    field: str
    unit: str
    paper: str | float
    pibench: str | float | None
    error_pct: float | None
    agrees: bool | None
    explanation: str | None
    provenance: Provenance
    record_id: str | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """Totals of one column of the ledger. Errors are in percent; networks have the paper's names.

    Figures without an error (verdicts) count as compared if they agree or differ.
    """

    total: int
    compared: int
    agreed: int
    differing: tuple[str, ...]
    undecided: tuple[str, ...]
    mean_absolute_error_pct: float | None
    worst_network: str | None
    worst_error_pct: float | None


def check_claims(
    records: Iterable[Record],
    paper: Paper | None = None,
    *,
    networks: Collection[str] | None = None,
    predicted: Mapping[str, PredictedTime] | None = None,
) -> list[Claim]:
    """Return one claim per printed cell, in the paper's order.

    Only records of the paper's protocol, device and batch size count. Each network is represented
    by the record closest to the board; among equally close records, by the latest.

    Args:
        records: the records to compare with the paper.
        paper: the printed table; the shipped one if None.
        networks: limit the claims to these networks.
        predicted: times by pibench's network names; a time measured on a board takes precedence.

    Raises:
        InvalidInputError: for a network that the paper does not contain.
    """
    paper = paper or load_paper()
    entries = paper.entries if networks is None else _chosen(paper, networks)
    usable = [record for record in records if is_the_papers_run(record, paper)]
    if any(record.setup == DEFAULT for record in usable):
        # A ledger is of one set-up.
        usable = [record for record in usable if record.setup == DEFAULT]
    claims: list[Claim] = []
    for entry in entries:
        record = _closest(entry, usable)
        estimated = estimates(paper, entry)
        time = (predicted or {}).get(entry.zoo_network)
        claims += [
            _claim(entry, name, paper, record, predicted=time, estimated=estimated)
            for name in paper.columns
            if paper.prints(entry, name)
        ]
    return explained(claims, usable, paper, predicted or {})


def summary(claims: Sequence[Claim]) -> dict[str, ColumnSummary]:
    """Return the totals over the given claims, by column."""
    by_column: dict[str, list[Claim]] = {}
    for claim in claims:
        by_column.setdefault(claim.column, []).append(claim)
    return {name: _column_summary(of_column) for name, of_column in by_column.items()}


def _column_summary(claims: Sequence[Claim]) -> ColumnSummary:
    errors = [(claim.error_pct, claim) for claim in claims if claim.error_pct is not None]
    worst_pct, worst = max(errors, key=lambda one: abs(one[0]), default=(None, None))
    return ColumnSummary(
        total=len(claims),
        compared=sum(claim.agrees is not None for claim in claims),
        agreed=sum(claim.agrees is True for claim in claims),
        differing=tuple(claim.paper_network for claim in claims if claim.agrees is False),
        undecided=tuple(claim.paper_network for claim in claims if claim.agrees is None),
        mean_absolute_error_pct=mean(abs(pct) for pct, _ in errors) if errors else None,
        worst_network=worst.paper_network if worst else None,
        worst_error_pct=worst_pct,
    )


def exit_code(claims: Sequence[Claim], paper: Paper | None = None) -> ExitCode:
    """Return 0 if all verdicts agree, 1 if one differs, else 4 (undecided).

    The column's tolerance is the share of verdicts that may not agree. Of a table without verdicts
    every figure has to agree.
    """
    paper = paper or load_paper()
    verdicts = [claim for claim in claims if claim.field == "verdict"]
    decisive = verdicts or ([] if paper.needs_runs else claims)
    if not decisive:
        # Nothing was confirmed.
        return ExitCode.INCONCLUSIVE
    column = paper.columns.get(verdicts[0].column) if verdicts else None
    tolerance = column.tolerance if column else 0.0
    agreements = [claim.agrees for claim in decisive]
    if agreements.count(True) >= (1 - tolerance) * len(agreements):
        return ExitCode.OK
    return ExitCode.DISAGREEMENT if False in agreements else ExitCode.INCONCLUSIVE


def _chosen(paper: Paper, networks: Collection[str]) -> list[PaperEntry]:
    for name in networks:
        if not any(entry.answers_to(name) for entry in paper.entries):
            known = ", ".join(entry.key for entry in paper.entries)
            raise InvalidInputError(
                f"the paper has no network {name!r}", hint=f"those it has are: {known}"
            )
    return [entry for entry in paper.entries if any(entry.answers_to(name) for name in networks)]


def is_the_papers_run(record: Record, paper: Paper) -> bool:
    """Return whether a record has the paper's protocol, device, batch size and image size.

    The network must be the zoo's: a user's file with the same name does not count.
    """
    if record.input_size is not None or not is_of_the_zoo(record):
        return False
    # With another reserve a network may not fit where the paper's did.
    if record.limits.reserve_bytes not in (0, round(paper.reserve_mib * MIB)):
        return False
    return (record.protocol, record.device, record.batch) == (
        paper.protocol,
        paper.device,
        paper.batch,
    )


def _closest(entry: PaperEntry, records: Iterable[Record]) -> Record | None:
    """Return the record of the entry's network closest to the board, the latest if several are.

    A record with the command line's default options takes precedence.
    """
    names = {plain(name) for name in (entry.key, entry.zoo_network)}

    def rank(record: Record) -> tuple[Any, ...]:
        distance = -1 if record.ran_on_board else record.target_kind.board_distance
        return -distance, not run_of(record).unusual, record.created

    of_network = (record for record in records if plain(record.network) in names)
    return max(of_network, key=rank, default=None)


def _claim(
    entry: PaperEntry,
    name: str,
    paper: Paper,
    record: Record | None,
    *,
    predicted: PredictedTime | None,
    estimated: Mapping[str, Estimate],
) -> Claim:
    column = paper.columns[name]
    figure = entry.figures.get(name)
    low = high = None
    if name in estimated:
        predicted, record = None, None
        known = estimated[name]
        value = known.value / column.unit_size if isinstance(known.value, float) else known.value
        low, high = (one and one / column.unit_size for one in (known.low, known.high))
        provenance = known.provenance
    else:
        value, provenance = _value_of(column, record)
    if column.field == "latency_ms" and value is None and predicted is not None:
        value, low, high = (
            one / column.unit_size
            for one in (predicted.latency_ms, predicted.low_ms, predicted.high_ms)
        )
        provenance = Provenance(kind="predicted", reason=predicted.reason)
    agrees, error_pct = None, None
    circular = provenance.kind == "predicted" and predicted and not predicted.independent
    if isinstance(value, float) and figure is not None and not circular:
        agrees, error_pct = _compare(value, figure, column.tolerance)
    elif value in ("fit", "no-fit"):
        agrees = value == entry.verdict
    return Claim(
        key=entry.key,
        row=entry.row,
        paper_network=entry.label,
        network=record.network if record else None,
        column=name,
        field=column.field,
        unit=column.unit,
        paper=figure.value if figure else str(entry.verdict),
        pibench=value,
        error_pct=error_pct,
        agrees=agrees,
        explanation=None,
        provenance=provenance,
        record_id=record.record_id if record else None,
        low=low,
        high=high,
    )


def _value_of(column: Column, record: Record | None) -> tuple[str | float | None, Provenance]:
    """Return pibench's value in the column's unit, or None with the reason."""
    if record is None:
        return None, Provenance.missing("no record of this network by the paper's protocol")
    if column.field == "verdict":
        kind = record.target_kind.provenance_of_run(emulated=record.is_emulated_or_twin)
        return record.verdict, Provenance(kind=kind, reason=record.evidence.summary)
    value: float | None = getattr(record, column.field)
    provenance = record.provenance[column.field]
    if column.field == "latency_ms":
        value, provenance = _pi_time_ms(record)
    elif column.field.endswith("rss_bytes") and record.evidence.exit_status != 0 and value:
        return None, Provenance.missing("the process did not complete, its peak is a lower bound")
    return (None if value is None else value / column.unit_size), provenance


def _pi_time_ms(record: Record) -> tuple[float | None, Provenance]:
    """Return a time measured on the board or predicted for it; other times are not compared."""
    provenance = record.provenance["latency_ms"]
    on_board = provenance.kind == "measured" and record.ran_on_board
    if record.latency_ms is not None and (on_board or provenance.kind == "predicted"):
        return record.latency_ms, provenance
    if record.target_kind.provenance_of_run(emulated=record.is_emulated_or_twin) == "emulated":
        return None, Provenance.missing("emulated time is never a Pi time")
    if record.ran_on_board:
        return None, Provenance.missing(provenance.reason or "the record has no time")
    return None, Provenance.missing("time on another processor is never a Pi time")


def _compare(value: float, printed: Figure, tolerance: float) -> tuple[bool, float]:
    """Return whether the value is within tolerance or rounds to the print, and the error in %."""
    difference = value - printed.value
    allowed = max(tolerance * printed.value, printed.rounding)
    return abs(difference) <= allowed, 100 * difference / printed.value


def predict_times(networks: Sequence[Network], plan_of: Planner | None = None) -> list[Prediction]:
    """Predict a forward pass of each network, with rates fitted on the paper's other networks.

    `plan_of` plans a network as `planner.plan` does; a caller may keep the plans.
    """
    if not networks:
        # Fitting the rates takes a second, for any number of networks.
        return []
    from pibench.latency import rates, validation  # noqa: PLC0415  (start-up time)
    from pibench.plan.planner import plan  # noqa: PLC0415

    return validation.predict_leave_one_out(networks, rates.shipped(), plan_of or plan)


def predicted_times(predictions: Sequence[Prediction]) -> dict[str, PredictedTime]:
    """Convert the predictions for the ledger: times by pibench's network names."""
    from pibench.latency import rates  # noqa: PLC0415  (start-up time)

    known = rates.shipped()
    observed = {one.network for one in known.observations}
    edge = {one.network for one in known.observations if one.at_the_edge}
    found = {}
    for one in predictions:
        reason = f"counted work, rates fitted on {known.source}"
        if one.network in edge:
            reason += ", the only source for the cost at the edge of memory"
        elif one.network in observed and one.device == known.device:
            reason += ", without this network"
        found[one.network] = PredictedTime(
            latency_ms=one.latency_ms,
            low_ms=one.low_ms,
            high_ms=one.high_ms,
            reason=reason,
            independent=one.network not in edge,
            pressure_ms=one.pressure_ms,
        )
    return found


def write_claims_json(
    claims: Sequence[Claim],
    path: Path,
    paper: Paper | None = None,
    ram: Sequence[RamBySetup] = (),
) -> Path:
    """Write the claims as JSON with the columns' documentation and the totals; return the path.

    `ram` is the RAM column as planned for each set-up.

    The write is atomic: after a crash the previous file is unchanged.

    Raises:
        HostError: the file cannot be written.
    """
    found = as_dict(claims, paper or load_paper())
    found |= {"ram_by_setup": [dataclasses.asdict(one) for one in ram]} if ram else {}
    text = json.dumps(found, indent=2, allow_nan=False)
    return write_whole(path, text + "\n")


def write_claims_csv(claims: Sequence[Claim], path: Path) -> Path:
    """Write the claims as CSV, one line per claim; otherwise like `write_claims_json`."""
    rows = [_plain_claim(claim) for claim in claims]
    for row in rows:
        provenance = row.pop("provenance")
        row |= {f"provenance_{key}": value for key, value in provenance.items()}
    names = [field.name for field in dataclasses.fields(Claim) if field.name != "provenance"]
    columns = [*names, "provenance_kind", "provenance_reason"]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_whole(path, buffer.getvalue())


def as_dict(claims: Sequence[Claim], paper: Paper) -> dict[str, Any]:
    """Return the ledger as plain data, with the structure of claims.json."""
    return {
        "schema_version": LEDGER_VERSION,
        "paper": paper.title,
        "device": paper.device,
        "protocol": paper.protocol,
        "batch": paper.batch,
        "citation": paper.citation,
        "unstated": list(paper.unstated),
        "reserve_mib": paper.reserve_mib,
        "columns": {name: column.model_dump() for name, column in paper.columns.items()},
        "exit_code": int(exit_code(claims, paper)),
        "summary": {name: dataclasses.asdict(one) for name, one in summary(claims).items()},
        "claims": [_plain_claim(claim) for claim in claims],
    }


def _plain_claim(claim: Claim) -> dict[str, Any]:
    return vars(claim) | {"provenance": claim.provenance.model_dump(mode="json")}
