"""Write plans as a trace: memory over the steps, for Perfetto.

The format is the Trace Event Format, as JSON. Its time axis is microseconds. A plan has steps and
no times, so a step is drawn as one millisecond, and each name states that. Predicted times of
layers, where there are some, are a process of their own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pibench._version import __version__
from pibench.plan.answers import resident_by_kind
from pibench.records.identity import network_labels
from pibench.report.text import MIB, mib, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pibench.devices import Device
    from pibench.latency.model import Prediction
    from pibench.plan.planner import Plan

ENDING: Final = "trace.json"
"""How the name of such a file ends."""
STEP_US: Final = 1000
"""How long a step is drawn, in microseconds: long enough to be seen, and easy to read off."""
_US_PER_MS: Final = 1000
_THREAD: Final = 1
_AXIS: Final = "1 ms of this trace is 1 step of the program: a plan has no times"


def trace_text(
    plans: Sequence[Plan], device: Device, predictions: Sequence[Prediction] = ()
) -> str:
    """Return the trace as JSON: a process for each plan, then one for each prediction.

    A plan has a slice for each step, with the resident MiB at its end and the most within it, and
    counters of the same figures and of the resident MiB by kind of allocation, beside the usable
    memory of the device. A prediction has a slice for each layer.
    """
    events: list[dict[str, Any]] = []
    names = network_labels([planned.network for planned in plans])
    for number, (name, planned) in enumerate(zip(names, plans, strict=True), 1):
        events += _of_plan(planned, name, device, number)
    for number, one in enumerate(predictions, len(plans) + 1):
        events += _of_prediction(one, number)
    trace = {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "version": f"pibench {__version__}",
            "device": device.id,
            "usable_mib": _in_mib(device.usable_bytes),
            "memory": "planned: nothing was run",
            "time_of_plans": _AXIS,
            "time_of_predictions": "predicted ms of one forward pass; nothing was measured",
        },
    }
    return json.dumps(trace, separators=(",", ":"), allow_nan=False) + "\n"


def _of_plan(planned: Plan, network: str, device: Device, pid: int) -> Iterator[dict[str, Any]]:
    batch = planned.network.batch_under(planned.protocol)
    name = f"{network}, {planned.protocol}, batch {batch}, planned for {device.id}"
    yield from _names(pid, name, f"steps ({_AXIS})")
    by_kind = resident_by_kind(planned)
    # A counter without a value keeps its last one: all kinds are in each event.
    kinds = sorted({kind for sizes in by_kind for kind in sizes})
    for number, (step, sizes) in enumerate(zip(planned.steps, by_kind, strict=True)):
        at = {"pid": pid, "tid": _THREAD, "ts": number * STEP_US}
        figures = {
            "resident MiB": _in_mib(step.resident_bytes),
            "most MiB": _in_mib(step.peak_bytes),
        }
        yield {
            "ph": "X", "name": visible(step.layer) or step.phase, "cat": step.phase, **at,
            "dur": STEP_US, "args": {"phase": step.phase, **figures},
        }  # fmt: skip
        counted = {kind: _in_mib(sizes.get(kind, 0)) for kind in kinds}
        yield {"ph": "C", "name": "resident MiB by kind", **at, "args": counted}
        yield {"ph": "C", "name": "MiB", **at, "args": figures}
    peak, usable = mib(planned.peak_rss_bytes), mib(device.usable_bytes)
    yield {
        "ph": "i", "s": "p", "name": f"peak: {peak} of {usable} MiB usable", "cat": "peak",
        "pid": pid, "tid": _THREAD, "ts": planned.process.peak_step * STEP_US,
    }  # fmt: skip


def _of_prediction(one: Prediction, pid: int) -> Iterator[dict[str, Any]]:
    name = f"{one.network}, one forward pass on {one.device}, predicted"
    yield from _names(pid, name, "layers (predicted ms)")
    slices = [(layer.work.name, layer.work.type, layer.latency_ms) for layer in one.layers]
    if one.pressure_ms:
        slices.append(("edge of memory, of no layer", "", one.pressure_ms))
    passed_ms = 0.0
    for layer, layer_type, latency_ms in slices:
        # Whole microseconds: Perfetto drops a slice that begins before the last one has ended.
        start_us = round(passed_ms * _US_PER_MS)
        passed_ms += latency_ms
        yield {
            "ph": "X", "name": visible(layer), "cat": "predicted", "pid": pid, "tid": _THREAD,
            "ts": start_us, "dur": round(passed_ms * _US_PER_MS) - start_us,
            "args": {"type": visible(layer_type), "predicted ms": round(latency_ms, 6)},
        }  # fmt: skip


def _names(pid: int, process: str, thread: str) -> Iterator[dict[str, Any]]:
    for event, name in (("process_name", process), ("thread_name", thread)):
        yield {
            "ph": "M", "name": event, "pid": pid, "tid": _THREAD, "args": {"name": visible(name)},
        }  # fmt: skip


def _in_mib(size_bytes: int) -> float:
    return round(size_bytes / MIB, 3)
