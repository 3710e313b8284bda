"""Find the largest batch and the largest image that still fit, by planning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pibench.errors import InvalidInputError
from pibench.networks import input_size
from pibench.networks.network import MAX_BATCH
from pibench.plan.planner import plan
from pibench.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pibench.devices import Device
    from pibench.networks.input_size import OtherParameters
    from pibench.networks.network import Network
    from pibench.plan.environment import Environment
    from pibench.plan.planner import Plan
    from pibench.records.schema import Protocol

_FEWEST = (1, 2)
"""Batches that must work for a search; a refusal of two images is not about their memory."""
_NEIGHBOURS = 32
"""How many smaller sizes are tried in place of one that Caffe rejects.

32 is the stride of most classifiers: which sizes their branches can be joined at repeats with it.
"""


@dataclass(frozen=True, kw_only=True)
class LargestBatch:
    """The largest batch that fits: 0 if not even one image does, None if it is unknown.

    `note` gives the reason why it is unknown, or a remark about it.
    """

    batch: int | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class LargestImage:
    """Height and width of the largest image that fits; 0 and 0 if none does.

    `other_parameters` has the layers whose parameters have another shape there than at the
    network's own size: their shapes at the own size, and there.
    """

    height: int
    width: int
    note: str = ""
    other_parameters: OtherParameters = field(default_factory=dict)


def max_batch(
    network: Network, *, device: Device, protocol: Protocol, environment: Environment
) -> LargestBatch:
    """Search the largest batch whose verdict is fit."""
    for batch in _FEWEST:
        try:
            _with_batch(network, batch, protocol)
        except InvalidInputError as refused:
            return LargestBatch(batch=None, note=refused.message)

    def planned(batch: int) -> Plan | None:
        try:
            larger = _with_batch(network, batch, protocol)
        except InvalidInputError:
            # A blob has more elements than Caffe can count.
            return None
        return plan(larger, protocol=protocol, environment=environment)

    def fits(batch: int) -> bool:
        found = planned(batch)
        return found is not None and judge(found, device).verdict == "fit"

    largest = _largest(fits, MAX_BATCH)
    if largest < MAX_BATCH:
        return LargestBatch(batch=largest)
    most, one = planned(MAX_BATCH), planned(1)
    if most is not None and one is not None and most.peak_rss_bytes == one.peak_rss_bytes:
        return LargestBatch(batch=None, note=f"the planned peak at {MAX_BATCH} equals the one at 1")
    return LargestBatch(batch=largest, note="no larger batch is searched")


def max_image(
    network: Network, *, device: Device, protocol: Protocol, environment: Environment
) -> LargestImage:
    """Search the largest height and width, in the input's own proportions, whose verdict is fit.

    The search skips sizes that Caffe rejects because blobs to be joined then differ, and those that
    the network's weights do not fit.

    Raises:
        InvalidInputError: The network has no images.
    """
    height, width = input_size.image_size(network)
    own = max(height, width)

    def size_of(longer: int) -> tuple[int, int]:
        scale = longer / own
        return max(1, round(height * scale)), max(1, round(width * scale))

    def made(longer: int) -> Network | None:
        for side in range(longer, max(longer - _NEIGHBOURS, 0), -1):
            try:
                return _checked(input_size.with_image_size(network, *size_of(side)), protocol)
            except InvalidInputError:
                continue
        return None

    def usable(changed: Network | None) -> bool:
        return changed is not None and not (
            network.weights is not None and input_size.other_parameters(network, changed)
        )

    def fits(changed: Network) -> bool:
        planned = plan(changed, protocol=protocol, environment=environment)
        return judge(planned, device).verdict == "fit"

    def reaches(longer: int) -> bool:
        changed = made(longer)
        if changed is None or not usable(changed):
            # Below the smallest size that works no size is known to be too large.
            return longer < own
        return fits(changed)

    best = made(_largest(reaches, input_size.MAX_SIDE))
    if best is None or not usable(best) or not fits(best):
        note = "of those that the weights fit" if network.weights is not None else ""
        return LargestImage(height=0, width=0, note=note)
    found = input_size.image_size(best)
    other = input_size.other_parameters(network, best)
    note = ""
    if other:
        note = (
            f"another network than at {height}x{width}, since {_named(list(other))} other "
            f"parameters there: weights for {height}x{width} do not fit it (--weights FILE "
            "searches the sizes that they fit)"
        )
    elif max(found) == input_size.MAX_SIDE:
        note = "no larger image is searched"
    return LargestImage(height=found[0], width=found[1], note=note, other_parameters=other)


def _with_batch(network: Network, batch: int, protocol: Protocol) -> Network:
    return _checked(input_size.with_batch(network, batch), protocol)


def _checked(network: Network, protocol: Protocol) -> Network:
    """Return the network if Caffe sets it up under the protocol, else raise InvalidInputError."""
    if protocol == "caffe-time":
        network.check_training_phase()
    return network


def _named(layers: Sequence[str]) -> str:
    rest = len(layers) - 1
    more = f" and {rest} more layer{'s' if rest > 1 else ''} have" if rest else " has"
    return f"'{layers[0]}'{more}"


def _largest(fits: Callable[[int], bool], limit: int) -> int:
    """Return the largest number up to `limit` that fits, if all below it do; 0 if 1 does not."""
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
