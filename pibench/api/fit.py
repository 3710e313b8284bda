"""Whether a network fits a device, by plan or by a run."""

# ruff: noqa: PLC0415  (start-up time: see pibench/api/__init__.py)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pibench import display
from pibench.api.estimates import caffe_network, plan, predict
from pibench.api.runs import other_model_files, run

if TYPE_CHECKING:
    from typing import Any

    from pibench.devices import Device
    from pibench.engines.base import Engine, Protocol
    from pibench.judgements import TimeJudgement
    from pibench.networks.model_file import Runnable
    from pibench.networks.network import Network
    from pibench.plan.planner import Plan
    from pibench.records.schema import Record, Verdict


@dataclass(frozen=True, kw_only=True)
class Fit(display.Displayed):
    """The answer to whether a network fits a device: true if it does; its text gives the reason.

    With a time limit it is true only if the time is within the limit too: see `judged_time`.

    `peak_rss_bytes` is None where the peak is not known. `how` is the source of the peak:
    `planned`, or the target that the network was run on, with `evidence` then. `planned` is the
    plan in either case, since it has figures per layer; None where planning is not possible.
    """

    network: str
    device: Device
    verdict: Verdict
    how: str
    evidence: str
    peak_rss_bytes: int | None
    planned: Plan | None
    judged_time: TimeJudgement | None = None

    def __bool__(self) -> bool:
        return self.verdict == "fit" and (self.judged_time is None or bool(self.judged_time))

    @property
    def _engine(self) -> str:
        from pibench.engines.registry import engine_of

        if self.planned is None or self.planned.environment.is_caffe:
            return ""
        return f" with {engine_of(self.planned.environment.engine).title}"

    def __repr__(self) -> str:
        from pibench.devices import MIB

        words = {"fit": "fits", "no-fit": "does not fit"}.get(self.verdict, f"{self.verdict} on")
        peak = f"{self.peak_rss_bytes / MIB:.0f} MiB" if self.peak_rss_bytes else "not known"
        of = f"({self.how}) of {self.device.usable_bytes / MIB:.0f} MiB usable"
        facts = [
            f"{self.network}{self._engine} {words} {self.device.id}: peak {peak} {of}",
            self.evidence,
            _at_the_peak(self.planned) if self.planned else "",
            "" if self.judged_time is None else str(self.judged_time),
        ]
        return f"<{'; '.join(filter(None, facts))}>"


def fits(
    of: Runnable | str | Path,
    *,
    device: str = "rpi3b",
    protocol: Protocol | None = None,
    target: str | None = None,
    max_ms: float | None = None,
    **options: Any,
) -> Fit:
    """Return whether a network fits a device, by plan or by a run on `target`.

    A verdict of `borderline` or `inconclusive` counts as not fitting. A time limit is compared with
    the time that a board measured (`native`, `ssh://`), else with the predicted one: the time of
    any other target is not the board's.

    Args:
        of: A network, a name in the zoo or the path of a prototxt; with a target also of an
            `.onnx` or `.tflite` file.
        device: The device's id, alias or name.
        protocol: The protocol that is planned or run; None is the engine's first, Caffe's
            caffe-time.
        target: Where to run the network; None plans it without running it.
        max_ms: A limit of the time of a forward pass, in ms; None for no limit.
        options: Those of `run`, such as `engine`. Without a target, one that would change the
            network or the memory that is left for it is refused.

    Raises:
        InvalidInputError: The network or an option cannot be used, or there is no plan for it.
        HostError: The target cannot run anything.
    """
    _check_options_of_fits(options, runs=target is not None)
    from pibench import devices
    from pibench.engines.registry import engine_of
    from pibench.errors import InvalidInputError
    from pibench.judgements import check_time_limit
    from pibench.runner.options import default_engine

    files = other_model_files(of)
    if files:
        options.setdefault("engine", default_engine(files))
    engine = engine_of(options.get("engine", "caffe"))
    protocol = protocol or engine.protocols[0]
    board = devices.load(device)
    if max_ms is not None:
        check_time_limit(max_ms)
    net = None if files and target is not None else caffe_network(of)
    record = planned = None
    if target is not None:
        (record,) = run(
            of if net is None else net, device=device, target=target, protocol=protocol, **options
        )
    try:
        if net is not None:
            planned = plan(net, device=device, protocol=protocol, engine=engine.spec)
    except InvalidInputError:
        if record is None:
            raise
    found = _fit_of_plan(planned, board) if record is None else _fit_of(record, board, planned)
    if max_ms is None:
        return found
    threads = options.get("threads")
    timed = _judge_time(net, record, board, protocol, engine, threads=threads, max_ms=max_ms)
    return replace(found, judged_time=timed)


def _check_options_of_fits(options: Mapping[str, Any], *, runs: bool) -> None:
    """Raise InvalidInputError for an option that would otherwise be passed over in silence."""
    from difflib import get_close_matches

    from pibench.errors import InvalidInputError
    from pibench.runner.options import RunKeywords

    known = ["protocol", "max_ms", *RunKeywords.__annotations__]
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise InvalidInputError(
                f"fits has no option {name!r}",
                hint=f"did you mean {near[0]}?" if near else "its options are those of run",
            )
    if runs:
        return
    for name in ("batch", "input_size", "repair", "reserve", "shapes", "weights"):
        if options.get(name):
            raise InvalidInputError(
                f"fits: {name} is for a run, and there is no target",
                hint="give a target"
                + ("" if name == "reserve" else ", or what pibench.network(...) returns"),
            )


def _fit_of_plan(planned: Plan | None, device: Device) -> Fit:
    """Return the answer of a plan."""
    from pibench.judgements import judge

    assert planned is not None  # noqa: S101  (else planning raised an error)
    return Fit(
        network=planned.network.name,
        device=device,
        verdict=judge(planned, device).verdict,
        how="planned",
        evidence="",
        peak_rss_bytes=planned.peak_rss_bytes,
        planned=planned,
    )


def _fit_of(record: Record, device: Device, planned: Plan | None) -> Fit:
    """Return the answer of a run."""
    return Fit(
        network=record.network,
        device=device,
        verdict=record.verdict,
        how=f"run on {record.target}",
        evidence=record.evidence.summary,
        peak_rss_bytes=record.peak_rss_bytes,
        planned=planned,
    )


def _judge_time(
    network: Network | None,
    record: Record | None,
    device: Device,
    protocol: Protocol,
    engine: Engine,
    *,
    threads: int | None,
    max_ms: float,
) -> TimeJudgement:
    """Compare a time with a limit: the record's if a board measured it, else the predicted one."""
    from pibench.engines.caffe import CAFFE
    from pibench.errors import InvalidInputError
    from pibench.judgements import judge_measured_time, judge_prediction, no_time

    if record is not None and record.ran_on_board:
        return judge_measured_time(record, max_ms)
    note = "" if record is None else f"the time of target {record.target} is not the board's"
    if network is None or engine.id != CAFFE.id:
        return no_time(max_ms, f"times are predicted for Caffe, not for {engine.label}")
    try:
        found = predict(network, device=device.id, threads=threads, protocol=protocol)
    except InvalidInputError as error:
        return no_time(max_ms, error.message)
    return judge_prediction(found, max_ms, note)


def _at_the_peak(planned: Plan) -> str:
    """Describe the layer at the planned peak, and the layer that has the most memory then."""
    from pibench.devices import MIB

    step = planned.peak_step
    at = f"the planned peak is at {step.phase} {step.layer}".rstrip()
    largest = next((one for one in planned.allocations if one.layer), None)
    if largest is None:
        return at
    size_mib = largest.size_bytes / MIB
    return f"{at}, where {largest.layer} has {size_mib:.0f} MiB ({largest.kind})"
