"""Two or more sides of the same networks against each other: takes records only.

Every two sides are compared on the networks that both have. A network is the same where the
SHA-256 of its prototxt, batch and protocol are; where a side knows names alone (the paper), by
name. What could not be compared says why, and if nothing could it is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

from pibench.crosscheck.aspects import (
    ASPECTS,
    LATENCY_TOLERANCE,
    RAM_FLOOR_BYTES,
    RAM_TOLERANCE,
    Aspect,
    Comparison,
    compare_latencies,
    compare_ram,
    compare_verdicts,
)
from pibench.crosscheck.outputs import OUTPUT_TOLERANCE, compare_outputs
from pibench.crosscheck.sides import differing_facts
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from pibench.crosscheck.sides import Entry, Side
    from pibench.crosscheck.values import Tolerance

FEWEST: Final = 2
_MOST_NAMED: Final = 3


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """What still agrees: shares of the first side's figure, and for outputs per value.

    RAM agrees within `ram_floor_bytes` too, whatever share that is.
    """

    ram: float = RAM_TOLERANCE
    ram_floor_bytes: int = RAM_FLOOR_BYTES
    latency: float = LATENCY_TOLERANCE
    outputs: Tolerance = OUTPUT_TOLERANCE


@dataclass(frozen=True, kw_only=True)
class NetworkComparison:
    """One network on two sides: a comparison for each aspect."""

    network: str
    first: Entry
    second: Entry
    aspects: dict[Aspect, Comparison]

    @property
    def agrees(self) -> bool | None:
        """False if an aspect differs, true if one agrees and none differs, else None."""
        answers = {one.agrees for one in self.aspects.values()}
        return False if False in answers else True if True in answers else None


@dataclass(frozen=True, kw_only=True)
class PairComparison:
    """Two sides: the networks of both, what differs in their environments, what one side lacks.

    `not_run` says of a side without an environment what its figures are instead.
    `unlike` has a sentence for each network that goes by one name on both sides and is
    another network there, or was run in another way.
    """

    first: str
    second: str
    networks: tuple[NetworkComparison, ...]
    surroundings: tuple[tuple[str, str, str], ...]
    not_run: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    unlike: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """Every two sides; true if nothing differs that could be compared."""

    sides: tuple[Side, ...]
    pairs: tuple[PairComparison, ...]
    tolerances: Tolerances

    def __bool__(self) -> bool:
        return all(network.agrees is not False for network in self.networks)

    @property
    def networks(self) -> list[NetworkComparison]:
        """All comparisons of a network, of all pairs."""
        return [network for pair in self.pairs for network in pair.networks]


def reconcile(sides: Sequence[Side], tolerances: Tolerances | None = None) -> Reconciliation:
    """Compare every two sides.

    Raises InvalidInputError for fewer than two sides, where no two have a network in
    common, and where nothing of those they have could be compared.
    """
    if len(sides) < FEWEST:
        raise InvalidInputError(
            "one side alone cannot be compared", hint="give two or more, or --baseline FILE"
        )
    tolerances = tolerances or Tolerances()
    pairs = [_compare(first, second, tolerances) for first, second in combinations(sides, 2)]
    found = Reconciliation(sides=tuple(sides), pairs=tuple(pairs), tolerances=tolerances)
    if not found.networks:
        unlike = next((said for pair in pairs for said in pair.unlike), None)
        raise InvalidInputError(
            f"no network is on two sides: {unlike or _listed(sides)}",
            hint="give records of the same networks, batch and protocol",
        )
    told = [one for network in found.networks for one in network.aspects.values()]
    if all(one.agrees is None for one in told):
        raise InvalidInputError(
            f"nothing could be compared: {reasons(found.networks, ASPECTS)[0]}",
            hint="give sides that tell the same things",
        )
    return found


def _listed(sides: Sequence[Side]) -> str:
    """Each side and its first networks."""
    names = [(side.name, _names(side.entries)) for side in sides]
    return "; ".join(
        f"{side} has {', '.join(found[:_MOST_NAMED])}"
        + (f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else "")
        for side, found in names
    )


def reasons(networks: Iterable[NetworkComparison], aspects: Sequence[Aspect]) -> list[str]:
    """Why aspects were not compared, each reason once with the first network it is about."""
    found: dict[str, str] = {}
    for network in networks:
        for aspect in aspects:
            why = network.aspects[aspect].why
            if network.aspects[aspect].agrees is None and why:
                found.setdefault(f"{aspect}: {why}", network.network)
    return [f"{why} ({network})" for why, network in found.items()]


def _compare(first: Side, second: Side, tolerances: Tolerances) -> PairComparison:
    matched = _matched(first, second)
    ours = {id(entry) for entry, _ in matched}
    theirs = {id(entry) for _, entry in matched}
    alone = (
        [entry for entry in first.entries if id(entry) not in ours],
        [entry for entry in second.entries if id(entry) not in theirs],
    )
    return PairComparison(
        first=first.name,
        second=second.name,
        networks=tuple(_network(a, b, tolerances) for a, b in matched),
        surroundings=tuple(differing_facts(matched)),
        not_run=tuple(_not_run(first, second)),
        only_first=_names(alone[0]),
        only_second=_names(alone[1]),
        unlike=tuple(_unlike(first, second, alone)),
    )


def _network(first: Entry, second: Entry, tolerances: Tolerances) -> NetworkComparison:
    return NetworkComparison(
        network=first.network,
        first=first,
        second=second,
        aspects={
            "verdict": compare_verdicts(first, second),
            "ram": compare_ram(first, second, tolerances.ram, tolerances.ram_floor_bytes),
            "latency": compare_latencies(first, second, tolerances.latency),
            "outputs": compare_outputs(first, second, tolerances.outputs),
        },
    )


def _matched(first: Side, second: Side) -> list[tuple[Entry, Entry]]:
    """The networks of both sides, in the first one's order."""
    pairs = []
    for entry in first.entries:
        for other in second.entries:
            if _is_same(entry, other):
                pairs.append((entry, other))
                break
    return pairs


def _is_same(first: Entry, second: Entry) -> bool:
    if (first.batch, first.protocol) != (second.batch, second.protocol):
        return False
    if first.network_sha256 is None or second.network_sha256 is None:
        return first.like == second.like
    return first.network_sha256 == second.network_sha256


def _unlike(
    first: Side, second: Side, alone: tuple[Sequence[Entry], Sequence[Entry]]
) -> Iterable[str]:
    """Why networks of one name were not taken for the same."""
    for entry in alone[0]:
        for other in alone[1]:
            if entry.like[0] != other.like[0]:
                continue
            if (entry.batch, entry.protocol) != (other.batch, other.protocol):
                yield (
                    f"{entry.network} is of {entry.protocol}, batch {entry.batch} in {first.name} "
                    f"and of {other.protocol}, batch {other.batch} in {second.name}"
                )
            else:
                yield (
                    f"{entry.network} is another network in {second.name}: the prototxts differ "
                    f"({_short(entry)} and {_short(other)})"
                )


def _not_run(*sides: Side) -> Iterable[str]:
    """What the figures of sides are that were not run."""
    for side in sides:
        entry = side.entries[0]
        if not entry.facts:
            told = [one for one in (entry.ram, entry.latency) if one.kind != "unavailable"]
            yield f"{side.name}: {entry.kind}: {told[0].reason if told else 'figures alone'}"


def _short(entry: Entry) -> str:
    return (entry.network_sha256 or "unknown")[:12]


def _names(entries: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(entry.network for entry in entries))
