"""Narrow a stack to one board by its own times: a factor on products, and one on accesses.

The stack says what a layer takes on a board of its kind; the factors, by how much this board's
products and its other work (loops, and waiting for memory) take longer. A power stays a figure
apart. They are fitted by least squares on the logarithms of errors, in which a time far from all
others counts less (Cauchy's weights).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import log, sqrt
from statistics import mean, median
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from pibench import file_io
from pibench.engines.base import Protocol
from pibench.errors import InvalidInputError, extra, first_of
from pibench.file_io import write_whole
from pibench.latency import rates, stacks, work
from pibench.latency.analytic import Configuration, Data, Parts
from pibench.latency.rates import LARGEST, LatencyRates, Observation, known_device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pibench.networks.network import Network

FORMAT: Final = 1
POSSIBLE: Final = (0.05, 20.0)
"""Range for a factor; beyond it, the times are of another stack, or of other networks."""
LEAST_FOR_INTERVAL: Final = 4
"""The fewest times whose errors, each left out, give an interval; else it is the stack's own."""
_COVERED: Final = 0.95
LEAST_FOR_TWO: Final = 3
"""The fewest times for two factors: two of them would be met exactly, whatever they are."""
_CAUCHY: Final = 2.385
"""The deviations at which an error counts half: 95 % efficient for normal errors."""
_LEAST_DEVIATION: Final = 0.01
_ROUNDS: Final = 100
_CONVERGED: Final = 1e-9
_DETERMINED: Final = 0.02
"""The least share of the second singular value that tells two factors apart."""

Factor = Annotated[float, Field(ge=POSSIBLE[0], le=POSSIBLE[1])]


def _known_stack(name: str) -> str:
    if name not in stacks.names():
        raise ValueError(f"is none of {', '.join(stacks.names())}")
    return name


@dataclass(frozen=True, kw_only=True)
class StackFactors:
    """What a board's own times make of a stack.

    `both` is false where one factor stands for both: there are too few times, or they do not tell
    them apart. `half_width_log` is half of a 90 % interval, of the logarithm of a time, from
    times that were each left out; None for too few. `left_out_pct` has their errors.
    """

    device: Annotated[str, AfterValidator(known_device)]
    stack: Annotated[str, AfterValidator(_known_stack)]
    threads: Annotated[int, Field(ge=1, le=64)]
    protocol: Protocol
    data: Data
    provenance: Literal["measured"]
    source: str
    products: Factor
    accesses: Factor
    both: bool
    half_width_log: Annotated[float, Field(ge=0, le=10)] | None
    left_out_pct: tuple[Annotated[float, Field(ge=-100, le=LARGEST)], ...]
    observations: tuple[Observation, ...]

    def __str__(self) -> str:
        what = f"products x {self.products:.3f} and accesses x {self.accesses:.3f}"
        if not self.both:
            what = f"all x {self.products:.3f}"
        return f"{what}, fitted on {self.source} ({self.provenance})"


def fit(
    times_ms: Mapping[str, float],
    loaded: Mapping[str, Network],
    configuration: Configuration,
    protocol: Protocol,
    source: str,
) -> StackFactors:
    """Fit the factors to times of a board that were measured away from the edge of its memory.

    `times_ms` and `loaded` are by network; `source` is where the times come from, in words.

    Raises:
        InvalidInputError: The stack is not known for the board, or it is not that of the times.
    """
    names = [*times_ms]
    parts = [_parts(loaded[name], configuration, protocol) for name in names]
    times = [times_ms[name] for name in names]
    products, accesses, both = _fitted(parts, times)
    left_out = [
        _predicted(part, *_fitted(_without(parts, index), _without(times, index))[:2]) / time_ms
        for index, (part, time_ms) in enumerate(zip(parts, times, strict=True))
        if len(times) > 1
    ]
    return StackFactors(
        device=configuration.device.id,
        stack=configuration.stack.id,
        threads=configuration.threads,
        protocol=protocol,
        data=configuration.data,
        provenance="measured",
        source=source,
        products=products,
        accesses=accesses,
        both=both,
        half_width_log=_half_width(left_out) if len(times) >= LEAST_FOR_INTERVAL else None,
        left_out_pct=tuple(100 * (ratio - 1) for ratio in left_out),
        observations=tuple(Observation(network=name, latency_ms=times_ms[name]) for name in names),
    )


def _parts(network: Network, configuration: Configuration, protocol: Protocol) -> Parts:
    of_layers = map(configuration.parts, work.count(network, protocol))
    return Parts(*map(sum, zip(*of_layers, strict=True)))


def _predicted(parts: Parts, products: float, accesses: float) -> float:
    return products * parts.products + accesses * (parts.memory + parts.loops) + parts.powers


def _without(values: Sequence[Any], index: int) -> list[Any]:
    return [*values[:index], *values[index + 1 :]]


def _fitted(parts: Sequence[Parts], times: Sequence[float]) -> tuple[float, float, bool]:
    """Return the factors on products and on accesses, and whether they are two.

    Raises:
        InvalidInputError: The times are not of this stack.
    """
    if len(times) >= LEAST_FOR_TWO:
        two = _solved(parts, times, together=False)
        if two is not None:
            return (*two, True)
    one = _solved(parts, times, together=True)
    if one is None:
        raise InvalidInputError(
            f"no factor from {POSSIBLE[0]:g} to {POSSIBLE[1]:g} makes these times of the stack",
            hint="give the stack that the board runs: --stack NAME",
        )
    return (*one, False)


def _solved(
    parts: Sequence[Parts], times: Sequence[float], *, together: bool
) -> tuple[float, float] | None:
    """Return the factors by Gauss-Newton steps on their logarithms; None if there are none."""
    with extra("calibrate"):
        import numpy as np  # noqa: PLC0415  (predicting does without it)

    work_ms = np.array([[one.products, one.memory + one.loops] for one in parts])
    apart = np.array([one.powers for one in parts])
    wanted = np.log(times)
    # From where half of the times are shorter, half longer: far from it one time may lead astray.
    start = float(np.median(wanted - np.log(work_ms.sum(axis=1) + apart)))
    logs = np.full(1 if together else 2, start)
    for _ in range(_ROUNDS):
        of_kinds = work_ms * np.exp(logs)
        total = of_kinds.sum(axis=1) + apart
        errors = wanted - np.log(total)
        slopes = of_kinds / total[:, None]
        if together:
            slopes = slopes.sum(axis=1, keepdims=True)
        deviation = max(_LEAST_DEVIATION, median(np.abs(errors)) / 0.6745)
        # The square root: both sides of the equation are multiplied by it.
        weights = 1 / np.sqrt(1 + (errors / (_CAUCHY * deviation)) ** 2)
        step, _, _, singular = np.linalg.lstsq(slopes * weights[:, None], errors * weights)
        if singular[-1] < _DETERMINED * singular[0]:
            return None
        # No more than twice as much in a round: far from the answer slopes mislead.
        step = np.clip(step, -0.7, 0.7)
        logs = logs + step
        if np.abs(step).max() < _CONVERGED:
            break
    products, accesses = float(np.exp(logs[0])), float(np.exp(logs[-1]))
    possible = all(POSSIBLE[0] <= one <= POSSIBLE[1] for one in (products, accesses))
    return (products, accesses) if possible else None


def _half_width(ratios: Sequence[float]) -> float:
    """Return half a 90 % interval: Student's t times the root mean square of log errors."""
    with extra("calibrate"):
        from scipy.special import stdtrit  # noqa: PLC0415  (predicting does without it)

    squares = mean(log(ratio) ** 2 for ratio in ratios)
    return float(stdtrit(len(ratios) - 1, _COVERED)) * sqrt(squares)


def read(path: Path) -> LatencyRates | StackFactors:
    """Read what `calibrate` wrote: rates, or factors of a stack.

    Raises:
        InvalidInputError: The file has other content.
    """
    text = file_io.read_input(path, hint=rates.HINT)
    whole = file_io.json_of(text, path, None, hint=rates.HINT)
    if not isinstance(whole, dict) or "factors_format" not in whole:
        return rates.parse(text, path)
    if whole["factors_format"] != FORMAT:
        raise InvalidInputError.at(path, "factors_format", f"is not {FORMAT}", hint=rates.HINT)
    try:
        return TypeAdapter(StackFactors).validate_json(json.dumps(whole), strict=True)
    except ValidationError as error:
        raise InvalidInputError.at(
            path, first_of(error), "no factors of a stack", hint=rates.HINT
        ) from None


def write(factors: StackFactors, path: Path) -> None:
    """Write the factors as JSON, atomically; raises the same errors as `write_whole`."""
    write_whole(path, json.dumps({"factors_format": FORMAT, **asdict(factors)}, indent=2) + "\n")
