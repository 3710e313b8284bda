"""Compare engines on the same networks: what fits with each, and whether it computes as Caffe does.

Takes records only. Of several runs of a network with one engine the one that decides counts: with a
verdict, and closest to a board.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pibench.crosscheck.blobs import compare_outputs
from pibench.crosscheck.sides import entry_of
from pibench.records.identity import run_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.records.schema import Record

CAFFE: Final = "caffe"


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The outputs of an engine beside Caffe's, for the same weights and input.

    `same_top5` is whether the five highest scores are the same classes in the same order, None
    where the outputs are no scores. `largest_error` is the largest difference of an output from
    Caffe's, as a fraction of the largest of that blob.
    """

    same_top5: bool | None
    largest_error: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """A network with an engine: the record that decides, and its outputs if they are comparable."""

    record: Record
    outputs: Outputs | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A network, and its result with each engine by the engine's name and version."""

    network: str
    results: dict[str, Result]


def rows(records: Sequence[Record]) -> list[Row]:
    """Return a row for each network, in the order of the records."""
    by_network: dict[tuple[str, str], dict[str, list[Record]]] = {}
    for record in records:
        engines = by_network.setdefault((record.network, record.network_sha256), {})
        engines.setdefault(run_of(record).engine or CAFFE, []).append(record)
    return [
        Row(
            network=network,
            results={
                name: Result(record=_deciding(made), outputs=_outputs(engines, name))
                for name, made in engines.items()
            },
        )
        for (network, _), engines in by_network.items()
    ]


def names(found: Sequence[Row]) -> list[str]:
    """Return the engines of all rows, Caffe first, each in its latest version first."""
    made = {name for row in found for name in row.results}
    return sorted(sorted(made, key=_version, reverse=True), key=_engine)


def _engine(name: str) -> tuple[bool, str]:
    return name != CAFFE, name.partition(" ")[0]


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def as_dict(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows for JSON."""
    return [
        {
            "network": row.network,
            "engines": {
                name: {
                    "verdict": result.record.verdict,
                    "peak_rss_bytes": result.record.peak_rss_bytes,
                    "target": result.record.target,
                    "provenance": result.record.provenance["peak_rss_bytes"].kind,
                    "same_top5": result.outputs and result.outputs.same_top5,
                    "largest_error": result.outputs and result.outputs.largest_error,
                    "record_id": result.record.record_id,
                }
                for name, result in row.results.items()
            },
        }
        for row in found
    ]


def _deciding(records: Sequence[Record]) -> Record:
    """Return the record with a verdict whose target is closest to a board, the latest of those."""
    return min(
        records,
        key=lambda record: (
            record.verdict == "inconclusive",
            record.verdict == "borderline",
            record.target_kind.board_distance,
            -record.created.timestamp(),
        ),
    )


def _outputs(engines: dict[str, list[Record]], name: str) -> Outputs | None:
    """Compare the outputs of an engine with Caffe's from the same input, if there are any."""
    if name == CAFFE:
        return None
    for caffe in engines.get(CAFFE, ()):
        for record in engines[name]:
            compared = compare_outputs(entry_of(caffe), entry_of(record))
            values = [blob.values for blob in compared.blobs if blob.values is not None]
            if not values:
                continue
            largest = [
                max(abs(blob.minimum or 0.0), abs(blob.maximum or 0.0)) for blob in caffe.outputs
            ]
            scale = max(largest, default=0.0) or 1.0
            return Outputs(
                same_top5=compared.top5, largest_error=max(one.largest for one in values) / scale
            )
    return None
