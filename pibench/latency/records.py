"""Fit latency rates to records of a board: one provenance, one protocol."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING

from pibench import devices, networks
from pibench.errors import InvalidInputError, UnknownNetworkError
from pibench.latency import fit
from pibench.latency.rates import SHORTEST_MS, LatencyRates, Observation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pibench.records.schema import Record

_BOARDS = ("aarch64", "armv7l", "armv6l")


def calibrate(records: Sequence[Record], path: Path) -> tuple[LatencyRates, list[str]]:
    """Fit latency rates to records that a board made of itself.

    Of a network that was timed more than once the median counts.

    Args:
        records: The records.
        path: Their file, for errors.

    Returns:
        The rates, and a sentence for each excluded record.

    Raises:
        InvalidInputError: The records are of several boards, protocols or provenances, or too few
            are usable.
    """
    usable, notes = [], []
    for record in records:
        reason = _unusable(record)
        if reason is None:
            usable.append(record)
        else:
            notes.append(f"{record.network} left out: {reason}")
    if not usable:
        raise InvalidInputError.at(
            path, None, "no record has a time that a board measured",
            hint="measure on the board: pibench run --target native --compute real --out FILE",
        )  # fmt: skip
    # Bytes of a file's name that are not text would make the rates' JSON invalid.
    name = path.name.encode("utf-8", "replace").decode()
    device = _one(path, "devices", (record.device for record in usable))
    protocol = _one(path, "protocols", (record.protocol for record in usable))
    calibrated = fit.calibrate(
        _observations(usable),
        device=devices.load(device),
        protocol="inference" if protocol == "inference" else "caffe-time",
        provenance="measured",
        source=f"{len(usable)} records of {name}",
    )
    return calibrated, notes


def _unusable(record: Record) -> str | None:
    """Explain why a record has no information about its board's rates; None if it has."""
    environment = record.environment
    architecture = environment.guest.architecture or environment.host.architecture
    kind = record.provenance["latency_ms"].kind
    if record.latency_ms is None or record.latency_ms < SHORTEST_MS:
        return "it has no time"
    if kind != "measured" or architecture not in _BOARDS:
        return f"its time is {kind} on {architecture}, not measured on a board"
    if record.batch != 1:
        return f"it is of batch {record.batch}, and rates are of batch 1"
    try:
        network = networks.load(networks.find(record.network).name)
    except UnknownNetworkError:
        return "it is not a network of the zoo, so its layers are not known"
    if network.sha256 != record.network_sha256:
        return "the zoo now has a different network with that name"
    return None


def _one(path: Path, what: str, found: Iterable[str]) -> str:
    """Return the only one of `found`; raise InvalidInputError for several: they are not mixed."""
    kinds = sorted(set(found))
    if len(kinds) > 1:
        raise InvalidInputError.at(
            path, None, f"holds records of several {what}: {', '.join(kinds)}",
            hint="give a file for each",
        )  # fmt: skip
    return kinds[0]


def _observations(records: Sequence[Record]) -> list[Observation]:
    times: dict[str, list[float]] = defaultdict(list)
    for record in records:
        times[record.network].append(record.latency_ms or 0.0)
    return [Observation(network=name, latency_ms=median(found)) for name, found in times.items()]
