"""The largest batch, and the largest image, that still fits: found by planning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.errors import InvalidInputError
from pibench.networks import input_size
from pibench.networks.network import MAX_BATCH
from pibench.plan.planner import plan
from pibench.plan.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.devices import Device
    from pibench.networks.network import Network
    from pibench.plan.environment import Environment
    from pibench.records.schema import Protocol

_NEIGHBOURS = 8
"""How many sizes below one that Caffe refuses are tried in its stead."""


def max_batch(
    network: Network, *, device: Device, protocol: Protocol, environment: Environment
) -> int:
    """The largest batch whose verdict is fit; 0 if not even one image fits."""

    def fits(batch: int) -> bool:
        try:
            larger = input_size.with_batch(network, batch)
        except InvalidInputError:
            # A blob of more elements than Caffe counts.
            return False
        return _fits(larger, device, protocol, environment)

    return _largest(fits, MAX_BATCH)


def max_image(
    network: Network, *, device: Device, protocol: Protocol, environment: Environment
) -> tuple[int, int]:
    """The largest height and width, in the input's own proportions, whose verdict is fit.

    Sizes that Caffe refuses, since blobs to be joined then differ, are passed over.
    (0, 0) if none fits. Raises InvalidInputError for a network without images.
    """
    height, width = input_size.image_size(network)

    def size_of(longer: int) -> tuple[int, int]:
        scale = longer / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def made(longer: int) -> Network | None:
        for side in range(longer, max(longer - _NEIGHBOURS, 0), -1):
            try:
                return input_size.with_image_size(network, *size_of(side))
            except InvalidInputError:
                continue
        return None

    def fits(longer: int) -> bool:
        changed = made(longer)
        # Below the least size that works nothing is known to be too large.
        if changed is None:
            return longer < max(height, width)
        return _fits(changed, device, protocol, environment)

    best = made(_largest(fits, input_size.MAX_SIDE))
    if best is None or not _fits(best, device, protocol, environment):
        return 0, 0
    return input_size.image_size(best)


def _fits(network: Network, device: Device, protocol: Protocol, environment: Environment) -> bool:
    planned = plan(network, protocol=protocol, environment=environment)
    return judge(planned, device).verdict == "fit"


def _largest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest number up to `limit` that fits, if all below it do; 0 if 1 does not."""
    good, bad = 0, 1
    while bad <= limit and fits(bad):
        good, bad = bad, 2 * bad
    bad = min(bad, limit + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good
