"""Fit rates to the times of a board, given or in records.

Non-negative least squares on relative errors: every network has equal weight, whether it takes
0.7 s or 16, since each row of the problem is divided by its time. Networks at the edge of memory
are excluded; their time beyond the time of their work gives the price of that edge.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from math import fsum, sqrt
from operator import mul
from statistics import mean, median
from typing import TYPE_CHECKING, Final, Literal

from pibench import devices, networks
from pibench.errors import InvalidInputError, UnknownNetworkError, extra
from pibench.latency import factors, model, pressure, stacks, work
from pibench.latency.analytic import Configuration
from pibench.latency.as_run import is_known_for, stack_of, threads_of
from pibench.latency.model import UNKNOWN
from pibench.latency.rates import (
    POSSIBLE_NS,
    SHORTEST_MS,
    LatencyRates,
    Observation,
    Pressure,
    Rates,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pibench.devices import Device
    from pibench.engines.base import Protocol
    from pibench.latency.factors import StackFactors
    from pibench.networks.network import Network
    from pibench.records.schema import Record

LEAST_NETWORKS: Final = 4
"""Two rates, one network left out, and one more to estimate an error."""
_COVERED: Final = 0.95
"""Quantile of Student's t on either side of a 90 % interval."""
_PROPORTIONAL: Final = 1e-12
"""Of the squared sine between two columns of counts: what rounding leaves of 0, and more."""
_BOARDS: Final = ("aarch64", "armv7l", "armv6l")


@dataclass(frozen=True, kw_only=True)
class Counted:
    """One observed network: its work in the model's two kinds, and the MiB it leaves."""

    observation: Observation
    network: Network
    device: Device
    protocol: Protocol
    tile_macs: int
    accesses: float
    macs: int

    @cached_property
    def headroom_mib(self) -> float:
        """Return the MiB that the network leaves, as planned."""
        return pressure.headroom_bytes(self.network, self.device, self.protocol) / devices.MIB

    @property
    def short_mib(self) -> float:
        """Return the MiB by which its headroom is below the onset of the edge."""
        return pressure.short_mib(self.headroom_mib)

    def predicted_ms(self, rates: Rates) -> float:
        """Return the time of the work only."""
        return (rates.tile_mac_ns * self.tile_macs + rates.access_ns * self.accesses) / 1e6


def count_all(
    observed: Sequence[Observation],
    device: Device,
    protocol: Protocol,
    loaded: Mapping[str, Network] | None = None,
) -> list[Counted]:
    """Count the work of each observed network of the zoo, those in `loaded` without reading them.

    Raises:
        UnknownNetworkError: A network is not in the zoo.
    """
    counted = []
    for observation in observed:
        network = (loaded or {}).get(observation.network) or networks.load(observation.network)
        done = work.count(network, protocol)
        counted.append(
            Counted(
                observation=observation,
                network=network,
                device=device,
                protocol=protocol,
                tile_macs=sum(one.tile_macs for one in done),
                accesses=sum(model.all_accesses(one) for one in done),
                macs=sum(one.macs for one in done),
            )
        )
    return counted


def fit_rates(counted: Sequence[Counted]) -> Rates:
    """Return the two nonnegative rates that explain the times of `counted` best."""
    times_ns = _times_ns(counted)
    tile_macs = _per_time([one.tile_macs for one in counted], times_ns)
    accesses = _per_time([one.accesses for one in counted], times_ns)
    tile_mac_ns, access_ns = _nonnegative(tile_macs, accesses)
    return Rates(tile_mac_ns=tile_mac_ns, access_ns=access_ns)


def fit_macs_alone(counted: Sequence[Counted]) -> float:
    """Return nanoseconds per multiply-accumulate for the naive model, which ignores other work."""
    return _alone(_per_time([one.macs for one in counted], _times_ns(counted)))


def _times_ns(counted: Sequence[Counted]) -> list[float]:
    return [1e6 * one.observation.latency_ms for one in counted]


def _per_time(counts: Sequence[float], times_ns: Sequence[float]) -> list[float]:
    """Return counts per ns: errors are relative, so that times the rates each should come to 1."""
    return [count / time_ns for count, time_ns in zip(counts, times_ns, strict=True)]


def _alone(counts: Sequence[float]) -> float:
    """Return the rate which, times the counts, comes nearest to 1 in least squares."""
    squares = fsum(count**2 for count in counts)
    return fsum(counts) / squares if squares else 0.0


def _nonnegative(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return the two nonnegative rates whose sum of products comes nearest to 1 in least squares.

    By the normal equations, or one rate alone where these give the other below 0. Counts are at
    least 0, so that a rate alone is too.
    """
    a, b = (fsum(count**2 for count in counts) for counts in (first, second))
    mixed = fsum(map(mul, first, second))
    determinant = a * b - mixed**2
    # Proportional counts: either rate alone explains as much as both.
    if determinant > _PROPORTIONAL * a * b:
        sums = fsum(first), fsum(second)
        found = (
            (b * sums[0] - mixed * sums[1]) / determinant,
            (a * sums[1] - mixed * sums[0]) / determinant,
        )
        if min(found) >= 0:
            return found
    return min(
        ((_alone(first), 0.0), (0.0, _alone(second))),
        key=lambda rates: fsum(
            (rates[0] * one + rates[1] * other - 1) ** 2
            for one, other in zip(first, second, strict=True)
        ),
    )


def left_out_ms(counted: Sequence[Counted]) -> list[float]:
    """Return the time of each network by rates fitted on all the others."""
    return [
        one.predicted_ms(fit_rates([other for other in counted if other is not one]))
        for one in counted
    ]


def calibrate(
    observed: Sequence[Observation],
    *,
    device: Device,
    protocol: Protocol,
    provenance: Literal["paper", "measured"],
    source: str,
) -> LatencyRates:
    """Fit the rates of `device` to times of one provenance.

    Args:
        observed: The times.
        device: The board that the times are from.
        protocol: The protocol of the times.
        provenance: `paper` or `measured`.
        source: Where the times come from, in words.

    Raises:
        InvalidInputError: Fewer than LEAST_NETWORKS networks are away from the edge of memory, or
            the times determine no rate.
    """
    counted = count_all(observed, device, protocol)
    free = [one for one in counted if not one.short_mib]
    if len(free) < LEAST_NETWORKS:
        raise InvalidInputError(
            f"{len(free)} networks with spare memory have times; a fit needs {LEAST_NETWORKS}",
            hint="measure more of the zoo: pibench run --target native --compute real --out FILE",
        )
    rates = fit_rates(free)
    least, most = POSSIBLE_NS
    for what, rate in (("multiply-accumulates", rates.tile_mac_ns), ("accesses", rates.access_ns)):
        if not least <= rate <= most:
            raise InvalidInputError(
                f"the times determine no rate of {what}: {rate:g} ns each would fit them best",
                hint="measure more networks, of other kinds too",
            )
    return LatencyRates(
        device=device.id,
        provenance=provenance,
        source=source,
        protocol=protocol,
        rates=rates,
        pressure=_pressure(counted, rates),
        half_width_share=_half_width_share(free),
        observations=tuple(
            Observation(
                network=one.observation.network,
                latency_ms=one.observation.latency_ms,
                at_the_edge=bool(one.short_mib),
            )
            for one in counted
        ),
    )


def _pressure(counted: Sequence[Counted], rates: Rates) -> Pressure:
    """Return the excess time of networks at the edge per MiB that they were short of."""
    onset = pressure.ONSET_MIB
    short = [one for one in counted if one.short_mib]
    prices = [
        max(0.0, one.observation.latency_ms - one.predicted_ms(rates)) / one.short_mib
        for one in short
    ]
    clear = [one.headroom_mib for one in counted if one.headroom_mib >= onset]
    return Pressure(
        onset_mib=onset,
        ms_per_mib=mean(prices) if prices else None,
        edge_mib=min((one.headroom_mib for one in short), default=onset),
        clear_mib=min(clear, default=onset),
    )


def _half_width_share(counted: Sequence[Counted]) -> float:
    """Return half a 90 % interval: Student's t times the root mean square of relative errors."""
    with extra("calibrate"):
        from scipy.special import stdtrit  # noqa: PLC0415  (predicting does without it)

    errors = [
        predicted / one.observation.latency_ms - 1
        for one, predicted in zip(counted, left_out_ms(counted), strict=True)
    ]
    degrees = len(errors) - 1
    return float(stdtrit(degrees, _COVERED)) * sqrt(mean(error**2 for error in errors))


def calibrate_from(
    records: Sequence[Record], path: Path, stack: str | None = None
) -> tuple[LatencyRates | StackFactors, list[str]]:
    """Fit what records tell of the board that made them: factors of its stack, or two rates.

    Of a network that was timed more than once the median counts.

    Args:
        records: The records.
        path: Their file, for errors.
        stack: The stack that the board runs; None is the one that the records name, and rates where
            that is not known for the board; `paper` is rates.

    Returns:
        The factors or rates, and a sentence for each excluded record.

    Raises:
        InvalidInputError: The records are of several boards, protocols or stacks, or too few are
            usable.
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
    times: dict[str, list[float]] = defaultdict(list)
    for record in usable:
        times[record.network].append(record.latency_ms or 0.0)
    medians = {network: median(found) for network, found in times.items()}
    device = devices.load(_one(path, "devices", (record.device for record in usable)))
    found = _one(path, "protocols", (record.protocol for record in usable))
    protocol: Protocol = "inference" if found == "inference" else "caffe-time"
    source = f"{len(usable)} record{'' if len(usable) == 1 else 's'} of {name}"
    known = stack or _one(path, "stacks", (stack_of(record) or UNKNOWN for record in usable))
    if known not in (UNKNOWN, "paper") and (stack or is_known_for(known, device)):
        threads = _one(path, "numbers of threads", (str(threads_of(one)) for one in usable))
        configuration = Configuration(
            stack=stacks.load(known),
            device=device,
            threads=int(threads),
            data="zeros" if protocol == "caffe-time" else "images",
        )
        away = _away_from_the_edge(medians, device, protocol)
        free = {one.observation.network: one for one in away}
        for network in medians.keys() - free.keys():
            notes.append(f"{network} left out: its time contains what the edge of memory costs")
        if not free:
            raise InvalidInputError.at(
                path, None, "every time contains what the edge of memory costs",
                hint="measure smaller networks",
            )  # fmt: skip
        loaded = {name: one.network for name, one in free.items()}
        return factors.fit(
            {name: medians[name] for name in free}, loaded, configuration, protocol, source
        ), notes
    calibrated = calibrate(
        [Observation(network=name, latency_ms=time_ms) for name, time_ms in medians.items()],
        device=device,
        protocol=protocol,
        provenance="measured",
        source=source,
    )
    return calibrated, notes


def _away_from_the_edge(
    times: Mapping[str, float], device: Device, protocol: Protocol
) -> list[Counted]:
    observed = [Observation(network=name, latency_ms=ms) for name, ms in times.items()]
    return [one for one in count_all(observed, device, protocol) if not one.short_mib]


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
