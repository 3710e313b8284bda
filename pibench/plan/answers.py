"""Format a plan for JSON: the keys of a record, its own ones, and possible optimizations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pibench.engines.caffe import in_place, topology
from pibench.networks import fold_bn, input_size
from pibench.plan.planner import Plan, plan
from pibench.plan.search import max_batch, max_image

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.networks.network import Network
    from pibench.verdict import Judgement

LARGEST = 10
"""How many allocations are listed."""

_PLANNED = ("peak_rss_bytes", "network_rss_bytes", "headroom_bytes")


def summary(planned: Plan, device: Device, judged: Judgement) -> dict[str, Any]:
    """Return the plan's figures, sizes in bytes. Keys that a record has mean the same here."""
    network = planned.network
    planned_kind = {
        "kind": "planned",
        "reason": "from a static model of Caffe's allocations; nothing was run",
    }
    baseline = {
        "kind": "planned",
        "reason": f"measured for {planned.environment.architecture} when the plan was calibrated",
    }
    return {
        "network": network.name,
        "network_sha256": network.sha256,
        "network_source": network.recorded_source,
        "parameter_count": network.parameter_count,
        "repairs": list(network.repairs),
        "device": device.id,
        "protocol": planned.protocol,
        "batch": network.batch_under(planned.protocol),
        "verdict": judged.verdict,
        "peak_rss_bytes": planned.peak_rss_bytes,
        "baseline_rss_bytes": planned.baseline_rss_bytes,
        "network_rss_bytes": planned.peak_rss_bytes - planned.baseline_rss_bytes,
        "headroom_bytes": judged.headroom_bytes,
        "band_bytes": planned.band_bytes,
        "usable_bytes": device.usable_bytes,
        "environment": {
            "architecture": planned.environment.architecture,
            "core": planned.environment.kernel.core,
            "threads": planned.environment.threads,
        },
        "peak_at": {"phase": planned.peak_step.phase, "layer": planned.peak_step.layer},
        "allocations": [
            {"layer": allocation.layer, "kind": allocation.kind, "bytes": allocation.size_bytes}
            for allocation in planned.allocations[:LARGEST]
        ],
        "provenance": dict.fromkeys(_PLANNED, planned_kind) | {"baseline_rss_bytes": baseline},
    }


def timeline(planned: Plan) -> list[dict[str, Any]]:
    """Return every step: phase, layer, resident bytes at its end and at most within it."""
    return [
        {
            "phase": step.phase,
            "layer": step.layer,
            "resident_bytes": step.resident_bytes,
            "peak_bytes": step.peak_bytes,
        }
        for step in planned.steps
    ]


def changes(planned: Plan) -> list[dict[str, Any]]:
    """Return the changes that would change the peak."""
    return [
        {
            "change": one.change,
            "peak_rss_bytes": one.peak_rss_bytes,
            "saved_bytes": one.saved_bytes,
        }
        for one in optimizations(planned)
    ]


def largest_batch(planned: Plan, device: Device) -> dict[str, Any]:
    """Return the largest batch that fits: 0 if none does, None with a reason if it is unknown."""
    found = max_batch(
        planned.network,
        device=device,
        protocol=planned.protocol,
        environment=planned.environment,
    )
    return {"max_batch": found.batch, "max_batch_note": found.note or None}


def largest_image(planned: Plan, device: Device) -> dict[str, Any]:
    """Return height and width of the largest image that fits; 0 and 0 if none does."""
    found = max_image(
        planned.network,
        device=device,
        protocol=planned.protocol,
        environment=planned.environment,
    )
    return {
        "max_input": [found.height, found.width],
        "max_input_note": found.note or None,
        "max_input_other_parameters": [
            {"layer": layer, "own": own, "there": there}
            for layer, (own, there) in found.other_parameters.items()
        ],
    }


@dataclass(frozen=True)
class Optimization:
    """One change, the peak with it, and what it saves, in bytes (negative if it costs memory)."""

    change: str
    peak_rss_bytes: int
    saved_bytes: int


def optimizations(planned: Plan) -> list[Optimization]:
    """Return the changes that apply, those that save most first. Stock Caffe supports all of them.

    "in place": layers that can overwrite their bottom do so. "fold-bn": BatchNorm and Scale are
    folded into the layer before (the test phase's network; see `pibench.networks.fold_bn`).
    """
    found = []
    if planned.protocol == "caffe-time":
        forward = plan(planned.network, protocol="inference", environment=planned.environment)
        found.append(_optimization("--protocol inference", planned, forward.peak_rss_bytes))
    for change, network in (
        ("in place", _in_place(planned.network)),
        ("fold-bn", _folded(planned.network)),
    ):
        if network is not None:
            other = plan(network, protocol=planned.protocol, environment=planned.environment)
            found.append(_optimization(change, planned, other.peak_rss_bytes))
    return sorted(found, key=lambda one: -one.saved_bytes)


def _optimization(change: str, planned: Plan, peak_bytes: int) -> Optimization:
    return Optimization(change, peak_bytes, planned.peak_rss_bytes - peak_bytes)


def _in_place(network: Network) -> Network | None:
    changed = input_size.copy(network)
    return changed if in_place.share(changed.net, path=network.source) else None


def _folded(network: Network) -> Network | None:
    if not fold_bn.find(topology.layers(network.net, network.source)):
        return None
    changed = input_size.copy(network)
    changed.net.CopyFrom(fold_bn.fold(network.net, path=network.source))
    return changed
