"""Latency, layer times and outputs of a run, or why it has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pibench.records.schema import (
    WEIGHTS_GIVEN,
    LatencyInterval,
    LayerSignature,
    LayerTime,
    OutputBlob,
    Provenance,
    Sample,
)
from pibench.records.statistics import interval_of, median_ms, set_aside
from pibench.runner.samples import Reading, Throttle, samples_of, why_disturbed

if TYPE_CHECKING:
    from pibench.runner.facts import NetworkFacts
    from pibench.runner.observation import Context
    from pibench.targets.base import Outcome

HOST_FIGURES = ("throttled_bits", "clock_hz", "temperature_c")
EMULATED_TIME = "emulated: says nothing about the time on the board"


@dataclass(frozen=True, kw_only=True)
class Times:
    latency_ms: float | None = None
    samples: tuple[Sample, ...] = ()
    interval: LatencyInterval | None = None
    layers: tuple[LayerTime, ...] = ()
    outputs: tuple[OutputBlob, ...] = ()
    signatures: tuple[LayerSignature, ...] = ()
    input_sha256: str | None = None
    provenance: dict[str, Provenance]


def times_of(network: NetworkFacts, outcome: Outcome, context: Context) -> Times:
    """Return latency, layer times and outputs, where the run has them."""
    missing = _why_no_times(outcome)
    if missing is not None:
        none = Provenance(kind="unavailable", reason=missing)
        return Times(provenance={"latency_ms": none, "layers": none, "outputs": none})
    result = outcome.result or {}
    kind = context.kind
    timed = Provenance(kind=kind, reason=EMULATED_TIME if kind == "emulated" else "")
    if "inference" in result:
        drawn = outcome.work.seed if network.weights_drawn else None
        return _inference_times(outcome, context, timed, drawn_seed=drawn)
    return _caffe_times(network, outcome, context, timed)


def _why_no_times(outcome: Outcome) -> str | None:
    if outcome.work.compute == "memory-only":
        return "memory-only compute does no arithmetic, so its times and values mean nothing"
    result = outcome.result or {}
    if result.get("exit_status") != 0 or not ({"inference", "caffe_time"} & set(result)):
        return "the run did not come to its end"
    return None


def _caffe_times(
    network: NetworkFacts, outcome: Outcome, context: Context, timed: Provenance
) -> Times:
    """Return the mean of caffe time's iterations: one sample, of the whole run."""
    result = outcome.result or {}
    forward_ms = result["caffe_time"]["totals"].get("forward")
    readings, throttle = around(result["readings"], outcome, context)
    times_ms = [] if forward_ms is None else [forward_ms]
    samples = samples_of(times_ms, readings, throttle)
    lines = result["caffe_time"]["layers"]
    layers = () if set_aside(samples) else _caffe_time_layers(network, lines)
    unread = "caffe time's log held no such line"
    return Times(
        latency_ms=median_ms(samples),
        samples=samples,
        layers=layers,
        provenance={
            "latency_ms": _counted(samples, timed, unread),
            "layers": timed if layers else _counted(samples, None, unread),
            "outputs": Provenance(kind="unavailable", reason="caffe time gives no outputs"),
        },
    )


def _counted(samples: tuple[Sample, ...], timed: Provenance | None, unread: str) -> Provenance:
    """Return a time's provenance, or why there is none: no sample, or none that counts."""
    if timed is not None and median_ms(samples) is not None:
        return timed
    return Provenance(kind="unavailable", reason=set_aside(samples) or unread)


def around(
    readings: list[Reading], outcome: Outcome, context: Context
) -> tuple[list[Reading], Throttle]:
    """Return the readings that are of the machine on which the network was timed.

    Where an emulator of this host runs it, the host's clock and temperature are not
    the emulated core's. What the host swaps takes time all the same.
    """
    if not context.on_another_machine:
        return readings, Throttle.of((outcome.machine or {}).get("throttle"))
    nothing = dict.fromkeys(HOST_FIGURES)
    return [{**one, **nothing} for one in readings], Throttle()


def _inference_times(
    outcome: Outcome, context: Context, timed: Provenance, *, drawn_seed: int | None
) -> Times:
    """Return times and outputs; `drawn_seed` is the seed of weights drawn at random."""
    inference = (outcome.result or {})["inference"]
    of_weights = (
        WEIGHTS_GIVEN
        if drawn_seed is None
        else f"with seeded random weights (seed {drawn_seed}): the values classify nothing"
    )
    readings, throttle = around(inference["readings"], outcome, context)
    samples = samples_of(inference["totals_ms"], readings, throttle)
    # Layers are timed after the passes, and before the last reading.
    spoilt = why_disturbed(readings, len(samples), len(readings) - 1, throttle)
    untimed = "no pass was timed, the values alone computed"
    outputs = tuple(OutputBlob(**blob) for blob in inference.get("outputs", []))
    layers = () if spoilt else tuple(LayerTime(**layer) for layer in inference["layers"])
    return Times(
        latency_ms=median_ms(samples),
        samples=samples,
        interval=interval_of(samples),
        layers=layers,
        outputs=outputs,
        # Signatures are meaningless without outputs.
        signatures=_signatures(inference.get("signatures", [])) if outputs else (),
        input_sha256=inference.get("input_sha256"),
        provenance={
            "latency_ms": _counted(samples, timed, untimed),
            "layers": timed
            if layers
            else Provenance(
                kind="unavailable", reason=f"set aside: {spoilt}" if spoilt else untimed
            ),
            "outputs": Provenance(kind=context.kind, reason=of_weights)
            if outputs
            else Provenance(kind="unavailable", reason="the network has no output blob"),
        },
    )


def _signatures(said: list[Any]) -> tuple[LayerSignature, ...]:
    """Return the probe's signature of each blob that a layer wrote."""
    return tuple(LayerSignature(**signature) for signature in said)


def _caffe_time_layers(network: NetworkFacts, lines: list[list[Any]]) -> tuple[LayerTime, ...]:
    """Return the lines of `caffe time`, with forward and backward of a layer combined."""
    forward: dict[str, float] = {}
    backward: dict[str, float] = {}
    for name, direction, milliseconds in lines:
        (forward if direction == "forward" else backward)[name] = milliseconds
    return tuple(
        # A layer that is not in the network was inserted by Caffe, to copy a blob.
        LayerTime(
            name=name,
            type=network.layer_types.get(name, "Split"),
            forward_ms=milliseconds,
            backward_ms=backward.get(name),
        )
        for name, milliseconds in forward.items()
    )
