"""Find changes of the network that would change its peak, by planning it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pibench.engines.caffe import in_place, topology
from pibench.networks import fold_bn, input_size
from pibench.plan.planner import Plan, plan

if TYPE_CHECKING:
    from pibench.networks.network import Network


@dataclass(frozen=True)
class Saving:
    """One change, the peak with it, and what it saves, in bytes (negative if it costs memory)."""

    change: str
    peak_rss_bytes: int
    saved_bytes: int


def savings(planned: Plan) -> list[Saving]:
    """Return the changes that apply, the largest saving first. Stock Caffe supports all of them.

    "in place": layers that can overwrite their bottom do so. "fold-bn": BatchNorm and Scale are
    folded into the layer before (the test phase's network; see `pibench.networks.fold_bn`).
    """
    found = []
    if planned.protocol == "caffe-time":
        forward = plan(planned.network, protocol="inference", environment=planned.environment)
        found.append(_saving("--protocol inference", planned, forward.peak_rss_bytes))
    for change, network in (
        ("in place", _in_place(planned.network)),
        ("fold-bn", _folded(planned.network)),
    ):
        if network is not None:
            other = plan(network, protocol=planned.protocol, environment=planned.environment)
            found.append(_saving(change, planned, other.peak_rss_bytes))
    return sorted(found, key=lambda saving: -saving.saved_bytes)


def _saving(change: str, planned: Plan, peak_bytes: int) -> Saving:
    return Saving(change, peak_bytes, planned.peak_rss_bytes - peak_bytes)


def _in_place(network: Network) -> Network | None:
    changed = input_size.copy(network)
    return changed if in_place.share(changed.net, path=network.source) else None


def _folded(network: Network) -> Network | None:
    if not fold_bn.find(topology.layers(network.net, network.source)):
        return None
    changed = input_size.copy(network)
    changed.net.CopyFrom(fold_bn.fold(network.net, path=network.source))
    return changed
