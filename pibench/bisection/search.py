"""Find the first layer of a network whose values differ between two sides.

The runs' signatures identify the layer. Whole blobs are then compared for that layer and its
inputs only. Finally, that layer alone runs on both sides with the first side's input: if the
outputs still differ, the layer is the cause; if not, it only amplified an earlier difference.
"""

from __future__ import annotations

import contextlib
import difflib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pibench.bisection.sides import Recorded, Runnable, no_values, prepare
from pibench.crosscheck.blobs import (
    LayerComparison,
    LayersComparison,
    compare_layers,
    relative_distance,
)
from pibench.crosscheck.sides import differing_facts, entry_of
from pibench.crosscheck.values import (
    NonFinite,
    Tolerance,
    Values,
    describe_non_finite,
    distance,
    errors,
    norm,
)
from pibench.display import Displayed
from pibench.engines import registry
from pibench.engines.base import LAYER_RTOL
from pibench.engines.caffe import CAFFE, cut
from pibench.errors import HostError, InvalidInputError
from pibench.images.build import Builder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pibench.bisection.sides import Load, Side, Wanted
    from pibench.engines.caffe.caffe_pb2 import LayerParameter
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.runner.options import RunOptions
    from pibench.targets.base import KeptBlob

LAYER_TOLERANCE: Final = Tolerance(atol=0.0, rtol=LAYER_RTOL)
"""Euclidean, for a whole blob; an engine that rounds more has its own: `Engine.layer_rtol`."""

_RECORDED: Final = (
    "{}: a record cannot be run again; whole blobs, and whether the layer differs on "
    "identical input, need two targets"
)


@dataclass(frozen=True, kw_only=True)
class BlobDifference:
    """A blob of both sides, compared value by value: true if within the tolerance.

    `relative` is the Euclidean distance as a fraction of the first one's norm. `largest` is the
    largest difference, at `place`, where the sides have the values `first` and `second`. `why`
    describes differences other than a distance: another shape, and NaN or infinite values, which
    `non_finite` counts for each side.
    """

    layer: str
    name: str
    agrees: bool
    identical: bool = False
    relative: float | None = None
    largest: float | None = None
    place: tuple[int, ...] = ()
    first: float | None = None
    second: float | None = None
    why: str = ""
    non_finite: tuple[NonFinite, NonFinite] | None = None

    def __bool__(self) -> bool:
        return self.agrees


@dataclass(frozen=True, kw_only=True)
class Bisection(Displayed):
    """The result; true if no layer differs.

    `first_divergence` is the first layer that differs, by signatures. `blob` is its whole blob,
    `inputs` are the blobs that it reads. `isolated` is its blob if both sides get the first side's
    input: None if that could not be run; `caveats` then gives the reason. `definition` has the
    lines of the layer's definition that differ. `left_out` are the layers that one side's engine
    does not have as layers of their own. `cause` is the conclusion in one sentence.
    """

    network: str
    first: str
    second: str
    tolerance: Tolerance
    surroundings: tuple[tuple[str, str, str], ...]
    layers: LayersComparison
    first_divergence: LayerComparison | None
    blob: BlobDifference | None = None
    inputs: tuple[BlobDifference, ...] = ()
    isolated: BlobDifference | None = None
    definition: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    cause: str
    caveats: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.network}, {self.first} against {self.second}: {self.cause}>"

    def __bool__(self) -> bool:
        # A layer may differ by signatures although its values, compared in full, do not.
        unmatched = self.layers.only_first or self.layers.only_second
        return self.first_divergence is None and not unmatched


def bisect_runs(
    network: Network,
    texts: tuple[str, str],
    options: RunOptions,
    *,
    seed: int | None = None,
    batch: int | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    equal_nan: bool = False,
    default_target: str = "twin",
    load: Load,
    log: Callable[[str], None] = lambda _: None,
) -> Bisection:
    """Run the two sides that texts name, or read their records, and bisect them.

    Args:
        network: The network of both sides.
        texts: A target, TARGET:key=value,..., an engine, or a record file for each side.
        options: The options of both runs, under which layers have values.
        seed: The seed, None if none was given: a record then has its own.
        batch: The batch size, None if none was given.
        atol: The absolute tolerance, None for that of the engines.
        rtol: The relative tolerance, None for that of the engines.
        equal_nan: Treat two NaN values as equal.
        default_target: Where an engine runs that is named without a target.
        load: Reads a prototxt that one side has instead.
        log: Called with a message at each step.

    Raises:
        InvalidInputError: A side cannot be used; nothing has run then.
        InconclusiveError: A run did not complete.
        HostError: A target cannot run anything.
    """
    prepared = prepare(
        network,
        texts,
        options,
        seed=seed,
        batch=batch,
        default_target=default_target,
        builder=Builder(log),
        load=load,
    )
    sides: list[Side] = []
    for one in prepared:
        log(f"{one.name}: {network.name}")
        sides.append(one.start())
    given = {name: x for name, x in (("atol", atol), ("rtol", rtol)) if x is not None}
    tolerance = replace(tolerance_for(*sides), **given, equal_nan=equal_nan)
    return bisect(sides[0], sides[1], tolerance, log)


def bisect(
    first: Side,
    second: Side,
    tolerance: Tolerance | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Bisection:
    """Find the first layer that differs between two sides, the first of which is the reference.

    `tolerance` is the accepted difference of a blob, by default `tolerance_for` the sides; `log` is
    called with a message at each step.

    Raises:
        InvalidInputError: if the sides are not runs of the same input, or one has no layer values.
        HostError: if a required run fails.
    """
    _check(first.record, second.record)
    tolerance = tolerance or tolerance_for(first, second)
    left, right = first.record.signatures, second.record.signatures
    folded = _folded(first) | _folded(second)
    left, right = (
        tuple(one for one in signatures if (one.layer, one.name) not in folded)
        for signatures in (left, right)
    )
    layers = compare_layers(left, right, tolerance)
    known = Bisection(
        network=first.record.network,
        first=first.name,
        second=second.name,
        tolerance=tolerance,
        surroundings=_surroundings(first.record, second.record),
        layers=layers,
        first_divergence=layers.first_divergence,
        left_out=tuple(dict.fromkeys(layer for layer, _ in folded)),
        cause="no layer differs",
    )
    if layers.first_divergence is None:
        gone = [*layers.only_first, *layers.only_second]
        return known if not gone else replace(known, cause=f"only one side has {', '.join(gone)}")
    if isinstance(first, Recorded) or isinstance(second, Recorded):
        recorded = [side.name for side in (first, second) if isinstance(side, Recorded)]
        return replace(
            known,
            cause=f"{layers.first_divergence.layer} is the first layer that differs, by signatures"
            + (f": {layers.first_divergence.why}" if layers.first_divergence.why else ""),
            caveats=(_RECORDED.format(" and ".join(recorded)),),
        )
    return _look_closer(first, second, known, log)


def _surroundings(first: Record, second: Record) -> tuple[tuple[str, str, str], ...]:
    """Return the differences of the environments; two engines are one of them."""
    found = differing_facts([(entry_of(first), entry_of(second))])
    if first.engine == second.engine:
        return tuple(found)
    # What only one engine has, such as a BLAS, is not a difference of the environments.
    known = [one for one in found if "unknown" not in one]
    return tuple(sorted(known, key=lambda one: one[0] != "engine"))


def _folded(side: Side) -> dict[Wanted, None]:
    """Return the blobs of a side's network whose layers its engine does not have."""
    if isinstance(side, Recorded) or side.record.engine == CAFFE.id:
        return {}
    has = {(one.layer, one.name) for one in side.record.signatures}
    layers = side.network.shapes_under("inference").layers
    # No engine gives the values of a Split, which copies nothing.
    written = [(one.name, name) for one in layers if one.type != "Split" for name in one.top]
    return {one: None for one in written if one not in has}


def tolerance_for(first: Side, second: Side) -> Tolerance:
    """Return the tolerance that suffices for what the engines of both sides round."""
    rtols = [LAYER_TOLERANCE.rtol]
    for record in (first.record, second.record):
        settings = (record.engine_version or "").split(", ")[1:]
        # The engine of a record may not be installed here.
        with contextlib.suppress(InvalidInputError):
            engine = registry.engine_of(":".join([record.engine, *settings]))
            rtols.append(engine.layer_rtol)
    return replace(LAYER_TOLERANCE, rtol=max(rtols))


def _check(first: Record, second: Record) -> None:
    """Check that the two runs can be bisected."""
    for record in (first, second):
        problem = no_values(record)
        if problem:
            raise InvalidInputError(
                f"{record.target}: {problem}",
                hint="run it with --protocol inference --compute real",
            )
    if first.input_sha256 != second.input_sha256:
        raise InvalidInputError(
            f"the inputs differ from the start (seeds {first.seed} and {second.seed})",
            hint="run both sides with the same seed, batch and image size",
        )


def _look_closer(
    first: Runnable, second: Runnable, known: Bisection, log: Callable[[str], None]
) -> Bisection:
    """Compare whole blobs of the layer and its inputs; go up if the inputs differ too."""
    by_blob = {(one.layer, one.name): one for one in reversed(known.layers.layers)}
    seen: set[Wanted] = set()
    for candidate in [layer for layer in known.layers.layers if not layer]:
        found = candidate
        while True:
            log(f"comparing whole blobs of {found.layer} and of its inputs")
            blob, inputs, arrays = _fetch(first, second, found, known.tolerance)
            seen.add((found.layer, found.name))
            above = next(((one.layer, one.name) for one in inputs if not one), None)
            if above is None or above in seen or above not in by_blob:
                break
            # By the estimate it was within the tolerance, but its values are not.
            found = by_blob[above]
        closer = replace(known, first_divergence=found, blob=blob, inputs=tuple(inputs))
        if blob.non_finite and all(blob.non_finite) and not known.tolerance.equal_nan:
            # Alone it would differ again, which would not reveal the cause.
            cause = f"{found.layer} is the first layer with values that are not finite: {blob.why}"
            caveat = "whether it differs on identical input: NaN is equal to nothing"
            return replace(closer, cause=cause, caveats=(caveat,))
        if not blob:
            log(f"running {found.layer} alone, on identical input")
            return _run_alone(first, second, closer, arrays)
        # By the estimate it was beyond the tolerance, but its values are not: try the next layer.
    return replace(known, first_divergence=None, cause="no layer differs, value by value")


def _fetch(
    first: Runnable, second: Runnable, found: LayerComparison, tolerance: Tolerance
) -> tuple[BlobDifference, list[BlobDifference], dict[str, KeptBlob]]:
    """Return the layer's blob and its inputs on both sides, and the first side's inputs by blob."""
    wanted = [(found.layer, found.name)]
    shapes = first.network.shapes
    position = cut.find_layer(shapes, found.layer, found.name)
    if position is not None:
        wanted += [(one.layer, one.blob) for one in cut.readings(shapes, position)]
    layers = list(dict.fromkeys(layer for layer, _ in wanted))
    left, right = first.keep(layers), second.keep(layers)
    folded = _folded(first) | _folded(second)
    blobs = [_difference(one, left, right, tolerance) for one in wanted if one not in folded]
    known = {**right, **left}
    inputs = {name: known[layer, name] for layer, name in wanted[1:] if (layer, name) in known}
    return blobs[0], blobs[1:], inputs


def _run_alone(
    first: Runnable, second: Runnable, known: Bisection, inputs: dict[str, KeptBlob]
) -> Bisection:
    """Run the layer alone on both sides and derive the conclusion."""
    assert known.first_divergence is not None  # noqa: S101
    layer, blob = known.first_divergence.layer, known.first_divergence.name
    left, right = (cut.find_layer(side.network.shapes, layer, blob) for side in (first, second))
    if left is None or right is None:
        missing = (f"{layer} is not in both networks",)
        return replace(known, cause=f"{layer} differs", caveats=missing)
    layers = [side.network.shapes.layers[place] for side, place in ((first, left), (second, right))]
    left_lines, right_lines = (list(cut.definition(one)) for one in layers)
    lines = difflib.ndiff(left_lines, right_lines)
    differing = tuple(" ".join(line.split()) for line in lines if line[:1] in "+-")
    known = replace(known, definition=differing)
    if list(layers[0].bottom) != list(layers[1].bottom):
        return replace(known, cause=f"{layer} reads other blobs on the two sides")
    written = _written_otherwise(first, left, second, right)
    if written:
        return replace(known, cause=f"{layer} differs: {written}")
    if len(inputs) < len(set(layers[0].bottom)) or not inputs:
        why = f"{layer} reads nothing" if not layers[0].bottom else "its input is incomplete"
        return replace(known, cause=f"{layer} differs", caveats=(why,))
    alone = first.isolated(left, inputs), second.isolated(right, inputs)
    found = _difference((layer, blob), *alone, known.tolerance)
    known = replace(known, isolated=found)
    return replace(known, cause=_cause(known, found, (first, layers[0]), (second, layers[1])))


def _written_otherwise(first: Runnable, left: int, second: Runnable, right: int) -> str:
    """Describe inputs written by different layers on each side, e.g. an added in-place layer."""
    inputs = cut.readings(first.network.shapes, left), cut.readings(second.network.shapes, right)
    for one, other in zip(*inputs, strict=True):
        if one.layer != other.layer:
            reads = f"it reads {one.blob} as {one.layer} wrote it in {first.name}, and as "
            return f"{reads}{other.layer} did in {second.name}"
    return ""


def _cause(
    known: Bisection,
    isolated: BlobDifference,
    first: tuple[Runnable, LayerParameter],
    second: tuple[Runnable, LayerParameter],
) -> str:
    """Return the conclusion in one sentence, from the sides with their definitions of the layer."""
    assert known.first_divergence is not None  # noqa: S101
    layer = known.first_divergence.layer
    left, right = first[0].record, second[0].record
    if isolated:
        return (
            f"{layer} is where the difference first exceeds the tolerance; on identical input it "
            "agrees: the difference comes with its input"
        )
    if known.definition:
        reason = "its definition differs"
    elif left.weights_sha256 != right.weights_sha256:
        reason = "the weights differ"
    elif why := dict.fromkeys(
        side.options.effective_engine.difference(one) for side, one in (first, second)
    ).keys() - {""}:
        reason = " and ".join(sorted(why))
    elif left.engine != right.engine:
        engines = " and ".join(registry.label_of(one.engine) for one in (left, right))
        reason = f"{engines} compute the same layer and weights in different ways"
    else:
        reason = "the same layer and weights, computed in another way"
    return f"{layer} causes the difference: on identical input it still differs; {reason}"


def _difference(
    wanted: Wanted,
    left: Mapping[Wanted, KeptBlob],
    right: Mapping[Wanted, KeptBlob],
    tolerance: Tolerance,
) -> BlobDifference:
    """Compare one blob of both sides. Raises HostError if it is missing."""
    layer, name = wanted
    if wanted not in left or wanted not in right:
        raise HostError(
            f"the blob {name} of {layer} is not complete on both sides",
            hint="try again; target vm sends blobs over a serial line",
        )
    blobs = left[wanted], right[wanted]
    a, b = (Values.decode(blob.shape, blob.content) for blob in blobs)
    if a.shape != b.shape:
        why = f"shapes {a.shape} and {b.shape}"
        return BlobDifference(layer=layer, name=name, agrees=False, why=why)
    non_finite = NonFinite.of(a), NonFinite.of(b)
    apart = distance(a, b, equal_nan=tolerance.equal_nan)
    whole = norm(a)
    error = errors(a, b, equal_nan=tolerance.equal_nan)
    largest = max(error, default=0.0)
    index = error.index(largest) if error else None
    return BlobDifference(
        layer=layer,
        name=name,
        agrees=apart <= tolerance.distance(len(error), whole),
        identical=blobs[0].content == blobs[1].content,
        relative=relative_distance(apart, whole),
        largest=_finite(largest),
        place=() if index is None else a.place(index),
        first=None if index is None else _finite(a.flat[index]),
        second=None if index is None else _finite(b.flat[index]),
        why=describe_non_finite(*non_finite),
        non_finite=non_finite,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
