"""Format a plan for JSON, and answer what would fit: optimizations, largest batch and image."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pibench.engines.caffe import CAFFE, topology
from pibench.engines.registry import engine_of, label_of
from pibench.errors import InvalidInputError
from pibench.judgements import judge
from pibench.networks import fold_bn
from pibench.networks.network import MAX_BATCH, MAX_SIDE
from pibench.plan.planner import Plan, plan
from pibench.plan.process import FLOAT_BYTES
from pibench.setups import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pibench.devices import Device
    from pibench.engines.base import Protocol
    from pibench.engines.caffe.shapes import Shapes
    from pibench.judgements import Judgement
    from pibench.networks.network import Network, OtherParameters
    from pibench.plan.environment import Environment

LARGEST = 10
"""How many allocations are listed."""
REST = "BLAS buffers and free heap"
"""The kind of what is resident and belongs to no block of the program."""

_FEWEST = (1, 2)
"""Batches that must work for a search; a refusal of two images is not about their memory."""
_NEIGHBOURS = 32
"""How many smaller sizes are tried in place of one that Caffe rejects.

32 is the stride of most classifiers: which sizes their branches can be joined at repeats with it.
"""

_ENGINES = (
    ("caffe",),
    ("ncnn", "ncnn:winograd=off"),
    ("opencv", "opencv:winograd=off", "opencv==4.5.1"),
)
"""The engines to try where Caffe does not fit: 4.5.1 is the OpenCV of Raspberry Pi OS 11."""

_OWN_OUTPUT = frozenset(
    {"BatchNorm", "Concat", "Convolution", "Eltwise", "InnerProduct", "LRN", "Pooling", "Scale"}
)
"""Layers that write a first top of their own, unless they work in place."""

_PLANNED = (
    "peak_rss_bytes", "network_rss_bytes", "headroom_bytes", "memory_required_for_data_bytes",
)  # fmt: skip


def summary(planned: Plan, device: Device, judged: Judgement) -> dict[str, Any]:
    """Return the plan's figures, sizes in bytes. Keys that a record has mean the same here."""
    network = planned.network
    engine = label_of(planned.environment.engine)
    planned_kind = {
        "kind": "planned",
        "reason": f"from a static model of {engine}'s allocations; nothing was run",
    }
    baseline = {
        "kind": "planned",
        "reason": f"measured for {planned.environment.architecture} when the plan was calibrated",
    }
    answer: dict[str, Any] = {
        "network": network.name,
        "network_sha256": network.sha256,
        "network_source": network.recorded_source,
        "parameter_count": network.parameter_count,
        "repairs": list(network.repairs),
        "fork_layers": list(network.fork_layers),
        "assumptions": list(network.assumptions),
        "device": device.id,
        "protocol": planned.protocol,
        "batch": network.batch_under(planned.protocol),
        "verdict": judged.verdict,
        "peak_rss_bytes": planned.peak_rss_bytes,
        "baseline_rss_bytes": planned.baseline_rss_bytes,
        "network_rss_bytes": planned.peak_rss_bytes - planned.baseline_rss_bytes,
        "headroom_bytes": judged.headroom_bytes,
        "band_bytes": planned.band_bytes,
        "memory_required_for_data_bytes": planned.data_bytes,
        "usable_bytes": device.usable_bytes,
        "reserve_bytes": device.reserve_bytes,
        "environment": {
            "architecture": planned.environment.architecture,
            "core": planned.environment.kernel.core,
            "threads": planned.environment.threads,
            "setup": planned.environment.setup,
            "engine": engine_of(planned.environment.engine).resolved,
        },
        "peak_at": {"phase": planned.peak_step.phase, "layer": planned.peak_step.layer},
        "allocations": [
            {"layer": allocation.layer, "kind": allocation.kind, "bytes": allocation.size_bytes}
            for allocation in planned.allocations[:LARGEST]
        ],
        "provenance": dict.fromkeys(_PLANNED, planned_kind) | {"baseline_rss_bytes": baseline},
    }
    if planned.data_bytes is None:
        answer["provenance"]["memory_required_for_data_bytes"] = {
            "kind": "unavailable",
            "reason": f"Caffe prints this figure, and the plan is of {engine}",
        }
    return answer


def timeline(planned: Plan) -> list[dict[str, Any]]:
    """Return every step: phase, layer, resident bytes at its end and at most within it."""
    return [step._asdict() for step in planned.steps]


def resident_by_kind(planned: Plan) -> list[dict[str, int]]:
    """Return what is resident at the end of every step by kind of allocation, in bytes.

    `REST` is what belongs to no block: buffers of the BLAS, and freed memory that the heap keeps.
    The values of a step add up to its `resident_bytes`, but for pages that two blocks share.
    """
    process, steps = planned.process, planned.steps
    # What lives to the end is freed in the last step before the program's exit.
    last = len(steps) - 1 - (steps[-1].phase == "exit")
    changed: list[dict[str, int]] = [defaultdict(int) for _ in range(len(steps) + 1)]
    changed[0]["program"] = planned.program.program_bytes
    for memory in process.memories:
        block = memory.block
        if block is not None:
            size_bytes = block.chunk_bytes if block.is_written else block.resident_bytes
            ends = memory.died + (memory.died == last)
            changed[memory.born][memory.kind] += size_bytes
            if ends < len(steps):
                changed[ends][memory.kind] -= size_bytes
    sizes: dict[str, int] = defaultdict(int)
    found = []
    for step, by_kind in zip(steps, changed, strict=False):
        for kind, size_bytes in by_kind.items():
            sizes[kind] += size_bytes
        known = {kind: size for kind, size in sizes.items() if size}
        found.append(known | {REST: max(0, step.resident_bytes - sum(known.values()))})
    return found


def changes(planned: Plan) -> list[dict[str, Any]]:
    """Return the changes that would change the peak."""
    return [asdict(one) for one in optimizations(planned)]


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
    if planned.protocol == "caffe-time" and planned.network.runs_under("inference"):
        forward = plan(planned.network, protocol="inference", environment=planned.environment)
        found.append(("--protocol inference", forward))
    for change, network in (
        ("in place", in_place(planned.network)),
        ("fold-bn", folded(planned.network)),
    ):
        # Folded, a network is that of the test phase, whose sources may be for that phase alone.
        if network is not None and network.runs_under(planned.protocol):
            other = plan(network, protocol=planned.protocol, environment=planned.environment)
            found.append((change, other))
    peak = planned.peak_rss_bytes
    optimized = [
        Optimization(change, other.peak_rss_bytes, peak - other.peak_rss_bytes)
        for change, other in found
    ]
    return sorted(optimized, key=lambda one: -one.saved_bytes)


class OtherEngine(NamedTuple):
    """An engine as `--engine` takes it, and the network's plan and verdict with it."""

    engine: str
    planned: Plan
    judged: Judgement


def other_engines(planned: Plan, device: Device) -> list[OtherEngine]:
    """Return the other engines that are planned to fit, forward only, the smallest peak first.

    Of each engine the default fits, or else the first of its settings and versions that does. They
    are engines and settings other than the plan's own.
    """
    own = engine_of(planned.environment.engine)
    found = []
    for tried in _ENGINES:
        for engine in tried:
            if engine_of(engine).resolved == own.resolved or (engine == own.id == CAFFE.id):
                continue
            environment = replace(planned.environment, engine=engine, setup=DEFAULT)
            try:
                other = plan(
                    planned.network,
                    protocol="inference",
                    environment=environment,
                    most_bytes=device.usable_bytes,
                )
            except InvalidInputError:
                continue
            judged = judge(other, device)
            if judged.verdict == "fit":
                found.append(OtherEngine(engine, other, judged))
                break
    return sorted(found, key=lambda one: one.planned.peak_rss_bytes)


def other_engines_as_dicts(planned: Plan, device: Device) -> list[dict[str, Any]]:
    """Return what `other_engines` finds, as `plan --json` has it."""
    return [
        {
            "engine": engine,
            "peak_rss_bytes": other.peak_rss_bytes,
            "headroom_bytes": judged.headroom_bytes,
            "kind": "planned",
        }
        for engine, other, judged in other_engines(planned, device)
    ]


def least_peak_bytes(
    found: Shapes, protocol: Protocol, environment: Environment, *, but: Collection[str] = ()
) -> int:
    """Return a lower bound of the peak with Caffe, without layers of the types in `but`.

    At the end of its first pass Caffe has every parameter and the output of every layer that makes
    one of its own, and each convolution its im2col buffer; `caffe time` then fills the gradient of
    every parameter that learns. A BatchNorm has two copies of its bottom, and `caffe time` fills
    its bottom's gradient. A Scale in place has a copy of its bottom.
    """
    trains = protocol == "caffe-time"
    parameters, others = found.parameter_count, 0
    for position, layer in enumerate(found.layers):
        kind = layer.type
        bottoms, tops, weights = (
            found.bottoms[position], found.tops[position], found.weights[position]
        )  # fmt: skip
        if kind in but:
            parameters -= sum(map(math.prod, weights))
            continue
        if kind in _OWN_OUTPUT:
            in_place = layer.top[0] == layer.bottom[0]
            # A Concat of one blob shares it.
            if not in_place and (kind != "Concat" or len(bottoms) > 1):
                others += math.prod(tops[0])
        if kind == "BatchNorm":
            writer = found.layers[found.sources[position][0][0]]
            # What is written in place has the gradient of the blob before.
            fills = trains and layer.bottom[0] not in writer.bottom
            others += (2 + fills) * math.prod(bottoms[0])
        elif kind == "Scale" and in_place:
            others += math.prod(bottoms[0])
        elif kind == "Convolution" and layer.convolution_param.axis == 1:
            _, depth, *kernel = weights[0]
            if math.prod(kernel) > 1:
                columns = layer.convolution_param.group * depth * math.prod(kernel)
                others += columns * math.prod(tops[0][2:])
    if trains:
        parameters += max(0, parameters - frozen_count(found, but))
    return environment.program(protocol).baseline_bytes + FLOAT_BYTES * (parameters + others)


def frozen_count(found: Shapes, but: Collection[str] = ()) -> int:
    """Return the number of parameters whose gradient is never filled, but for some layer types."""
    return sum(
        math.prod(shape)
        for layer, shapes in zip(found.layers, found.weights, strict=True)
        if shapes and layer.type not in but
        for spec, shape in zip(layer.param, shapes, strict=False)
        if spec.lr_mult <= 0
    )


def least_forward_bytes(planned: Plan) -> int:
    """Return a lower bound of the peak of `inference`, from the plan of `caffe-time`.

    It is what the network has at the end of the first forward pass, if both phases have the same
    layers and no Dropout, which has a mask when training alone.
    """
    network = planned.network
    training, test = (network.shapes_under(one) for one in ("caffe-time", "inference"))
    types = [layer.type for layer in test.layers]
    if (
        "Dropout" in types
        or types != [layer.type for layer in training.layers]
        or (test.tops, test.weights) != (training.tops, training.weights)
    ):
        return least_peak_bytes(test, "inference", planned.environment)
    forward = itertools.takewhile(lambda step: step.phase != "backward", planned.steps)
    program = planned.environment.program("inference")
    return max(step.resident_bytes for step in forward) + (
        program.baseline_bytes - planned.baseline_rss_bytes
    )


def in_place(network: Network) -> Network | None:
    """Return the network with layers that can overwrite their bottom in place; None without."""
    changed = network.copy()
    return changed if topology.make_in_place(changed.net, path=network.place) else None


def shapes_in_place(network: Network, changed: Network) -> Shapes:
    """Return the shapes of what `in_place` returns, for a bound: only blobs have other names."""
    return replace(network.shapes, layers=topology.layers(changed.net, changed.place))


def folded(network: Network) -> Network | None:
    """Return the network with BatchNorm and Scale folded; None where there is none to fold."""
    if network.shapes.phase != "TEST" or not fold_bn.find(
        topology.layers(network.net, network.place)
    ):
        return None
    changed = network.copy()
    changed.net.CopyFrom(fold_bn.fold(network.net, path=network.place))
    return changed


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
            return plan(larger, protocol=protocol, environment=environment)
        except InvalidInputError:
            # A blob has more elements than Caffe can count, or the engine takes one image.
            return None

    def fits(batch: int) -> bool:
        found = planned(batch)
        return found is not None and judge(found, device).verdict == "fit"

    largest = _largest(fits, MAX_BATCH)
    if largest < MAX_BATCH:
        return LargestBatch(batch=largest)
    most, one = planned(MAX_BATCH), planned(1)
    if engine_of(environment.engine).one_image:
        return LargestBatch(
            batch=largest, note=f"{label_of(environment.engine)} takes one image at a time"
        )
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
    height, width = network.image_size()
    own = max(height, width)

    def size_of(longer: int) -> tuple[int, int]:
        scale = longer / own
        return max(1, round(height * scale)), max(1, round(width * scale))

    def made(longer: int) -> Network | None:
        for side in range(longer, max(longer - _NEIGHBOURS, 0), -1):
            try:
                return _checked(network.with_image_size(*size_of(side)), protocol)
            except InvalidInputError:
                continue
        return None

    def usable(changed: Network | None) -> bool:
        return changed is not None and not (
            network.weights is not None and network.other_parameters(changed)
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

    best = made(_largest(reaches, MAX_SIDE))
    if best is None or not usable(best) or not fits(best):
        note = "of those that the weights fit" if network.weights is not None else ""
        return LargestImage(height=0, width=0, note=note)
    found = best.image_size()
    other = network.other_parameters(best)
    note = ""
    if other:
        note = (
            f"another network than at {height}x{width}, since {_named(list(other))} other "
            f"parameters there: weights for {height}x{width} do not fit it (--weights FILE "
            "searches the sizes that they fit)"
        )
    elif max(found) == MAX_SIDE:
        note = "no larger image is searched"
    return LargestImage(height=found[0], width=found[1], note=note, other_parameters=other)


def _with_batch(network: Network, batch: int, protocol: Protocol) -> Network:
    return _checked(network.with_batch(batch), protocol)


def _checked(network: Network, protocol: Protocol) -> Network:
    """Return the network if Caffe sets it up under the protocol, else raise InvalidInputError."""
    _ = network.shapes_under(protocol)
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
