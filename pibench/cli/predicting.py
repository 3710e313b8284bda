"""`pibench predict` and `pibench calibrate`: load networks, predict times, print them."""

from __future__ import annotations

import gc
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pibench import devices
from pibench.atomic_write import write_whole
from pibench.cli.loading import load_all
from pibench.cli.streams import ignore_broken_pipe, say
from pibench.errors import InvalidInputError
from pibench.latency import rates as latency_rates
from pibench.latency.model import Prediction, predict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.counting.counts import NetworkCounts
    from pibench.devices import Device
    from pibench.latency.rates import LatencyRates
    from pibench.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The options of `pibench predict` from the command line."""

    device: str | None = None
    calibration: Path | None = None
    batch: int | None = None
    size: str | None = None
    repair: bool = False
    per_layer: bool = False
    counted: bool = False
    plot: Path | None = None
    quiet: bool = False
    as_json: bool = False


def predict_networks(specs: Sequence[str], wishes: Wishes) -> None:
    """Predict all networks. Raises InvalidInputError if none is given, or one is invalid."""
    if not specs:
        raise InvalidInputError(
            "no network was given", hint="name some, or see the errors: pibench predict --validate"
        )
    # Garbage collection takes a third of the time for tens of thousands of acyclic blobs and steps.
    gc.set_threshold(1_000_000)
    calibration = _calibration(wishes)
    device = devices.load(wishes.device or calibration.device)
    loaded = load_all(specs, batch=wishes.batch, size=wishes.size, repair=wishes.repair)
    counts = (
        _counts(loaded, device, calibration, wishes) if wishes.counted else [None] * len(loaded)
    )
    predictions = [
        predict(network, device, calibration, found)
        for network, found in zip(loaded, counts, strict=True)
    ]
    if wishes.plot is not None:
        from pibench.report.plots import roofline

        _write_plot(wishes.plot, roofline(predictions, device, calibration))
    with ignore_broken_pipe():
        if wishes.as_json:
            answers = [
                _answer(one, network, calibration, counted=wishes.counted)
                for one, network in zip(predictions, loaded, strict=True)
            ]
            print(json.dumps(answers, indent=2))
        else:
            _print(
                predictions,
                loaded,
                calibration,
                per_layer=wishes.per_layer,
                counted=wishes.counted,
            )


def validate_calibration(specs: Sequence[str], wishes: Wishes) -> None:
    """Print the leave-one-out prediction error of each network in the calibration.

    Raises:
        InvalidInputError: for options that do not apply to this.
    """
    from pibench.latency.validation import validate

    _refuse_with_validate(specs, wishes)
    calibration = _calibration(wishes)
    if wishes.device is not None and devices.load(wishes.device).id != calibration.device:
        raise InvalidInputError(
            f"--validate compares with times of {calibration.device}, none of {wishes.device}",
            hint="leave --device out, or give that board's --calibration",
        )
    found = validate(calibration)
    if wishes.plot is not None:
        from pibench.report.plots import predicted_against_board

        _write_plot(wishes.plot, predicted_against_board(found))
    with ignore_broken_pipe():
        if wishes.as_json:
            print(json.dumps(asdict(found), indent=2))
            return
        from pibench.report.predicted import validation_lines, validation_table
        from pibench.report.terminal import console, printable

        out = console()
        out.print(validation_table(found))
        for line in validation_lines(found, calibration):
            out.print(printable(line))


def _refuse_with_validate(specs: Sequence[str], wishes: Wishes) -> None:
    if specs:
        raise InvalidInputError(
            f"--validate takes no networks, and {len(specs)} were given",
            hint="it leaves out each network of the calibration in turn",
        )
    asked = {
        "--counted": (wishes.counted, "goes by layer shapes, not by counts"),
        "--per-layer": (wishes.per_layer, "compares whole networks: no layer's time is known"),
        "--batch": (wishes.batch is not None, "has times of one batch alone"),
        "--input": (wishes.size is not None, "has times of one image size alone"),
        "--repair": (wishes.repair, "takes the networks of the zoo as they are"),
    }
    for option, (given, reason) in asked.items():
        if given:
            raise InvalidInputError(f"--validate {reason}", hint=f"leave {option} out")


def calibrate_from(path: Path, out: Path) -> None:
    """Fit rates to a board's own records and write them."""
    from pibench.atomic_write import is_standard_output, keep_inputs
    from pibench.latency.records import calibrate
    from pibench.records.store import RecordStore
    from pibench.report.plain import one_line

    keep_inputs([out], [path])
    calibrated, left_out = calibrate(RecordStore(path).read(), path)
    for sentence in left_out:
        say(sentence)
    latency_rates.write(calibrated, out)
    rates = calibrated.rates
    line = (
        f"written: {out}: {calibrated.device}, {calibrated.protocol}, "
        f"{len(calibrated.observations)} networks, {rates.tile_mac_ns:.3f} ns per "
        f"multiply-accumulate, {rates.access_ns:.3f} ns per element access"
    )
    if is_standard_output(out):
        say(line)
        return
    with ignore_broken_pipe():
        print(one_line(line))


def _calibration(wishes: Wishes) -> LatencyRates:
    if wishes.calibration is None:
        return latency_rates.shipped()
    return latency_rates.read(wishes.calibration)


def _counts(
    loaded: Sequence[Network], device: Device, calibration: LatencyRates, wishes: Wishes
) -> Sequence[NetworkCounts | None]:
    """Count the instructions of each network with real Caffe: minutes in QEMU unless cached."""
    from pibench.counting.run import Counter
    from pibench.images.build import Builder

    counter = Counter(device, Builder((lambda _: None) if wishes.quiet else say))
    return [counter.count(network, calibration.protocol) for network in loaded]


def _write_plot(path: Path, picture: str) -> None:
    if path.suffix.lower() != ".svg":
        raise InvalidInputError(
            f"--plot {path}: pictures are written as SVG", hint="end the name in .svg"
        )
    write_whole(path, picture)


def _answer(
    prediction: Prediction, network: Network, calibration: LatencyRates, *, counted: bool
) -> dict[str, Any]:
    """Return a prediction as JSON: times in ms, sizes in bytes, and the source of the rates."""
    from pibench.report.predicted import how_known

    return {
        "network": prediction.network,
        "network_sha256": network.sha256,
        "network_source": network.recorded_source,
        "batch": network.batch_under(calibration.protocol),
        "device": prediction.device,
        "protocol": calibration.protocol,
        "latency_ms": prediction.latency_ms,
        "low_ms": prediction.low_ms,
        "high_ms": prediction.high_ms,
        "pressure_ms": prediction.pressure_ms,
        "headroom_bytes": prediction.headroom_bytes,
        "fits": prediction.fits,
        "layers": [
            {
                "name": layer.work.name,
                "type": layer.work.type,
                "latency_ms": layer.latency_ms,
                "macs": layer.work.macs,
                "moved_bytes": layer.work.moved_bytes,
            }
            for layer in prediction.layers
        ],
        "provenance": {
            "kind": "predicted",
            "reason": f"rates of {calibration.device} fitted on {calibration.source} "
            f"({calibration.provenance}); {how_known(counted=counted)}",
        },
    }


def _print(
    predictions: Sequence[Prediction],
    loaded: Sequence[Network],
    calibration: LatencyRates,
    *,
    per_layer: bool,
    counted: bool,
) -> None:
    from pibench.records.identity import network_labels
    from pibench.report.predicted import footnotes, layer_table, prediction_table
    from pibench.report.terminal import console, printable

    out = console()
    names = network_labels(loaded)
    out.print(prediction_table(predictions, names))
    if per_layer:
        for name, one in zip(names, predictions, strict=True):
            out.print()
            out.print(printable(name))
            out.print(layer_table(one))
    for line in footnotes(predictions, calibration, counted=counted):
        out.print(printable(line))
