"""Compare two or more sides of the same networks; needs records only.

Each pair of sides is compared on the networks that both have. Networks are the same if prototxt
SHA-256, batch and protocol are equal; if a side has names only (the paper), names are compared. If
a side has several runs of one network, runs are matched by the options that distinguish them there.
Each metric that could not be compared has a reason; if nothing could be compared, that is an error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pibench.crosscheck.blobs import OUTPUT_TOLERANCE, compare_outputs
from pibench.crosscheck.metrics import (
    LATENCY_TOLERANCE,
    METRICS,
    RAM_FLOOR_BYTES,
    RAM_TOLERANCE,
    Comparison,
    Metric,
    compare_latencies,
    compare_ram,
    compare_verdicts,
)
from pibench.crosscheck.sides import differing_facts
from pibench.display import Displayed
from pibench.errors import InvalidInputError
from pibench.records.identity import Run, distinguishing, labels

if TYPE_CHECKING:
    from pibench.crosscheck.sides import Entry, Side
    from pibench.crosscheck.values import Tolerance

FEWEST: Final = 2
_PLACES: Final = frozenset(
    ("network", "device", "source", "engine", "compute", "limits", "caffe_origin", "board")
)
"""Options that name a run or say where it ran, not how."""
_MOST_NAMED: Final = 3
Matched: TypeAlias = tuple["Entry", "Entry", dict[str, Any]]
"""A run of each side, and the options that distinguish the pair from others of its network."""


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """Tolerances: fractions of the first side's figure, and for outputs per value.

    RAM also agrees within `ram_floor_bytes`, whatever fraction that is.
    """

    ram: float = RAM_TOLERANCE
    ram_floor_bytes: int = RAM_FLOOR_BYTES
    latency: float = LATENCY_TOLERANCE
    outputs: Tolerance = OUTPUT_TOLERANCE


@dataclass(frozen=True, kw_only=True)
class NetworkComparison:
    """One run on two sides: a comparison for each metric.

    `label` distinguishes it from all others of its protocol and batch.
    """

    network: str
    label: str
    first: Entry
    second: Entry
    metrics: dict[Metric, Comparison]

    @property
    def subject(self) -> str:
        """The label, with protocol and batch if they are not the defaults."""
        protocol, batch = self.first.protocol, self.first.batch
        usual = (protocol, batch) == ("caffe-time", 1)
        return self.label if usual else f"{self.label} ({protocol}, batch {batch})"

    @property
    def agrees(self) -> bool | None:
        """False if a metric differs, true if one agrees and none differs, else None."""
        answers = {one.agrees for one in self.metrics.values()}
        return False if False in answers else True if True in answers else None


@dataclass(frozen=True, kw_only=True)
class PairComparison:
    """Two sides: their common networks, differences in environment, and what one side lacks.

    `not_run` describes the figures of a side without an environment.
    `unlike` has a sentence for each network whose name is on both sides, but which is another
    network on the other side or ran with other options.
    """

    first: str
    second: str
    networks: tuple[NetworkComparison, ...]
    surroundings: tuple[tuple[str, str, str], ...]
    not_run: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    unlike: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """A name for each network: its label if no other network has that label."""
        alone = len({one.label for one in self.networks}) == len(self.networks)
        return [one.label if alone else one.subject for one in self.networks]


@dataclass(frozen=True, kw_only=True)
class Reconciliation(Displayed):
    """All pairs of sides; true if nothing that could be compared differs."""

    sides: tuple[Side, ...]
    pairs: tuple[PairComparison, ...]
    tolerances: Tolerances

    def __repr__(self) -> str:
        sides = " against ".join(side.name for side in self.sides)
        answers = [network.agrees for network in self.networks]
        words = {True: "agree", False: "differ", None: "not compared"}
        counts = [f"{answers.count(key)} {word}" for key, word in words.items() if key in answers]
        return f"<{sides}: {', '.join(counts) or 'no run in common'}>"

    def __bool__(self) -> bool:
        return all(network.agrees is not False for network in self.networks)

    @property
    def networks(self) -> list[NetworkComparison]:
        """The comparisons of all networks in all pairs."""
        return [network for pair in self.pairs for network in pair.networks]


def reconcile(sides: Sequence[Side], tolerances: Tolerances | None = None) -> Reconciliation:
    """Compare every pair of two or more sides, within the default tolerances if none are given.

    Raises:
        InvalidInputError: for fewer than two sides, if no pair has a network in common, or if no
            common network could be compared.
    """
    if len(sides) < FEWEST:
        raise InvalidInputError(
            "one side alone cannot be compared", hint="give two or more, or --baseline FILE"
        )
    tolerances = tolerances or Tolerances()
    matches = [(*both, _match(*both)) for both in combinations(sides, 2)]
    names = _labels([pair for _, _, pairs in matches for pair in pairs])
    pairs = [_compare(*match, names, tolerances) for match in matches]
    found = Reconciliation(sides=tuple(sides), pairs=tuple(pairs), tolerances=tolerances)
    if not found.networks:
        unlike = next((sentence for pair in pairs for sentence in pair.unlike), None)
        raise InvalidInputError(
            f"no network is on two sides: {unlike or _listed(sides)}",
            hint="give records of the same networks, batch and protocol",
        )
    if all(network.agrees is None for network in found.networks):
        raise InvalidInputError(
            f"nothing could be compared: {reasons(found.networks, METRICS)[0]}",
            hint="give sides that tell the same things",
        )
    return found


def _listed(sides: Sequence[Side]) -> str:
    """List each side with its first networks."""
    names = [(side.name, [*dict.fromkeys(one.network for one in side.entries)]) for side in sides]
    return "; ".join(f"{side} has {_first_of(found, ', ')}" for side, found in names)


def _first_of(names: Sequence[str], separator: str) -> str:
    """Name the first ones, and the number of the others."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return separator.join(names[:_MOST_NAMED]) + more


def reasons(networks: Iterable[NetworkComparison], metrics: Sequence[Metric]) -> list[str]:
    """Explain why metrics were not compared: each reason once, with its first network."""
    found: dict[str, str] = {}
    for network in networks:
        for metric in metrics:
            why = network.metrics[metric].why
            if network.metrics[metric].agrees is None and why:
                found.setdefault(f"{metric}: {why}", network.label)
    return [f"{why} ({network})" for why, network in found.items()]


def _match(first: Side, second: Side) -> list[Matched]:
    """Match the runs of two sides, in the order of the first."""
    found: list[Matched] = []
    for left, right in _shared_networks(first, second):
        apart = distinguishing(left), distinguishing(right)
        places = _other_places(left, right, apart[0] | apart[1])
        found += [
            (one, other, _options_of(one, other, apart, places))
            for one, other in _alike(left, right, (apart[0] | apart[1]) - places)
        ]
    place = {id(entry): index for index, entry in enumerate(first.entries)}
    return sorted(found, key=lambda one: place[id(one[0])])


def _compare(
    first: Side,
    second: Side,
    matched: Sequence[Matched],
    names: Mapping[Any, str],
    tolerances: Tolerances,
) -> PairComparison:
    pairs = [(one, other) for one, other, _ in matched]
    known = {id(entry) for pair in pairs for entry in pair}
    alone = [[one for one in side.entries if id(one) not in known] for side in (first, second)]
    return PairComparison(
        first=first.name,
        second=second.name,
        networks=tuple(
            NetworkComparison(
                network=one.network,
                label=names[id(one), id(other)],
                first=one,
                second=other,
                metrics={
                    "verdict": compare_verdicts(one, other),
                    "ram": compare_ram(one, other, tolerances.ram, tolerances.ram_floor_bytes),
                    "latency": compare_latencies(one, other, tolerances.latency),
                    "outputs": compare_outputs(one, other, tolerances.outputs),
                },
            )
            for one, other in pairs
        ),
        surroundings=tuple(differing_facts(pairs)),
        not_run=tuple(_not_run(first, second)),
        only_first=_names(first, alone[0]),
        only_second=_names(second, alone[1]),
        unlike=tuple(_unlike(first, second, *alone)),
    )


def _shared_networks(
    first: Side, second: Side
) -> Iterable[tuple[Sequence[Entry], Sequence[Entry]]]:
    """Yield the runs of each network that both sides have, by hash or, without a hash, by name.

    A name refers to a network of the zoo; a user's file may have the same name.
    """
    right: dict[Any, list[Entry]] = defaultdict(list)
    for entry in second.entries:
        right[_network_of(entry)].append(entry)
        if entry.goes_by_its_name:
            right[entry.like].append(entry)
    left: dict[Any, list[Entry]] = defaultdict(list)
    for entry in first.entries:
        left[_network_of(entry)].append(entry)
    for network, entries in left.items():
        by_name = right.get(entries[0].like, [])
        if entries[0].network_sha256 is None:
            found = list(by_name)
        else:
            found = list(right.get(network, ()))
            if entries[0].goes_by_its_name:
                found += [entry for entry in by_name if entry.network_sha256 is None]
        if found:
            yield entries, found


def _network_of(entry: Entry) -> tuple[Any, ...]:
    """Return the key of a network, batch and protocol; the name replaces a missing hash."""
    if entry.network_sha256 is None:
        return ("name", *entry.like)
    return entry.network_sha256, entry.batch, entry.protocol


def _other_places(
    left: Sequence[Entry], right: Sequence[Entry], options: Set[str]
) -> frozenset[str]:
    """Return options that are not matched: the places, if the sides have no place in common.

    The places are then what is compared, for example a network on two targets or on a board.
    """

    def values(entries: Sequence[Entry], option: str) -> set[Any]:
        return {entry.value_of(option) for entry in entries}

    places = options & _PLACES
    return frozenset(one for one in places if values(left, one).isdisjoint(values(right, one)))


def _options_of(
    first: Entry, second: Entry, apart: tuple[Set[str], Set[str]], places: Set[str]
) -> dict[str, Any]:
    """Return the options that distinguish a pair from the others of its network."""
    found: dict[str, Any] = {}
    for option in apart[0] | apart[1]:
        values = first.value_of(option), second.value_of(option)
        if option in places and option in apart[0] & apart[1]:
            found[option] = f"{values[0]} against {values[1]}"
        else:
            preferred, other = values if option in apart[0] else values[::-1]
            found[option] = other if preferred is None else preferred
    return found


def _alike(
    left: Sequence[Entry], right: Sequence[Entry], options: Set[str]
) -> Iterable[tuple[Entry, Entry]]:
    """Yield the pairs that are equal in these options; an unknown value matches any value."""
    by_values: dict[tuple[Any, ...], list[Entry]] = defaultdict(list)
    for other in right:
        by_values[tuple(other.value_of(option) for option in options)].append(other)
    vague = [values for values in by_values if None in values]
    for entry in left:
        wanted = tuple(entry.value_of(option) for option in options)
        # Look up by value: a sweep can have thousands of seeds, too many to compare pairwise.
        candidates = by_values if None in wanted else dict.fromkeys([wanted, *vague])
        for values in candidates:
            if all(a is None or b is None or a == b for a, b in zip(wanted, values, strict=True)):
                yield from ((entry, other) for other in by_values.get(values, ()))


def _labels(pairs: Sequence[Matched]) -> dict[Any, str]:
    """Return a label for each pair, by the entries' ids; pairs of one run share a label."""
    options: dict[Any, set[str]] = defaultdict(set)
    for first, second, apart in pairs:
        options[_network_of(_known(first, second))] |= apart.keys()
    firsts: dict[Any, Run] = {}
    runs: dict[Any, Run] = {}
    for first, second, apart in pairs:
        known = _known(first, second)
        network = _network_of(known)
        plain = firsts.setdefault(
            network,
            Run(
                network=first.network,
                network_sha256=known.network_sha256,
                network_source=known.network_source,
                batch=known.batch,
                device=known.device,
                protocol=known.protocol,
            ),
        )
        # Options that distinguish runs on one pair of sides are used on the other pairs too.
        values = {option: known.value_of(option) for option in options[network]} | apart
        known_of = {option: value for option, value in values.items() if value is not None}
        runs[id(first), id(second)] = plain.model_copy(update=known_of)
    return dict(zip(runs, labels([*runs.values()], beside=("protocol", "batch")), strict=True))


def _known(first: Entry, second: Entry) -> Entry:
    """Return the entry that has the network's hash."""
    return first if first.network_sha256 is not None else second


def _unlike(
    first: Side, second: Side, left: Sequence[Entry], right: Sequence[Entry]
) -> Iterable[str]:
    """Explain why the networks left over have the same name on both sides but were not compared."""
    for entry in left:
        yield from _no_run_like(entry, first, second) or _another(entry, right, first, second)
    for entry in right:
        yield from _no_run_like(entry, second, first)


def _no_run_like(entry: Entry, side: Side, other: Side) -> list[str]:
    """Return a sentence if the other side has the network, with other options only."""
    network = _network_of(entry), entry.like[0]
    same = [one for one in other.entries if (_network_of(one), one.like[0]) == network]
    if not same:
        return []
    (label,), there = _names(side, [entry]), _first_of(_names(other, same), "; ")
    return [f"no run in {other.name} is like {label} in {side.name}: it has {there}"]


def _another(entry: Entry, others: Sequence[Entry], first: Side, second: Side) -> list[str]:
    """Return a sentence if one of the others has the same name and is another network."""
    other = next((one for one in others if one.like[0] == entry.like[0]), None)
    if other is None:
        return []
    if (entry.batch, entry.protocol) != (other.batch, other.protocol):
        sentence = (
            f"{entry.network} is of {entry.protocol}, batch {entry.batch} in {first.name} "
            f"and of {other.protocol}, batch {other.batch} in {second.name}"
        )
    else:
        hashes = " and ".join((one.network_sha256 or "unknown")[:12] for one in (entry, other))
        sentence = f"{entry.network} is another network in {second.name}: the prototxts differ"
        sentence += f" ({hashes})"
    return [sentence]


def _not_run(*sides: Side) -> Iterable[str]:
    """Describe the figures of sides that were not run."""
    for side in sides:
        if side.entries[0].facts:
            continue
        # A side of predictions may be for several stacks.
        reasons_of: dict[str, None] = {}
        for entry in side.entries:
            known = [one for one in (entry.ram, entry.latency) if one.kind != "unavailable"]
            what = (known[0].reason if known else "") or "figures alone"
            reasons_of[f"{side.name}: {entry.kind}: {what}"] = None
        yield from reasons_of


def _names(side: Side, entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return the names of some of a side's entries, each distinct from all others there."""
    return tuple(side.labels[entry.identity] for entry in entries)
