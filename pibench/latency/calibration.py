"""Read and write the rates of a board, and the times they were fitted on, as plain JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from pibench import devices, untrusted_input
from pibench.atomic_write import write_whole
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.devices import Device
    from pibench.networks.network import Network
    from pibench.records.schema import Protocol

FORMAT: Final = 2
POSSIBLE_NS: Final = (1e-6, 1e6)
"""Range for a multiply-accumulate or an access: 10^15 to 10^3 a second; a Pi 3 does 10^9."""
SHORTEST_MS: Final = 1e-6
MOST_WIDTHS: Final = 1e3
"""Largest half interval, in predicted times: a wider prediction is meaningless."""
LARGEST: Final = 1e12
"""Largest value of any other number, in any unit: 10^12 ms are 31 years."""
_DEFAULT: Final = "rpi3b.json"
_HINT: Final = "create it again: pibench calibrate --from RECORDS"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A time of a board: the forward pass of a network of the zoo, in ms.

    `at_the_edge` marks a time taken while the board was short of memory; rates are not fitted to
    it.
    """

    network: str
    latency_ms: float
    at_the_edge: bool = False


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Nanoseconds per multiply-accumulate of a whole register tile, and per element access."""

    tile_mac_ns: float
    access_ns: float


@dataclass(frozen=True, kw_only=True)
class Pressure:
    """The cost of leaving less than `onset_mib` of the board's memory.

    `ms_per_mib` is the cost of each MiB missing up to there; None where no time shows it.
    `edge_mib` is the least headroom of all timed networks; that network paid the cost. `clear_mib`
    is the least headroom above the onset; that network did not.
    """

    onset_mib: float
    ms_per_mib: float | None
    edge_mib: float
    clear_mib: float

    @property
    def paid_ms(self) -> float:
        """Return the cost for the network with the least headroom; 0 where no time shows it."""
        return (self.ms_per_mib or 0.0) * (self.onset_mib - self.edge_mib)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Rates of one board from times of one provenance.

    `provenance` is `paper` or `measured`. `half_width_share` is half the width of the 90 % interval
    as a fraction of the predicted time, from leave-one-out residuals.
    """

    device: str
    provenance: str
    source: str
    protocol: Protocol
    rates: Rates
    pressure: Pressure
    half_width_share: float
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
            InvalidInputError: The CPU differs; the calibration has no rates for it.
        """
        board = devices.load(self.device)
        if device.cpu != board.cpu:
            raise InvalidInputError(
                f"no latency is known for {device.id}: its CPU is a {device.cpu}, and the "
                f"calibration is of {board.id}'s {board.cpu}",
                hint="measure some networks there, then: pibench calibrate --from RECORDS",
            )
        return board.clock_hz / device.clock_hz


def shipped() -> Calibration:
    """Return the calibration shipped with pibench: the Raspberry Pi 3 Model B's, from the paper."""
    file = resources.files(__package__) / _DEFAULT
    return _parse(file.read_bytes(), _DEFAULT)


def read(path: Path) -> Calibration:
    """Read a calibration that `write` wrote.

    Raises:
        InvalidInputError: The file has other content.
    """
    return _parse(untrusted_input.read(path, hint=_HINT), path)


def write(calibration: Calibration, path: Path) -> None:
    """Write the calibration as JSON, atomically; raises the same errors as `write_whole`."""
    write_whole(path, dumps(calibration))


def dumps(calibration: Calibration) -> str:
    """Return the calibration as JSON text."""
    return json.dumps({"format": FORMAT, **asdict(calibration)}, indent=2) + "\n"


def _parse(text: bytes, path: Path | str) -> Calibration:
    whole = _Place(path, None, untrusted_input.json_of(text, path, None, hint=_HINT))
    if whole.member("format").value != FORMAT:
        raise _wrong(path, "format", f"is not {FORMAT}, the only known format")
    rates, pressure = whole.member("rates"), whole.member("pressure")
    price = pressure.member("ms_per_mib")
    return Calibration(
        device=whole.member("device").one_of(devices.names()),
        provenance=whole.member("provenance").one_of(("paper", "measured")),
        source=whole.member("source").text(),
        protocol=cast("Protocol", whole.member("protocol").one_of(("caffe-time", "inference"))),
        rates=Rates(**{name: rates.member(name).rate() for name in _names(Rates)}),
        pressure=Pressure(
            ms_per_mib=None if price.value is None else price.number(),
            **{
                name: pressure.member(name).number()
                for name in _names(Pressure)
                if name != "ms_per_mib"
            },
        ),
        half_width_share=whole.member("half_width_share").number(most=MOST_WIDTHS),
        observations=tuple(
            Observation(
                network=one.member("network").text(),
                latency_ms=one.member("latency_ms").time_ms(),
                at_the_edge=one.member("at_the_edge").truth(),
            )
            for one in whole.member("observations").items()
        ),
    )


def _names(kind: type[Rates | Pressure]) -> list[str]:
    return [field.name for field in fields(kind)]


def _wrong(path: Path | str, place: str | None, problem: str) -> InvalidInputError:
    return InvalidInputError.at(path, place, f"{problem}: not a latency calibration", hint=_HINT)


@dataclass(frozen=True)
class _Place:
    """A value in a calibration's file and its position there, which errors report."""

    path: Path | str
    name: str | None
    value: Any

    def member(self, name: str) -> _Place:
        place = name if self.name is None else f"{self.name}.{name}"
        if not isinstance(self.value, dict):
            raise _wrong(self.path, self.name, "is not an object")
        if name not in self.value:
            raise _wrong(self.path, place, "is missing")
        return _Place(self.path, place, self.value[name])

    def items(self) -> list[_Place]:
        if not isinstance(self.value, list):
            raise _wrong(self.path, self.name, "is not a list")
        return [
            _Place(self.path, f"{self.name}[{index}]", one) for index, one in enumerate(self.value)
        ]

    def number(self, *, most: float = LARGEST) -> float:
        known = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if not known or self.value < 0:
            raise _wrong(self.path, self.name, "is not a number of 0 or more")
        if self.value > most:
            raise _wrong(self.path, self.name, f"is above {most:g}")
        return float(self.value)

    def time_ms(self) -> float:
        found = self.number()
        if found < SHORTEST_MS:
            raise _wrong(
                self.path, self.name, f"is too short for a network's time: below {SHORTEST_MS:g} ms"
            )
        return found

    def rate(self) -> float:
        rate = self.number()
        if not POSSIBLE_NS[0] <= rate <= POSSIBLE_NS[1]:
            least, most = POSSIBLE_NS
            raise _wrong(self.path, self.name, f"is not a rate from {least:g} to {most:g} ns")
        return rate

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise _wrong(self.path, self.name, "is not text")
        return self.value

    def one_of(self, known: Sequence[str]) -> str:
        if self.text() not in known:
            raise _wrong(self.path, self.name, f"is none of {', '.join(known)}")
        return self.text()

    def truth(self) -> bool:
        if not isinstance(self.value, bool):
            raise _wrong(self.path, self.name, "is neither true nor false")
        return self.value
