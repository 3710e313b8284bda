"""The side `predicted`: the times of records' runs, each for the software that its record names."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from pibench.crosscheck.sides import Entry, Side
from pibench.errors import InvalidInputError
from pibench.latency import as_run, rates, stacks
from pibench.latency.model import UNKNOWN, basis
from pibench.plan.planner import plan
from pibench.records.identity import run_of
from pibench.records.schema import LayerTime, Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pibench.latency.model import Prediction
    from pibench.networks.network import Network
    from pibench.records.schema import Record

PREDICTED: Final = "predicted"
_OPTIONS: Final = {
    "network", "network_sha256", "network_source", "batch", "input_size", "device", "protocol",
    "threads", "blas",
}  # fmt: skip
_NOTHING: Final = Provenance.missing("a prediction is of the time alone")


def predicted_side(
    records: Iterable[Record], network_of: Callable[[Record], Network], stack: str | None = None
) -> Side:
    """Return the predictions of these records' runs.

    A record of no board, which has no time of one, is predicted for the stack of pibench's images.

    Args:
        records: The records.
        network_of: Returns a record's network, or raises InvalidInputError.
        stack: A stack for all records, in place of the one that each states.

    Raises:
        InvalidInputError: There are no records, no such stack, or two records of like runs have
            different predictions.
    """
    if stack not in (None, UNKNOWN, "paper"):
        stacks.load(stack)
    plan_of = cache(plan)
    entries: dict[tuple[object, ...], Entry] = {}
    for record in records:
        cpu = record.device_profile.cpu
        of_record = stack or as_run.stack_of(record) or stacks.default_of(cpu)
        try:
            found = as_run.predict_as_run(record, network_of(record), of_record, plan_of)
            entry = _entry(record, found, "" if stack else _no_stack(record))
        except InvalidInputError as error:
            entry = _entry(record, None, error.line())
        other = entries.setdefault(entry.identity, entry)
        if other.latency != entry.latency:
            raise InvalidInputError(
                f"{record.network} ran with two stacks ({other.latency.reason}; "
                f"{entry.latency.reason}), so it has no single prediction",
                hint="compare one file at a time with predicted, or give a --stack",
            )
    if not entries:
        raise InvalidInputError(
            "predicted is for records, and none were given", hint="give a file of records too"
        )
    return Side.of(PREDICTED, "predictions", entries.values())


def _no_stack(record: Record) -> str:
    """Return why a record is predicted for a range; empty where it is not."""
    if as_run.stack_of(record) != UNKNOWN:
        return ""
    blas = record.environment.guest.blas_name
    return f"{blas or 'a BLAS that the record does not name'} is of no known stack: "


def _entry(record: Record, found: Prediction | None, why: str = "") -> Entry:
    run = run_of(record).model_dump(include=_OPTIONS)
    if found is None:
        return Entry(
            **run, source=PREDICTED, kind="predicted", ram=_NOTHING, values=_NOTHING,
            latency=Provenance.missing(why),
        )  # fmt: skip
    return Entry(
        **run,
        source=PREDICTED,
        kind="predicted",
        headroom_bytes=found.headroom_bytes,
        ram=_NOTHING,
        values=_NOTHING,
        latency_ms=found.latency_ms,
        latency_range_ms=found.range_ms,
        latency=Provenance(kind="predicted", reason=why + basis(found, rates.shipped())),
        clock=f"board {record.device}",
        layers=tuple(
            LayerTime(name=one.work.name, type=one.work.type, forward_ms=one.latency_ms)
            for one in found.layers
        ),
    )
