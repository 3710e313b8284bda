"""Read and write the latency rates of a board, and the times they were fitted on, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from pibench import devices, file_io
from pibench.engines.base import Protocol
from pibench.errors import InvalidInputError, first_of
from pibench.file_io import write_whole

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.networks.network import Network

FORMAT: Final = 2
POSSIBLE_NS: Final = (1e-6, 1e6)
"""Range for a multiply-accumulate or an access: 10^15 to 10^3 a second; a Pi 3 does 10^9."""
SHORTEST_MS: Final = 1e-6
MOST_WIDTHS: Final = 1e3
"""Largest half interval, in predicted times: a wider prediction is meaningless."""
LARGEST: Final = 1e12
"""Largest value of any other number, in any unit: 10^12 ms are 31 years."""
_DEFAULT: Final = "rpi3b.json"
HINT: Final = "write them again: pibench calibrate --from RECORDS"

Rate = Annotated[float, Field(ge=POSSIBLE_NS[0], le=POSSIBLE_NS[1])]
Amount = Annotated[float, Field(ge=0, le=LARGEST)]


def known_device(name: str) -> str:
    """Return the id of a device; raise ValueError for another word."""
    if name not in devices.names():
        raise ValueError(f"is none of {', '.join(devices.names())}")
    return name


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A time of a board: the forward pass of a network of the zoo, in ms.

    `at_the_edge` marks a time taken while the board was short of memory; rates are not fitted to
    it.
    """

    network: str
    latency_ms: Annotated[float, Field(ge=SHORTEST_MS, le=LARGEST)]
    at_the_edge: bool = False


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Nanoseconds per multiply-accumulate of a whole register tile, and per element access."""

    tile_mac_ns: Rate
    access_ns: Rate


@dataclass(frozen=True, kw_only=True)
class Pressure:
    """The cost of leaving less than `onset_mib` of the board's memory.

    `ms_per_mib` is the cost of each MiB missing up to there; None where no time shows it.
    `edge_mib` is the least headroom of all timed networks; that network paid the cost. `clear_mib`
    is the least headroom above the onset; that network did not.
    """

    onset_mib: Amount
    ms_per_mib: Amount | None
    edge_mib: Amount
    clear_mib: Amount

    @property
    def paid_ms(self) -> float:
        """Return the cost for the network with the least headroom; 0 where no time shows it."""
        return (self.ms_per_mib or 0.0) * (self.onset_mib - self.edge_mib)


@dataclass(frozen=True, kw_only=True)
class LatencyRates:
    """Rates of one board from times of one provenance.

    `provenance` is `paper` or `measured`. `half_width_share` is half the width of the 90 % interval
    as a fraction of the predicted time, from leave-one-out residuals.
    """

    device: Annotated[str, AfterValidator(known_device)]
    provenance: Literal["paper", "measured"]
    source: str
    protocol: Protocol
    rates: Rates
    pressure: Pressure
    half_width_share: Annotated[float, Field(ge=0, le=MOST_WIDTHS)]
    observations: tuple[Observation, ...]

    @property
    def rated_on(self) -> tuple[Observation, ...]:
        """Return the times that the rates were fitted on."""
        return tuple(one for one in self.observations if not one.at_the_edge)

    def has_timed(self, network: Network) -> bool:
        """Return whether a time of this network of the zoo is among the observations."""
        return network.entry is not None and any(
            one.network == network.name for one in self.observations
        )

    def clock_ratio(self, device: Device) -> float:
        """Return the factor by which a device of the same CPU is slower; 1.0 for the board itself.

        Raises:
            InvalidInputError: The CPU differs; there are no rates for it.
        """
        board = devices.load(self.device)
        if device.cpu != board.cpu:
            raise InvalidInputError(
                f"no latency is known for {device.id}: its CPU is a {device.cpu}, the "
                f"rates are those of {board.id}'s {board.cpu}",
                hint="measure some networks there, then: pibench calibrate --from RECORDS",
            )
        return board.clock_hz / device.clock_hz


@cache
def shipped() -> LatencyRates:
    """Return the rates shipped with pibench: the Raspberry Pi 3 Model B's, from the paper."""
    found = json.loads((resources.files(__package__) / _DEFAULT).read_bytes())
    del found["format"]
    # Not by `parse`: to build its validator takes longer than a prediction; the file is our own.
    found["rates"], found["pressure"] = Rates(**found["rates"]), Pressure(**found["pressure"])
    found["observations"] = tuple(Observation(**one) for one in found["observations"])
    return LatencyRates(**found)


def write(rates: LatencyRates, path: Path) -> None:
    """Write the rates as JSON, atomically; raises the same errors as `write_whole`."""
    write_whole(path, dumps(rates))


def dumps(rates: LatencyRates) -> str:
    """Return the rates as JSON text."""
    return json.dumps({"format": FORMAT, **asdict(rates)}, indent=2) + "\n"


def parse(text: bytes, path: Path | str) -> LatencyRates:
    """Return the rates in this text of a file. Raises InvalidInputError."""
    whole = file_io.json_of(text, path, None, hint=HINT)
    if not isinstance(whole, dict) or "format" not in whole:
        raise InvalidInputError.at(path, None, "is not latency rates", hint=HINT)
    if whole["format"] != FORMAT:
        raise InvalidInputError.at(path, "format", f"is not {FORMAT}", hint=HINT)
    try:
        # JSON of finite numbers is strict input: no text becomes a number.
        return TypeAdapter(LatencyRates).validate_json(json.dumps(whole), strict=True)
    except ValidationError as error:
        raise InvalidInputError.at(path, first_of(error), "no latency rates", hint=HINT) from None
