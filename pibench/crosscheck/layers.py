"""Compare two runs layer by layer by their signatures; needs records only, no blob values.

The distance of two blobs is estimated from their projections (see pibench/probe/values.py):
the mean of the squared differences is an unbiased estimate of the squared distance. With 16
projections the estimate is within a factor of 2.5, as a test verifies. The difference of the
norms and of the extremes never exceeds the distance.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pibench.crosscheck.values import Tolerance
    from pibench.records.schema import BlobSummary, LayerSignature

Key = tuple[str, str, int]
"""A blob written by a layer: the layer, the blob, and its index among blobs of that name."""


@dataclass(frozen=True, kw_only=True)
class LayerComparison:
    """One blob written by a layer, in two runs; true if it is within the tolerance.

    `distance` is an estimated Euclidean distance, None if it cannot be estimated. `relative` is
    the same as a fraction of the first one's norm. `why` describes a difference that is not a
    distance.
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
        told = [layer for layer in self.layers if layer.relative is not None]
        return max(told, key=lambda layer: layer.relative or 0.0, default=None)


def compare_layers(
    first: Sequence[LayerSignature], second: Sequence[LayerSignature], tolerance: Tolerance
) -> LayersComparison:
    """Compare the blobs that both runs have, by layer and blob name.

    Args:
        first: the signatures of the reference run, in execution order.
        second: the signatures of the other run.
        tolerance: the accepted distance of a whole blob (`Tolerance.distance`).
    """
    ours, theirs = _by_key(first), _by_key(second)
    common = [key for key in ours if key in theirs]
    return LayersComparison(
        layers=tuple(_compare(ours[key], theirs[key], tolerance) for key in common),
        only_first=_names(key for key in ours if key not in theirs),
        only_second=_names(key for key in theirs if key not in ours),
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


def share(distance: float, norm: float) -> float | None:
    """Return the distance as a fraction of a norm; None if the norm is 0 or nearly 0."""
    found = distance / norm if norm else math.inf
    return found if math.isfinite(found) else None


def unlike(first: BlobSummary, second: BlobSummary, *, equal_nan: bool = False) -> str:
    """Describe a difference that is not a distance: another shape, or values that are not finite.

    With `equal_nan`, blobs with the same number of non-finite values on both sides are compared.
    """
    if first.shape != second.shape:
        return f"shape {_times(first.shape)} and {_times(second.shape)}"
    counts = first.non_finite_count, second.non_finite_count
    if counts == (0, 0) or (equal_nan and counts[0] == counts[1]):
        return ""
    words = [f"{count} of {math.prod(first.shape)} values are NaN or infinite" for count in counts]
    return f"{words[0]} on both sides" if counts[0] == counts[1] else " | ".join(words)


def unlike_places(first: BlobSummary, second: BlobSummary) -> str:
    """Explain what summaries cannot show about two blobs with equally many NaN or infinities.

    The result is empty if the blobs are equal, or if all values are finite.
    """
    if not first.non_finite_count or first.sha256 == second.sha256:
        return ""
    return (
        f"{first.non_finite_count} of {math.prod(first.shape)} values are NaN or infinite on both "
        "sides, and only whole blobs tell whether in the same places"
    )


def _compare(a: LayerSignature, b: LayerSignature, tolerance: Tolerance) -> LayerComparison:
    why = unlike(a, b, equal_nan=tolerance.equal_nan) or unlike_places(a, b)
    apart = None if why else estimated_distance(a, b)
    norm = a.l2_norm or 0.0
    identical = a.sha256 == b.sha256 and not why
    agrees = identical or (
        apart is not None and 0 < apart <= tolerance.distance(math.prod(a.shape), norm)
    )
    if not why and apart is None:
        why = "the projections are missing"
    return LayerComparison(
        layer=a.layer,
        name=a.name,
        type=a.type,
        index=a.index,
        shape=a.shape,
        agrees=agrees,
        identical=identical,
        distance=apart,
        relative=None if apart is None else share(apart, norm),
        why=why,
    )


def _by_key(signatures: Sequence[LayerSignature]) -> dict[Key, LayerSignature]:
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for one in signatures:
        found[one.layer, one.name, seen[one.layer, one.name]] = one
        seen[one.layer, one.name] += 1
    return found


def _names(keys: Iterable[Key]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer for layer, _, _ in keys))


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a scalar"
