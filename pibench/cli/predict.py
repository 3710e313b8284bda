"""`pibench predict`, `calibrate` and `count`: the time and the work of a forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pibench import devices
from pibench.cli import options as opt
from pibench.cli.check import time_answer
from pibench.cli.count import counts_of, print_tables
from pibench.cli.output import print_json, print_line, say, write_svg
from pibench.errors import ExitCode, InvalidInputError
from pibench.latency import stacks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pibench.devices import Device
    from pibench.engines.base import Protocol
    from pibench.judgements import TimeJudgement
    from pibench.latency.analytic import Data
    from pibench.latency.factors import StackFactors
    from pibench.latency.model import Prediction
    from pibench.latency.rates import LatencyRates
    from pibench.networks.network import Network


def predict(
    context: typer.Context,
    specs: opt.SpecsOrNone = None,
    device: str | None = opt.value(
        f"The device to predict for: {', '.join(devices.names())}. "
        "Default: the calibration's, rpi3b.",
        metavar="NAME",
        **opt.variable("device"),
    ),
    calibration: Path | None = opt.value(
        "What `calibrate` wrote of a board: factors of its stack, or rates in place of one."
    ),
    stack: str | None = opt.value(
        f"The software on the board: {', '.join(stacks.names())}; `unknown` for the range of all "
        "of the device's core, `paper` for rates fitted on the paper's times. Default: the one of "
        f"pibench's images on that core, such as {stacks.DEFAULT}.",
        metavar="NAME",
    ),
    threads: opt.Threads = None,
    clock: Annotated[
        float | None,
        opt.number("--clock", "MHZ", "The cores' clock. Default: the device's.", 100, 10_000),
    ] = None,
    protocol: opt.EngineProtocol = None,
    data: Literal["zeros", "images"] | None = opt.value(
        "What the input holds, on which LRN's power depends. Default: zeros under caffe-time, "
        "which feeds them, else images.",
        metavar="KIND",
    ),
    batch: opt.Batch = None,
    input_size: opt.ImageSize = None,
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
    shape: opt.PythonShapes = None,
    reserve: opt.Reserve = 0,
    max_ms: opt.MaxMs = None,
    out: opt.CasesOut = None,
    per_layer: bool = opt.switch("--per-layer", "Show each layer's time too."),
    counted: bool = opt.switch("--counted", "Use counts (pibench count) instead of layer shapes."),
    validate: bool = opt.switch("--validate", "Predict each known network from the others only."),
    plot: Path | None = opt.value(
        "Write an SVG: a roofline; with --validate, predicted against measured."
    ),
    quiet: opt.Quiet = False,
    as_json: opt.AsJson = False,
) -> None:
    """Predict the time of a forward pass on the board, without running the network.

    Exit codes with --max-ms: 0 all are within it, 1 one is over, 4 one is borderline.

    Example: pibench predict MobileNet my/deploy.prototxt --per-layer
    """
    import gc

    # A time does not depend on them.
    specs, weights = opt.with_weights(specs or (), None)

    rates, narrowed = _read(calibration)
    settings = opt.settings_of(context)
    # A calibration is of a board.
    of_board = calibration is not None or validate
    device = None if of_board and "device" in settings else device
    if narrowed is not None:
        _keep_to_factors(narrowed, stack=stack, counted=counted, validate=validate, plot=plot)
    if validate:
        _refuse_with_validate({name: one for name, one in locals().items() if name not in settings})
        _validate(rates, device, plot, as_json=as_json)
        return
    if not specs:
        raise InvalidInputError(
            "no network was given", hint="name some, or see the errors: pibench predict --validate"
        )
    from pibench.latency.model import predict as predict_network
    from pibench.records.identity import network_labels

    # Garbage collection takes a third of the time for tens of thousands of acyclic blobs and steps.
    gc.disable()
    _check_gate(max_ms, out, specs)
    profile = _profile(device or (narrowed or rates).device, reserve, clock)
    fitted = narrowed is None and _fitted(calibration, stack, counted=counted)
    # Fitted rates are of one protocol.
    protocol = None if fitted and "protocol" in settings else protocol
    protocol = opt.protocol_of(protocol, None if fitted else weights)
    how = {"threads": threads, "data": data, "protocol": protocol}
    predict_one = _predictor(
        profile, rates, None if fitted else stack or stacks.default_of(profile.cpu), narrowed, how
    )
    options = opt.run_options(
        {
            "batch": batch,
            "input_size": input_size,
            "repair": repair,
            "repair_as_paper": repair_as_paper,
            "protocol": protocol,
        }
    )
    predicted, refused = opt.answer_each(
        specs,
        options,
        predict_one,
        go_on=bool(out) or len(specs) > 1,
        check=False,
        shape=shape,
    )
    loaded = [network for network, _ in predicted]
    predictions = [prediction for _, prediction in predicted]
    if counted:
        protocols = [one.protocol for one in predictions]
        counts = counts_of(loaded, protocols, profile, quiet=quiet)
        predictions = [
            predict_network(network, profile, rates, found)
            for network, found in zip(loaded, counts, strict=True)
        ]
    names = network_labels(loaded)
    judged = _judged(predictions, max_ms)
    if out and max_ms is not None:
        _write(out, max_ms, profile, list(zip(names, judged, strict=True)), refused)
    if plot is not None and predictions:
        from pibench.report.plots import roofline

        write_svg(plot, roofline(predictions, profile, rates))
    if as_json:
        found = zip(predictions, loaded, judged, strict=True)
        print_json([_answer(*one, rates, counted=counted) for one in found])
    elif predictions:
        from pibench.report.estimates import footnotes, layer_table, prediction_table

        layers = zip(names, map(layer_table, predictions), strict=True) if per_layer else ()
        notes = footnotes(predictions, rates, counted=counted)
        notes += [
            f"{name}: {one}." for name, one in zip(names, judged, strict=True) if one is not None
        ]
        print_tables(prediction_table(predictions, names), layers, notes)
    for error in refused.values():
        say(error.line())
    raise typer.Exit(_exit_code(judged, refused))


def _profile(device: str, reserve_mib: float, clock_mhz: float | None) -> Device:
    from dataclasses import replace

    profile = devices.load(device).with_reserve(reserve_mib)
    return profile if clock_mhz is None else replace(profile, clock_hz=round(1e6 * clock_mhz))


def _predictor(
    device: Device,
    rates: LatencyRates,
    stack: str | None,
    factors: StackFactors | None,
    how: dict[str, Any],
) -> Callable[[Network], Prediction]:
    """Return what predicts a network: the stack, or for None the fitted rates."""
    from functools import partial

    from pibench.latency.model import predict as predict_network
    from pibench.latency.model import predictor

    if stack is None:
        _keep_to_rates(**how)
        return partial(predict_network, device=device, calibration=rates)
    return predictor(device, stack, rates.pressure, factors=factors, **how)


def _check_gate(max_ms: float | None, out: Sequence[Path] | None, specs: Sequence[str]) -> None:
    """Check a time limit, and the files for its cases, before anything is predicted."""
    from pibench.judgements import check_time_limit

    if max_ms is not None:
        check_time_limit(max_ms)
    if not out:
        return
    if max_ms is None:
        raise InvalidInputError(
            f"-o {out[0]} is for the cases of a time limit", hint="add --max-ms MS"
        )
    from pibench.report import cases

    cases.writable(out, [Path(spec) for spec in specs])


def _judged(
    predictions: Sequence[Prediction], max_ms: float | None
) -> Sequence[TimeJudgement | None]:
    from pibench.judgements import judge_prediction

    return [None if max_ms is None else judge_prediction(one, max_ms) for one in predictions]


def _write(
    out: Sequence[Path],
    max_ms: float,
    device: Device,
    judged: Sequence[tuple[str, TimeJudgement | None]],
    refused: Mapping[str, InvalidInputError],
) -> None:
    """Write the cases of a time limit."""
    from pibench.report import cases

    why = {spec: error.line() for spec, error in refused.items()}
    cases.write(cases.of_times(judged, device, max_ms, why), out)


def _exit_code(judged: Iterable[TimeJudgement | None], refused: Mapping[str, object]) -> ExitCode:
    if refused:
        return ExitCode.INVALID_INPUT
    return ExitCode.of_all(one.exit_code for one in judged if one is not None)


def calibrate(
    records: Annotated[
        Path, typer.Option("--from", metavar="RECORDS", help="Records that the board made.")
    ],
    out: Path = typer.Option(
        Path("latency-calibration.json"), metavar="FILE", help="The file to write."
    ),
    stack: str | None = opt.value(
        "The software on the board. Default: what the records name; `paper` is two rates, which "
        "need no stack.",
        metavar="NAME",
    ),
) -> None:
    """Fit predictions to a board's own measurements: two factors of its stack, or two rates.

    A single record gives one factor; rates take four networks.

    Example: pibench calibrate --from out/records.jsonl --out my-pi.json
    """
    from pibench.file_io import is_standard_output, keep_inputs
    from pibench.latency import factors
    from pibench.latency import rates as latency_rates
    from pibench.latency.fit import calibrate_from
    from pibench.records.store import RecordStore

    keep_inputs([out], [records])
    calibrated, left_out = calibrate_from(RecordStore(records).read(), records, stack)
    for sentence in left_out:
        say(sentence)
    log = say if is_standard_output(out) else print_line
    if isinstance(calibrated, factors.StackFactors):
        factors.write(calibrated, out)
        log(
            f"written: {out}: {calibrated.device}, {calibrated.protocol}, stack "
            f"{calibrated.stack}, {calibrated.threads} threads: {calibrated}"
        )
        for line in _left_out(calibrated):
            log(line)
        return
    latency_rates.write(calibrated, out)
    rates = calibrated.rates
    log(
        f"written: {out}: {calibrated.device}, {calibrated.protocol}, "
        f"{len(calibrated.observations)} networks, {rates.tile_mac_ns:.3f} ns per "
        f"multiply-accumulate, {rates.access_ns:.3f} ns per element access"
    )


def _read(calibration: Path | None) -> tuple[LatencyRates, StackFactors | None]:
    """Return the rates of a calibration, pibench's own where it has none, and its factors."""
    from pibench.latency import factors
    from pibench.latency import rates as latency_rates

    known = latency_rates.shipped() if calibration is None else factors.read(calibration)
    if isinstance(known, factors.StackFactors):
        return latency_rates.shipped(), known
    return known, None


def _left_out(factors: StackFactors) -> list[str]:
    """Return the error of each time by factors fitted on the others, and what they come to."""
    if not factors.left_out_pct:
        return ["A single time: what the factor is off by for other networks is not known."]
    pairs = zip(factors.observations, factors.left_out_pct, strict=True)
    each = ", ".join(f"{one.network} {error:+.1f} %" for one, error in pairs)
    sizes = [abs(error) for error in factors.left_out_pct]
    over = f"Leave-one-out over {len(sizes)} networks: mean absolute error"
    return [f"{over} {sum(sizes) / len(sizes):.1f} %, worst {max(sizes):.1f} %: {each}."]


def _keep_to_factors(factors: StackFactors, *, stack: str | None, **given: object) -> None:
    """Refuse what factors of a stack cannot be combined with."""
    if stack not in (None, factors.stack):
        raise InvalidInputError(
            f"the calibration has factors of stack {factors.stack}, not of {stack}",
            hint=f"omit --stack, or calibrate again: pibench calibrate --stack {stack}",
        )
    for option, reason in (
        ("counted", "takes rates, and the calibration has factors of a stack"),
        ("validate", "is for rates; calibrate prints the errors of factors, each left out"),
        ("plot", "draws a roofline of rates, and the calibration has factors of a stack"),
    ):
        if given[option]:
            raise InvalidInputError(f"--{option} {reason}", hint=f"omit --{option}")


def _fitted(calibration: Path | None, stack: str | None, *, counted: bool) -> bool:
    """Return whether rates predict and not a stack.

    Raises:
        InvalidInputError: Both were asked for.
    """
    if stack in (None, "paper"):
        if stack and calibration is not None:
            raise InvalidInputError(
                "--stack paper and --calibration are both rates", hint="omit one of them"
            )
        return bool(stack or calibration or counted)
    for option, given in (("--calibration", calibration is not None), ("--counted", counted)):
        if given:
            raise InvalidInputError(
                f"{option} takes rates that were fitted on a board's times, not a stack's",
                hint="omit --stack",
            )
    return False


def _keep_to_rates(*, threads: int | None, data: Data | None, protocol: Protocol) -> None:
    """Refuse what rates have been fitted with and cannot change."""
    for option, given in (
        ("--threads", threads is not None),
        ("--data", data is not None),
        ("--protocol", protocol != "caffe-time"),
    ):
        if given:
            raise InvalidInputError(
                f"rates that were fitted on a board's times contain its {option[2:]}",
                hint=f"omit {option}, or give a --stack: {', '.join(stacks.names())}",
            )


def _refuse_with_validate(given: Mapping[str, Any]) -> None:
    """Reject what --validate would ignore."""
    if given["specs"]:
        raise InvalidInputError(
            f"--validate takes no networks, but {len(given['specs'])} were given",
            hint="it predicts each network of the calibration from the others",
        )
    for name, reason in (
        ("counted", "uses layer shapes, not counts"),
        ("per_layer", "compares whole networks: no layer's time is known"),
        ("batch", "has times of one batch only"),
        ("input_size", "has times of one image size only"),
        ("shape", "uses the networks of the zoo as they are"),
        ("repair", "uses the networks of the zoo as they are"),
        ("repair_as_paper", "uses the networks of the zoo as they are"),
        ("stack", "compares rates, which no stack has"),
        ("threads", "has times of one number of threads only"),
        ("data", "has times of one kind of data only"),
        ("clock", "has times of one clock only"),
        ("reserve", "compares times, which a reserve has no part in"),
        ("max_ms", "compares times that are known: a limit is for a network of yours"),
        ("out", "has no cases"),
    ):
        if given.get(name):
            option = "--input" if name == "input_size" else f"--{name.replace('_', '-')}"
            raise InvalidInputError(f"--validate {reason}", hint=f"omit {option}")


def _validate(rates: LatencyRates, device: str | None, plot: Path | None, *, as_json: bool) -> None:
    """Print the leave-one-out prediction error of each network in the calibration."""
    from dataclasses import asdict

    from pibench.latency.validation import validate

    if device is not None and devices.load(device).id != rates.device:
        raise InvalidInputError(
            f"--validate compares with times of {rates.device}, not of {device}",
            hint="omit --device, or give that board's --calibration",
        )
    found = validate(rates)
    if plot is not None:
        from pibench.report.plots import predicted_against_board

        write_svg(plot, predicted_against_board(found))
    if as_json:
        print_json(asdict(found))
        return
    from pibench.report.estimates import validation_lines, validation_table

    print_tables(validation_table(found), (), validation_lines(found, rates))


def _answer(
    prediction: Prediction,
    network: Network,
    judged: TimeJudgement | None,
    calibration: LatencyRates,
    *,
    counted: bool,
) -> dict[str, Any]:
    """Return a prediction as JSON: times in ms, sizes in bytes, and the source of the rates."""
    from pibench.latency.model import basis
    from pibench.report.estimates import how_known

    names = ("latency_ms", "low_ms", "high_ms", "pressure_ms", "headroom_bytes", "fits")
    return {
        "network": prediction.network,
        "network_sha256": network.sha256,
        "network_source": network.recorded_source,
        "batch": network.batch_under(prediction.protocol),
        "repairs": list(network.repairs),
        "fork_layers": list(network.fork_layers),
        "assumptions": list(network.assumptions),
        "device": prediction.device,
        "protocol": prediction.protocol,
        "stack": prediction.stack,
        "threads": prediction.threads,
        "data": prediction.data,
        **{name: getattr(prediction, name) for name in names},
        "time_limit": time_answer(judged),
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
            "reason": f"{basis(prediction, calibration)}; {how_known(counted=counted)}",
        },
    }
