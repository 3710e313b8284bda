"""Compare the blobs of two runs: outputs by their values, layers by their signatures.

The distance of two blobs without values is estimated from their projections (see
pibench/probe/values.py): the mean of the squared differences is an unbiased estimate of the
squared distance. With 16 projections the estimate is within a factor of 2.5, as a test verifies.
The difference of the norms and of the extremes never exceeds the distance.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pibench.crosscheck.metrics import Comparison, neither_ended
from pibench.crosscheck.values import (
    NonFinite,
    Tolerance,
    ValueComparison,
    Values,
    compare_values,
    describe_non_finite,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pibench.crosscheck.sides import Entry
    from pibench.records.schema import BlobSummary, LayerSignature, OutputBlob

OUTPUT_TOLERANCE: Final = Tolerance(atol=1e-6, rtol=1e-4)
"""Over ten times the difference of Caffe's outputs between arm64 and amd64: docs/outputs.md."""

Way = Literal["equal", "values", "projection", "none"]

Key = tuple[str, str, int]
"""A blob written by a layer: the layer, the blob, and its index among blobs of that name."""


@dataclass(frozen=True, kw_only=True)
class BlobComparison:
    """One output blob on two sides; true only if it was compared and agrees.

    `way` is the method: by SHA-256, by values, or by projections. Projections give `distance`
    (Euclidean, estimated) and `relative` (as a fraction of the first one's norm).
    """

    name: str
    agrees: bool | None
    way: Way = "none"
    why: str = ""
    values: ValueComparison | None = None
    distance: float | None = None
    relative: float | None = None

    def __bool__(self) -> bool:
        return self.agrees is True


@dataclass(frozen=True, kw_only=True)
class OutputsComparison(Comparison):
    """All output blobs; the tolerance is the same for each."""

    blobs: tuple[BlobComparison, ...] = ()

    @property
    def top1(self) -> bool | None:
        """Whether the top class is the same in each blob of scores; None if there is none."""
        return _each(blob.values.top1 for blob in self.blobs if blob.values is not None)

    @property
    def top5(self) -> bool | None:
        """Whether the top five classes and their order are the same; None as for `top1`."""
        return _each(blob.values.top5 for blob in self.blobs if blob.values is not None)


def compare_outputs(
    first: Entry, second: Entry, tolerance: Tolerance = OUTPUT_TOLERANCE
) -> OutputsComparison:
    """Compare blobs by name, if both sides had the same input."""
    why = _incomparable(first, second)
    if why:
        return OutputsComparison(
            metric="outputs", agrees=None, why=why, not_applicable=neither_ended(first, second)
        )
    left, right = ({blob.name: blob for blob in entry.outputs} for entry in (first, second))
    blobs = [
        _compare_outputs(blob, right[name], tolerance)
        if name in right
        else BlobComparison(name=name, agrees=False, why=f"{second.source} has no such output")
        for name, blob in left.items()
    ]
    blobs += [
        BlobComparison(name=name, agrees=False, why=f"{first.source} has none")
        for name in right
        if name not in left
    ]
    answers = {blob.agrees for blob in blobs}
    return OutputsComparison(
        metric="outputs",
        agrees=None if None in answers and False not in answers else False not in answers,
        why="; ".join(f"{blob.name}: {blob.why}" for blob in blobs if blob.why),
        required=_required(blobs),
        blobs=tuple(blobs),
    )


def _incomparable(first: Entry, second: Entry) -> str:
    """Explain why the outputs are not of the same computation; empty if they are."""
    for entry in (first, second):
        if not entry.outputs:
            return f"{entry.source}: {entry.values.reason}"
        if entry.input_sha256 is None:
            return f"{entry.source} does not tell its input (a record before version 1.2)"
    if first.input_sha256 != second.input_sha256:
        return f"the inputs differ (seeds {first.seed} and {second.seed})"
    if first.weights_sha256 != second.weights_sha256:
        return "the weights differ; pibench bisect says from which layer on"
    return ""


def _decoded(blob: OutputBlob) -> Values | None:
    """Return a blob's recorded values; None if none are recorded."""
    if blob.values is None:
        return None
    try:
        return Values.decode(blob.shape, base64.b64decode(blob.values, validate=True))
    except (ValueError, binascii.Error):
        return None


def _compare_outputs(a: OutputBlob, b: OutputBlob, tolerance: Tolerance) -> BlobComparison:
    values = _decoded(a), _decoded(b)
    if values[0] is not None and values[1] is not None and values[0].shape == values[1].shape:
        found = compare_values(values[0], values[1], tolerance)
        return BlobComparison(
            name=a.name,
            way="equal" if a.sha256 == b.sha256 else "values",
            agrees=found.agrees,
            why=describe_non_finite(*found.non_finite),
            values=found,
        )
    why = _unlike(a, b, equal_nan=tolerance.equal_nan)
    if why:
        return BlobComparison(name=a.name, agrees=False, why=why)
    if (a.values is not None and values[0] is None) or (b.values is not None and values[1] is None):
        # Summaries may be of other values than what was damaged.
        why = "the recorded values are damaged: not base64, or not as many as the shape has"
        return BlobComparison(name=a.name, agrees=None, why=why)
    if a.sha256 == b.sha256:
        return BlobComparison(
            name=a.name, way="equal", agrees=True, why=_unlike(a, b), distance=0.0, relative=0.0
        )
    apart = estimated_distance(a, b)
    why = _unlike_places(a, b)
    if apart is None or why:
        why = why or "neither the values nor projections of both are at hand"
        return BlobComparison(name=a.name, agrees=None, why=why)
    norm = a.l2_norm or 0.0
    return BlobComparison(
        name=a.name,
        way="projection",
        agrees=apart <= tolerance.distance(math.prod(a.shape), norm),
        distance=apart,
        relative=relative_distance(apart, norm),
    )


def non_finite_outputs(outputs: Iterable[OutputBlob]) -> list[str]:
    """Describe each output with a NaN or an infinity in one sentence."""
    found = []
    for blob in outputs:
        if blob.non_finite_count:
            values = _decoded(blob)
            found.append(
                f"of output {blob.name}, "
                + (_not_finite(blob) if values is None else str(NonFinite.of(values)))
            )
    return found


def _not_finite(blob: BlobSummary) -> str:
    return f"{blob.non_finite_count} of {math.prod(blob.shape)} values are NaN or infinite"


def _required(blobs: list[BlobComparison]) -> float | None:
    """Return the smallest rtol that would accept all blobs; None if none would."""
    required = [
        blob.relative if blob.values is None else blob.values.required_rtol for blob in blobs
    ]
    known = [one for one in required if one is not None]
    return max(known, default=None) if len(known) == len(required) else None


def _each(answers: Iterable[bool | None]) -> bool | None:
    """Return whether all answers that are not None are true; None if there are none."""
    known = [answer for answer in answers if answer is not None]
    return all(known) if known else None


@dataclass(frozen=True, kw_only=True)
class LayerComparison:
    """One blob written by a layer, in two runs; true if it is within the tolerance.

    `distance` is an estimated Euclidean distance, None if it cannot be estimated. `relative` is the
    same as a fraction of the first one's norm. `why` describes a difference that is not a distance.
    """

    layer: str
    name: str
    type: str
    index: int
    shape: tuple[int, ...]
    agrees: bool
    identical: bool
    distance: float | None
    relative: float | None
    why: str = ""

    def __bool__(self) -> bool:
        return self.agrees


@dataclass(frozen=True, kw_only=True)
class LayersComparison:
    """All blobs that both runs have, in the order of the first; true if all agree.

    `only_first` and `only_second` are the layers without a blob in the other run.
    """

    layers: tuple[LayerComparison, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    def __bool__(self) -> bool:
        return all(self.layers) and not self.only_first and not self.only_second

    @property
    def first_divergence(self) -> LayerComparison | None:
        """The first blob beyond the tolerance."""
        return next((layer for layer in self.layers if not layer), None)

    @property
    def worst(self) -> LayerComparison | None:
        """The blob with the largest relative difference."""
        known = (layer for layer in self.layers if layer.relative is not None)
        return max(known, key=lambda layer: layer.relative or 0.0, default=None)


def compare_layers(
    first: Sequence[LayerSignature], second: Sequence[LayerSignature], tolerance: Tolerance
) -> LayersComparison:
    """Compare the blobs that both runs have, by layer and blob name.

    Args:
        first: the signatures of the reference run, in execution order.
        second: the signatures of the other run.
        tolerance: the accepted distance of a whole blob (`Tolerance.distance`).
    """
    left, right = _by_key(first), _by_key(second)
    common = [key for key in left if key in right]
    return LayersComparison(
        layers=tuple(_compare_signatures(left[key], right[key], tolerance) for key in common),
        only_first=tuple(dict.fromkeys(key[0] for key in left if key not in right)),
        only_second=tuple(dict.fromkeys(key[0] for key in right if key not in left)),
    )


def estimated_distance(first: BlobSummary, second: BlobSummary) -> float | None:
    """Estimate the Euclidean distance of the finite values of two blobs from their summaries.

    Returns:
        0 for equal blobs; None if one of them has no projection.
    """
    if first.sha256 == second.sha256:
        return 0.0
    if not first.projection or len(first.projection) != len(second.projection):
        return None
    squares = [(a - b) ** 2 for a, b in zip(first.projection, second.projection, strict=True)]
    pairs = (
        (first.l2_norm, second.l2_norm),
        (first.minimum, second.minimum),
        (first.maximum, second.maximum),
    )
    bounds = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    return max(math.sqrt(sum(squares) / len(squares)), *bounds)


def relative_distance(distance: float, norm: float) -> float | None:
    """Return the distance as a fraction of a norm; None if the norm is 0 or nearly 0."""
    found = distance / norm if norm else math.inf
    return found if math.isfinite(found) else None


def _unlike(first: BlobSummary, second: BlobSummary, *, equal_nan: bool = False) -> str:
    """Describe a difference that is not a distance: another shape, or values that are not finite.

    With `equal_nan`, blobs with the same number of non-finite values on both sides are compared.
    """
    if first.shape != second.shape:
        return f"shape {_times(first.shape)} and {_times(second.shape)}"
    counts = first.non_finite_count, second.non_finite_count
    if counts == (0, 0) or (equal_nan and counts[0] == counts[1]):
        return ""
    words = _not_finite(first), _not_finite(second)
    return f"{words[0]} on both sides" if counts[0] == counts[1] else " | ".join(words)


def _unlike_places(first: BlobSummary, second: BlobSummary) -> str:
    """Explain what summaries cannot show about two blobs with equally many NaN or infinities.

    The result is empty if the blobs are equal, or if all values are finite.
    """
    if not first.non_finite_count or first.sha256 == second.sha256:
        return ""
    return (
        f"{_not_finite(first)} on both sides, and only whole blobs tell whether in the same places"
    )


def _compare_signatures(
    a: LayerSignature, b: LayerSignature, tolerance: Tolerance
) -> LayerComparison:
    why = _unlike(a, b, equal_nan=tolerance.equal_nan) or _unlike_places(a, b)
    apart = None if why else estimated_distance(a, b)
    norm = a.l2_norm or 0.0
    identical = a.sha256 == b.sha256 and not why
    agrees = identical or (
        apart is not None and 0 < apart <= tolerance.distance(math.prod(a.shape), norm)
    )
    if not why and apart is None:
        why = "the projections are missing"
    return LayerComparison(
        **{name: getattr(a, name) for name in ("layer", "name", "type", "index", "shape")},
        agrees=agrees,
        identical=identical,
        distance=apart,
        relative=None if apart is None else relative_distance(apart, norm),
        why=why,
    )


def _by_key(signatures: Sequence[LayerSignature]) -> dict[Key, LayerSignature]:
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for one in signatures:
        found[one.layer, one.name, seen[one.layer, one.name]] = one
        seen[one.layer, one.name] += 1
    return found


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a scalar"
