"""Latency, layer times and outputs of a run, or why it has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pibench.records.schema import LayerSignature, LayerTime, OutputBlob, Provenance

if TYPE_CHECKING:
    from pibench.networks.network import Network
    from pibench.sweep.observing import Context
    from pibench.targets.base import Outcome

EMULATED_TIME = "emulated: says nothing about the time on the board"


@dataclass(frozen=True, kw_only=True)
class Times:
    latency_ms: float | None = None
    layers: tuple[LayerTime, ...] = ()
    outputs: tuple[OutputBlob, ...] = ()
    signatures: tuple[LayerSignature, ...] = ()
    input_sha256: str | None = None
    provenance: dict[str, Provenance]


def times_of(network: Network, outcome: Outcome, context: Context) -> Times:
    """Latency, layer times and outputs, where the run can tell them."""
    missing = _why_no_times(outcome)
    if missing is not None:
        none = Provenance(kind="unavailable", reason=missing)
        return Times(provenance={"latency_ms": none, "layers": none, "outputs": none})
    result = outcome.result or {}
    kind = context.kind
    timed = Provenance(kind=kind, reason=EMULATED_TIME if kind == "emulated" else "")
    if "inference" in result:
        drawn = network.weights is None
        return _inference_times(
            result["inference"], kind, timed, drawn_seed=outcome.work.seed if drawn else None
        )
    totals = result["caffe_time"]["totals"]
    layers = _caffe_time_layers(network, result["caffe_time"]["layers"])
    unread = Provenance(kind="unavailable", reason="caffe time's log held no such line")
    return Times(
        latency_ms=totals.get("forward"),
        layers=layers,
        provenance={
            "latency_ms": timed if "forward" in totals else unread,
            "layers": timed if layers else unread,
            "outputs": Provenance(kind="unavailable", reason="caffe time gives no outputs"),
        },
    )


def _why_no_times(outcome: Outcome) -> str | None:
    if outcome.work.compute == "memory-only":
        return "memory-only compute does no arithmetic, so its times and values mean nothing"
    result = outcome.result or {}
    if result.get("exit_status") != 0 or not ({"inference", "caffe_time"} & set(result)):
        return "the run did not come to its end"
    return None


def _inference_times(
    inference: dict[str, Any], kind: Any, timed: Provenance, *, drawn_seed: int | None
) -> Times:
    """Times and outputs; `drawn_seed` is the seed of weights that are nobody's."""
    of_weights = (
        "with the weights given"
        if drawn_seed is None
        else f"with seeded random weights (seed {drawn_seed}): the values classify nothing"
    )
    outputs = tuple(OutputBlob(**blob) for blob in inference["outputs"])
    untimed = Provenance(kind="unavailable", reason="no pass was timed, the values alone computed")
    was_timed = inference["latency_ms"] is not None
    return Times(
        latency_ms=inference["latency_ms"],
        layers=tuple(LayerTime(**layer) for layer in inference["layers"]),
        outputs=outputs,
        # What belongs to outputs is nothing without them.
        signatures=_signatures(inference["signatures"]) if outputs else (),
        input_sha256=inference["input_sha256"],
        provenance={
            "latency_ms": timed if was_timed else untimed,
            "layers": timed if was_timed else untimed,
            "outputs": Provenance(kind=kind, reason=of_weights)
            if outputs
            else Provenance(kind="unavailable", reason="the network has no output blob"),
        },
    )


def _signatures(said: list[Any]) -> tuple[LayerSignature, ...]:
    """What the probe said of each blob that a layer wrote."""
    return tuple(LayerSignature(**signature) for signature in said)


def _caffe_time_layers(network: Network, lines: list[list[Any]]) -> tuple[LayerTime, ...]:
    """The lines of `caffe time`, forward and backward of a layer brought together."""
    types = {layer.name: layer.type for layer in network.net.layer}
    forward: dict[str, float] = {}
    backward: dict[str, float] = {}
    for name, direction, milliseconds in lines:
        (forward if direction == "forward" else backward)[name] = milliseconds
    return tuple(
        # What is not in the network Caffe has put there itself, to copy a blob.
        LayerTime(
            name=name,
            type=types.get(name, "Split"),
            forward_ms=milliseconds,
            backward_ms=backward.get(name),
        )
        for name, milliseconds in forward.items()
    )
