"""Latency, samples, layer times and outputs of a run, or why it has none.

The machine's state around each timed pass decides whether the pass counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pibench.devices import KIB, MIB
from pibench.records.schema import (
    COMPUTE_FIELDS,
    WEIGHTS_GIVEN,
    LayerSignature,
    LayerTime,
    OutputBlob,
    Provenance,
    Sample,
    StartUp,
)
from pibench.records.statistics import interval_of, is_outlier, median_ms, set_aside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.runner.jobs import NetworkFacts
    from pibench.runner.record import Context
    from pibench.targets.base import Outcome

HOST_FIGURES = ("throttled_bits", "clock_hz", "temperature_c")
EMULATED_TIME = "emulated: says nothing about the time on the board"

THROTTLE_BITS: Final = {
    0: "under-voltage",
    1: "clock capped",
    2: "throttled",
    3: "soft temperature limit",
}
"""The firmware's bits for the present state; those 16 higher mean that the same has occurred
(Raspberry Pi documentation, `vcgencmd get_throttled`)."""
_NOW: Final = 0xF
_OCCURRED_SHIFT: Final = 16

Reading: TypeAlias = dict[str, Any]
"""One reading of the probe: see MachineState.read in pibench/probe/machine_state.py."""


def times_of(
    network: NetworkFacts, outcome: Outcome, context: Context
) -> tuple[dict[str, Any], dict[str, Provenance]]:
    """Return what a run measured or computed besides memory, and its provenance.

    Both are fields of a record; fields that the run does not have are missing.
    """
    result = outcome.result or {}
    if outcome.job.compute == "memory-only":
        reason = "memory-only compute does no arithmetic, so its times and values mean nothing"
    elif result.get("exit_status") != 0 or not ({"inference", "caffe_time"} & set(result)):
        reason = "the run did not come to its end"
    else:
        kind = context.kind
        timed = Provenance(kind=kind, reason=EMULATED_TIME if kind == "emulated" else "")
        in_parts = _inference_times if "inference" in result else _caffe_times
        return in_parts(network, outcome, context, timed)
    return {"latency_ms": None}, dict.fromkeys(COMPUTE_FIELDS, Provenance.missing(reason))


def _caffe_times(
    network: NetworkFacts, outcome: Outcome, context: Context, timed: Provenance
) -> tuple[dict[str, Any], dict[str, Provenance]]:
    """Return the mean of caffe time's iterations: one sample, of the whole run."""
    result = outcome.result or {}
    forward_ms = result["caffe_time"]["totals"].get("forward")
    readings, throttle = around(result["readings"], outcome, context)
    samples = samples_of([] if forward_ms is None else [forward_ms], readings, throttle)
    lines = result["caffe_time"]["layers"]
    layers = () if set_aside(samples) else _caffe_time_layers(network, lines)
    unread = "caffe time's log has no such line"
    return {"latency_ms": median_ms(samples), "samples": samples, "layers": layers}, {
        "latency_ms": _counted(samples, timed, unread),
        "layers": timed if layers else _counted(samples, None, unread),
        "outputs": Provenance.missing("caffe time gives no outputs"),
    }


def _counted(samples: tuple[Sample, ...], timed: Provenance | None, unread: str) -> Provenance:
    """Return a time's provenance, or why there is none: no sample, or none that counts."""
    if timed is not None and median_ms(samples) is not None:
        return timed
    return Provenance.missing(set_aside(samples) or unread)


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
    network: NetworkFacts, outcome: Outcome, context: Context, timed: Provenance
) -> tuple[dict[str, Any], dict[str, Provenance]]:
    """Return the times of the passes and of the layers, and the values."""
    inference = (outcome.result or {})["inference"]
    readings, throttle = around(inference["readings"], outcome, context)
    samples = samples_of(inference["totals_ms"], readings, throttle)
    # Layers are timed after the passes, and before the last reading.
    spoilt = why_disturbed(readings, len(samples), len(readings) - 1, throttle)
    untimed = "no pass was timed, only the values were computed"
    layers = () if spoilt else tuple(LayerTime(**layer) for layer in inference["layers"])
    of_layers, of_outputs = timed, Provenance.missing("the network has no output blob")
    if not layers:
        of_layers = Provenance.missing(f"set aside: {spoilt}" if spoilt else untimed)
    outputs = tuple(OutputBlob(**blob) for blob in inference.get("outputs", []))
    # Signatures are meaningless without outputs.
    signatures = inference.get("signatures", []) if outputs else []
    if outputs:
        drawn = f"with seeded random weights (seed {outcome.job.seed}): the values classify nothing"
        reason = drawn if network.weights_drawn else WEIGHTS_GIVEN
        of_outputs = Provenance(kind=context.kind, reason=reason)
    return {
        "latency_ms": median_ms(samples),
        "samples": samples,
        "latency_interval": interval_of(samples),
        "layers": layers,
        "outputs": outputs,
        "signatures": tuple(LayerSignature(**signature) for signature in signatures),
        "input_sha256": inference.get("input_sha256"),
        "start_up": _start_up(inference, emulated=context.on_another_machine),
    }, {
        "latency_ms": _counted(samples, timed, untimed),
        "layers": of_layers,
        "outputs": of_outputs,
    }


def _start_up(inference: dict[str, Any], *, emulated: bool) -> StartUp | None:
    """Return what came before the timed passes; None if a bundle's older probe left it out."""
    if inference.get("load_ms") is None:
        return None
    passes_ms = [*inference.get("warmup_ms", []), *inference["totals_ms"]]
    sizes = {
        "loaded_peak_rss_bytes": inference.get("read_high_water_kib"),
        # Without a timed pass it is from before the first pass.
        "steady_rss_bytes": inference.get("steady_kib") if passes_ms else None,
    }
    return StartUp(
        load_ms=inference["load_ms"],
        first_pass_ms=next(iter(passes_ms), None),
        # They contain the emulator's.
        **{name: None if emulated or kib is None else kib * KIB for name, kib in sizes.items()},
    )


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


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """How a machine reports throttling.

    An event is reported `lag_s` seconds later. `since_boot` means that
    bits for what has occurred stay set until the next boot.
    """

    lag_s: float = 0.0
    since_boot: bool = False

    @classmethod
    def of(cls, reported: dict[str, Any] | None) -> Throttle:
        """Read the probe's `throttle`; None is a machine that does not report throttling."""
        if reported is None:
            return cls()
        return cls(lag_s=reported["lag_s"], since_boot=reported["occurred_since"] == "boot")


def samples_of(
    times_ms: Sequence[float], readings: Sequence[Reading], throttle: Throttle
) -> tuple[Sample, ...]:
    """Return one sample per time.

    Args:
        times_ms: the times of the passes in milliseconds.
        readings: reading i is from right before pass i, reading i + 1 from right after it.
            Later readings have what the kernel did not know yet.
        throttle: how the machine reports throttling.

    Raises:
        ValueError: there are fewer readings than that.
    """
    if len(readings) <= len(times_ms):
        raise ValueError(f"{len(times_ms)} times have {len(readings)} readings around them")
    around = [_around(readings, i, i + 1, throttle) for i in range(len(times_ms))]
    counting = [ms for ms, seen in zip(times_ms, around, strict=True) if seen["set_aside"] is None]
    return tuple(
        Sample(
            latency_ms=ms,
            outlier=seen["set_aside"] is None and is_outlier(ms, counting),
            **seen,
        )
        for ms, seen in zip(times_ms, around, strict=True)
    )


def why_disturbed(
    readings: Sequence[Reading], first: int, last: int, throttle: Throttle
) -> str | None:
    """Return why a time between two readings does not count, or None if it does."""
    reason: str | None = _around(readings, first, last, throttle)["set_aside"]
    return reason


def _around(
    readings: Sequence[Reading], first: int, last: int, throttle: Throttle
) -> dict[str, Any]:
    """Return the machine's state between two readings, as fields of a sample."""
    before, after = readings[first], readings[last]
    known_s = after["time_s"] + throttle.lag_s
    end = next(
        (i for i in range(last, len(readings)) if readings[i]["time_s"] >= known_s),
        len(readings) - 1,
    )
    bits = [one["throttled_bits"] for one in readings[first : end + 1]]
    swaps = [one["swapped_bytes"] for one in (before, after)]
    swapped = max(0, swaps[1] - swaps[0]) if None not in swaps else None
    swapping = f"the kernel swapped ({swapped / MIB:.1f} MiB)" if swapped else None
    reasons = [_throttled(bits, throttle), swapping]
    return {
        "throttled_bits": None if set(bits) == {None} else _either(bits),
        "clock_hz": min(_reported(before, after, "clock_hz"), default=None),
        "temperature_c": max(_reported(before, after, "temperature_c"), default=None),
        "swapped_bytes": swapped,
        "set_aside": "; ".join(reason for reason in reasons if reason) or None,
    }


def _reported(before: Reading, after: Reading, name: str) -> list[Any]:
    return [one[name] for one in (before, after) if one[name] is not None]


def _either(bits: Sequence[int | None]) -> int:
    """Return all bits that are set in any of them."""
    return reduce(or_, (one or 0 for one in bits), 0)


def _throttled(bits: Sequence[int | None], throttle: Throttle) -> str | None:
    """Describe throttling within a pass in words; the first of `bits` is from before it.

    Where the bits for what has occurred stay until the next boot, only a newly set bit
    counts. Elsewhere the kernel has the firmware clear them at each of
    its readings, a few seconds apart: a bit that is set is recent.
    """
    seen, before = _either(bits), bits[0] or 0
    occurred = _either(bits[1:]) & ~before if throttle.since_boot else seen
    found = (seen | occurred >> _OCCURRED_SHIFT) & _NOW
    if not found:
        return None
    named = ", ".join(name for bit, name in THROTTLE_BITS.items() if found >> bit & 1)
    return f"the firmware reports {named} ({seen:#x})"
