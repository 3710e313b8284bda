"""Explanations of a table's cells, with the figures that the records and plans at hand give.

A text in `table.toml` has a figure's name in braces where it needs the figure. A sentence whose
figures are not all known is omitted, so that an explanation never states a figure of another run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Final

from pibench import devices, networks
from pibench.devices import MIB
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pibench.crosscheck.claims import Claim, PredictedTime
    from pibench.crosscheck.paper import Column, Explanation, Paper, PaperEntry
    from pibench.devices import Device
    from pibench.engines.base import Protocol
    from pibench.plan.environment import Environment
    from pibench.records.schema import Record

_NAME: Final = re.compile(r"\{([^{}]*)\}")
_MB: Final = 10**6
_PARAMETER_BYTES: Final = 4
"""A parameter in a caffemodel is a 32-bit float."""
OF_A_NETWORK: Final = ("batch", "parameters", "peak", "usable", "input", "edge_pct")
OF_A_COLUMN: Final = ("printed", "pibench")
OF_A_SIZE: Final = ("printed_parameters", "pibench_mib", "printed_per_mib")
OF_A_VARIANT: Final = ("ram", "input")
"""Names of figures; docs/report.md describes them."""


def names(explanation: Explanation, columns: Mapping[str, Column]) -> set[str]:
    """Return the names of figures that a text of this explanation may have."""
    found = {*OF_A_NETWORK}
    for name, column in columns.items():
        sizes = OF_A_SIZE if column.field == "weights_file_bytes" else ()
        found |= {f"{name}.{figure}" for figure in (*OF_A_COLUMN, *sizes)}
    return found | {f"{name}.{figure}" for name in explanation.variants for figure in OF_A_VARIANT}


def check(paper: Paper) -> None:
    """Check the figures that a table's explanations name.

    Raises:
        ValueError: if there is no such figure.
    """
    for one in paper.explanation:
        known = names(one, paper.columns)
        for name in (name for sentence in one.sentences for name in _NAME.findall(sentence)):
            if name not in known:
                figures = ", ".join(sorted(known))
                raise ValueError(f"an explanation has {{{name}}}, which is not a figure: {figures}")


def explained(
    claims: Sequence[Claim],
    records: Iterable[Record],
    paper: Paper,
    predicted: Mapping[str, PredictedTime],
) -> list[Claim]:
    """Return the claims of a table with their explanations.

    `records` are those that the claims are of, `predicted` times by pibench's network names.
    """
    by_id = {record.record_id: record for record in records}
    of_entry: dict[str, dict[str, Claim]] = {}
    for claim in claims:
        of_entry.setdefault(claim.key, {})[claim.column] = claim
    figures = {
        entry.key: _Figures(
            entry=entry,
            paper=paper,
            claims=own,
            record=next((by_id[one.record_id] for one in own.values() if one.record_id), None),
            predicted=predicted.get(entry.zoo_network),
        )
        for entry in paper.entries
        if (own := of_entry.get(entry.key))
    }
    texts: dict[tuple[str, str], str] = {}
    for one in paper.explanation:
        shown = [figures[key] for key in one.keys if key in figures]
        text = _text(one, shown) if shown else ""
        texts |= {(key, column): text for key in one.keys for column in one.columns}
    return [
        replace(claim, explanation=texts.get((claim.key, claim.column)) or None) for claim in claims
    ]


def _text(explanation: Explanation, of: Sequence[_Figures]) -> str:
    """Return the sentences of which every figure is known, with a figure for each network."""
    sentences = []
    for sentence in explanation.sentences:
        found = {
            name: [one.named(name, explanation.variants) for one in of]
            for name in _NAME.findall(sentence)
        }
        if all(None not in figures for figures in found.values()):
            sentences.append(_NAME.sub(lambda match: _listed(found[match[1]]), sentence))  # noqa: B023
    return " ".join(sentences)


def _listed(figures: Sequence[str | None]) -> str:
    *first, last = (figure or "" for figure in figures)
    return f"{', '.join(first)} and {last}" if first else last


@dataclass(frozen=True, kw_only=True)
class _Figures:
    """The figures of one entry, as text; None where there is none."""

    entry: PaperEntry
    paper: Paper
    claims: Mapping[str, Claim]
    record: Record | None
    predicted: PredictedTime | None

    def named(self, name: str, variants: Mapping[str, str]) -> str | None:
        """Return the figure of this name; `variants` are endings of names of the zoo."""
        place, _, figure = name.partition(".")
        try:
            if place in variants:
                planned = self._planned(f"{self.entry.zoo_network}{variants[place]}")
                return planned.input if figure == "input" else f"{planned.ram_bytes / MIB:,.0f}"
            if not figure:
                return self._of_the_network(name)
        except InvalidInputError:
            # Not a network of the zoo, or one that cannot be planned.
            return None
        return self._of_a_column(place, figure)

    def _of_the_network(self, name: str) -> str | None:
        if name == "batch":
            return f"{self.paper.batch_of(self.entry)}"
        if name == "usable":
            return f"{self._device.usable_bytes / MIB:,.0f}"
        if name == "edge_pct":
            time = self.predicted
            own_ms = time.latency_ms - time.pressure_ms if time else 0.0
            return f"{100 * time.pressure_ms / own_ms:.0f}" if time and own_ms > 0 else None
        planned = self._planned(self.entry.path or self.entry.zoo_network)
        if name == "parameters":
            return f"{planned.parameters / _MB:.1f}"
        return planned.input if name == "input" else f"{planned.peak_bytes / MIB:,.0f}"

    def _of_a_column(self, name: str, figure: str) -> str | None:
        claim, column = self.claims.get(name), self.paper.columns[name]
        if claim is None or not isinstance(claim.paper, float):
            return None
        printed_bytes = claim.paper * column.unit_size
        if figure == "printed":
            return f"{claim.paper:,g}"
        if figure == "printed_parameters":
            return f"{printed_bytes / _PARAMETER_BYTES / _MB:.1f}"
        if not isinstance(claim.pibench, float) or not claim.pibench:
            return None
        own_mib = claim.pibench * column.unit_size / MIB
        return {
            "pibench": f"{claim.pibench:,.{column.decimals}f}",
            "pibench_mib": f"{own_mib:,.1f}",
            "printed_per_mib": f"{claim.paper / own_mib:.2f}",
        }[figure]

    @cached_property
    def _device(self) -> Device:
        return devices.load(self.paper.device).with_reserve(self.paper.reserve_mib)

    def _planned(self, network: str) -> _Planned:
        """Plan a network as the entry's record ran; without a record, as the table's device."""
        from pibench.crosscheck.planned import environment_of  # noqa: PLC0415  (start-up time)
        from pibench.plan.environment import of_device  # noqa: PLC0415  (start-up time)

        if self.record is not None:
            environment = environment_of(self.record, self._device)
        else:
            threads = self.entry.threads or self._device.cores
            environment = replace(of_device(self._device), threads=threads)
        return _plan(network, self.paper.batch_of(self.entry), self.paper.protocol, environment)


@dataclass(frozen=True, kw_only=True)
class _Planned:
    peak_bytes: int
    ram_bytes: int
    parameters: int
    input: str


@cache
def _plan(name: str, batch: int, protocol: Protocol, environment: Environment) -> _Planned:
    from pibench.plan.planner import plan  # noqa: PLC0415  (start-up time)

    network = networks.load(name, batch=batch)
    planned = plan(network, protocol=protocol, environment=environment)
    return _Planned(
        peak_bytes=planned.peak_rss_bytes,
        ram_bytes=planned.peak_rss_bytes - planned.baseline_rss_bytes,
        parameters=network.parameter_count,
        input="{} x {}".format(*network.image_size()),
    )
