"""The rates of a board, and what they were fitted on: plain JSON, read and written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench import devices
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.records.schema import Protocol

FORMAT: Final = 1
_DEFAULT: Final = "rpi3b.json"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A time of a board: the forward pass of a network of the zoo, in ms.

    `at_the_edge` says that the board was short of memory, so that it tells nothing of rates.
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
    """What a network pays where less than `onset_share` of the board's memory is left over.

    `ms_per_mib` for each MiB that is missing up to there; None where no time tells it.
    """

    onset_share: float
    ms_per_mib: float | None


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Rates of one board from times of one provenance.

    `provenance` is `paper` or `measured`. `half_width_share` is half the width of the 90 %
    interval as a share of the predicted time, from the residuals of networks left out.
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
        """The times that the rates were fitted on."""
        return tuple(one for one in self.observations if not one.at_the_edge)

    def clock_ratio(self, device: Device) -> float:
        """By how much a device of the same CPU takes longer; 1.0 for the board itself.

        Raises InvalidInputError for another CPU, about which this says nothing.
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
    """The calibration that comes with pibench: the Raspberry Pi 3 Model B's, from the paper."""
    file = resources.files(__package__) / _DEFAULT
    return _parse(file.read_text(encoding="utf-8"), _DEFAULT)


def read(path: Path) -> Calibration:
    """A calibration that `write` wrote. Raises InvalidInputError for anything else."""
    try:
        return _parse(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError.at(
            path, None, f"cannot be read ({error})", hint="write one: pibench calibrate"
        ) from None


def write(calibration: Calibration, path: Path) -> None:
    """Write it as JSON. Raises InvalidInputError where that cannot be."""
    try:
        path.write_text(dumps(calibration), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError.at(
            path, None, f"cannot be written ({error.strerror})", hint="name another file"
        ) from None


def dumps(calibration: Calibration) -> str:
    """The JSON text."""
    return json.dumps({"format": FORMAT, **asdict(calibration)}, indent=2) + "\n"


def _parse(text: str, path: Path | str) -> Calibration:
    try:
        data: dict[str, Any] = json.loads(text)
        if data.pop("format") != FORMAT:
            raise ValueError("another format")
        return Calibration(
            **{
                **data,
                "rates": Rates(**data["rates"]),
                "pressure": Pressure(**data["pressure"]),
                "observations": tuple(Observation(**one) for one in data["observations"]),
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError.at(
            path, None, f"no calibration of latency ({error})", hint="write one: pibench calibrate"
        ) from None
