"""`pibench check`: the whole answer for one network, and an exit code for a gate."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pibench import devices
from pibench.cli import options as opt
from pibench.cli.output import ignore_broken_pipe, print_json, say
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from pibench.checks import Check
    from pibench.judgements import TimeJudgement


def check(
    context: typer.Context,
    model: opt.Spec,
    weights: Annotated[
        Path | None,
        typer.Argument(
            metavar="WEIGHTS",
            help="Its .caffemodel: the protocol is inference then.",
            show_default=False,
        ),
    ] = None,
    weights_option: Path | None = opt.value("The same as WEIGHTS.", "--weights"),
    device: opt.DeviceName = "rpi3b",
    reserve: opt.Reserve = 0,
    protocol: opt.EngineProtocol = None,
    engine: opt.PlannedEngine = None,
    batch: opt.Batch = None,
    input_size: opt.ImageSize = None,
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
    shape: opt.PythonShapes = None,
    max_ms: opt.MaxMs = None,
    out: opt.PlanOut = None,
    as_json: opt.AsJson = False,
) -> None:
    """Answer whether a network fits the board, how fast it is, and what would make it fit.

    Nothing is run; the last line is the command that proves it on the emulated board. Where
    caffe time cannot run a network, the answer is for inference.
    Exit codes: 0 fits, 1 does not fit or takes more than --max-ms, 2 invalid input, 4 borderline.

    Example: pibench check my/deploy.prototxt my/model.caffemodel
    """
    import gc

    # Garbage collection takes a third of the time for tens of thousands of acyclic blobs and steps.
    gc.disable()
    from pibench.checks import check as check_network
    from pibench.networks import catalog

    if weights is not None and catalog.knows(str(weights)) and not weights.exists():
        raise InvalidInputError(
            f"check takes one network, and {weights} is another",
            hint=f"for several: pibench plan {shlex.quote(model)} {shlex.quote(str(weights))}",
        )
    given_protocol = None if "protocol" in opt.settings_of(context) else protocol
    _, weights = opt.with_weights([model], weights or weights_option)
    engine, protocol = opt.engine_and_protocol(locals(), [model])
    options = opt.run_options(locals())
    if out:
        from pibench.report import badge, cases, trace

        cases.writable(out, [Path(model)], (badge.ENDING, trace.ENDING))
    (network,) = opt.load_networks([model], options, check=False, shape=shape)
    try:
        found = check_network(network, options.profile, protocol, engine, max_ms)
    except InvalidInputError as error:
        if given_protocol or protocol == "inference" or not network.runs_under("inference"):
            raise
        protocol = "inference"
        found = check_network(network, options.profile, protocol, max_ms=max_ms)
        say(f"{error.message}: this is the answer for inference")
    if protocol == "caffe-time" and not network.runs_under("inference"):
        say(
            f"{network.place}: Caffe cannot set up its test phase, the one for deployment; this is "
            "the answer for the training phase"
        )
    given = _given(locals())
    answer = _answer(found, model, given)
    if out:
        predictions = [found.prediction] if found.prediction else []
        others = {
            badge.ENDING: lambda: badge.of_plans([answer], found.device).svg(),
            trace.ENDING: lambda: trace.trace_text([found.planned], found.device, predictions),
        }
        cases.write(cases.of_check(answer, found), out, others)
    if as_json:
        print_json(answer)
    else:
        from pibench.report.check import print_check

        with ignore_broken_pipe():
            print_check(found, answer)
    raise typer.Exit(found.exit_code)


def _given(asked: dict[str, Any]) -> dict[str, list[str]]:
    """Return the options of the same question to another command, by name."""
    given: dict[str, list[str]] = {}
    if asked["device"] != "rpi3b":
        given["--device"] = [asked["device"]]
    if asked["engine"] != "caffe":
        given["--engine"] = [asked["engine"]]
    if asked["reserve"]:
        given["--reserve"] = [devices.reserve_name(asked["reserve"])]
    # Weights imply inference, as do the other engines, which have no other protocol.
    if asked["engine"] == "caffe" and (
        asked["protocol"] != "caffe-time" or asked["weights"] is not None
    ):
        given["--protocol"] = [asked["protocol"]]
    for name in ("weights", "batch", "input_size"):
        if asked[name] is not None:
            given[f"--{name.removesuffix('_size')}"] = [str(asked[name])]
    for name in ("repair", "repair_as_paper"):
        if asked[name]:
            given[f"--{name.replace('_', '-')}"] = []
    if asked["shape"]:
        given["--shape"] = asked["shape"]
    return given


def _command(name: str, model: str, given: dict[str, list[str]], *more: str) -> str:
    words = [name, model]
    for option, values in given.items():
        words += [word for value in values for word in (option, value)] or [option]
    return f"pibench {shlex.join([*words, *more])}"


def _changed(change: str, model: str, given: dict[str, list[str]]) -> str:
    """Return the command that makes or plans a change."""
    if "in place" in change:
        return "edit: give each ReLU, Dropout, BatchNorm, Scale its bottom as its top"
    if "fold-bn" in change:
        words = ["networks", "fold-bn", model, "-o", "folded"]
        kept = {"--weights", "--input", "--repair", "--repair-as-paper"} & given.keys()
        for option in sorted(kept):
            words += [option, *given[option]]
        return f"pibench {shlex.join(words)}"
    option, value = change.split()
    if option == "--engine":
        given = {name: values for name, values in given.items() if name != "--protocol"}
        if value == "caffe":
            # The other engines have nothing but inference.
            given["--protocol"] = ["inference"]
    return _command("plan", model, given | {option: [value]})


def time_answer(judged: TimeJudgement | None) -> dict[str, Any] | None:
    """Return a time compared with its limit, for JSON; None without a limit."""
    if judged is None:
        return None
    interval = None if judged.low_ms is None else [judged.low_ms, judged.high_ms]
    return {
        "max_ms": judged.max_ms,
        "verdict": judged.verdict,
        "interval_ms": interval,
        "source": judged.source,
    }


def _answer(found: Check, model: str, given: dict[str, list[str]]) -> dict[str, Any]:
    """Return the answer for JSON: what `plan --json` has, the prediction, and what would fit."""
    from pibench.plan.answers import summary

    answer = summary(found.planned, found.device, found.judged)
    one = found.prediction
    answer["latency_ms"] = None if one is None else one.latency_ms
    answer["pressure_ms"] = None if one is None else one.pressure_ms
    answer["stack"] = None if one is None else one.stack
    answer["latency_interval_ms"] = None if one is None else [one.low_ms, one.high_ms]
    answer["provenance"]["latency_ms"] = (
        {"kind": "unavailable", "reason": found.not_predicted}
        if one is None
        else {"kind": "predicted", "reason": f"stack {one.stack}, {one.threads} threads"}
    )
    answer["time_limit"] = time_answer(found.judged_time)
    answer["fits_with"] = [
        {
            "change": remedy.change,
            "device": remedy.device.id,
            "peak_rss_bytes": remedy.planned.peak_rss_bytes,
            "headroom_bytes": remedy.judged.headroom_bytes,
            "usable_bytes": remedy.device.usable_bytes,
            "kind": "planned",
            "note": remedy.note or None,
            "command": _changed(remedy.change, model, given),
        }
        for remedy in found.remedies
    ]
    # Given shapes are of Python layers, which no target runs; a pipe can be read only once.
    can_run = "--shape" not in given and model != "-"
    answer["prove"] = _command("run", model, given, "--require-fit") if can_run else None
    return answer
