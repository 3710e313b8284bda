"""Compare the outputs of one network on two sides, for the same input and weights."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from pibench.crosscheck.layers import estimated_distance, share, unlike, unlike_places
from pibench.crosscheck.metrics import Comparison, neither_ended
from pibench.crosscheck.values import (
    NonFinite,
    Tolerance,
    ValueComparison,
    compare_values,
    describe_non_finite,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pibench.crosscheck.sides import Entry
    from pibench.records.schema import OutputBlob

OUTPUT_TOLERANCE: Final = Tolerance(atol=1e-6, rtol=1e-4)
"""Over ten times the difference of Caffe's outputs between arm64 and amd64: docs/outputs.md."""

Way = Literal["equal", "values", "projection", "none"]


@dataclass(frozen=True, kw_only=True)
class BlobComparison:
    """One output blob on two sides; true only if it was compared and agrees.

    `way` is the method: by SHA-256, by values, or by projections. Projections give `distance`
    (Euclidean, estimated) and `relative` (as a fraction of the first one's norm).
    """

    name: str
    way: Way
    agrees: bool | None
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
    why = incomparable(first, second)
    if why:
        return OutputsComparison(
            metric="outputs", agrees=None, why=why, not_applicable=neither_ended(first, second)
        )
    theirs = {blob.name: blob for blob in second.outputs}
    blobs = [
        _compare(blob, theirs[blob.name], tolerance)
        if blob.name in theirs
        else BlobComparison(
            name=blob.name, way="none", agrees=False, why=f"{second.source} has no such output"
        )
        for blob in first.outputs
    ]
    names = {blob.name for blob in first.outputs}
    blobs += [
        BlobComparison(name=name, way="none", agrees=False, why=f"{first.source} has none")
        for name in theirs
        if name not in names
    ]
    return OutputsComparison(
        metric="outputs",
        agrees=None if _undecided(blobs) else all(blobs),
        why="; ".join(f"{blob.name}: {blob.why}" for blob in blobs if blob.why),
        required=_required(blobs),
        blobs=tuple(blobs),
    )


def incomparable(first: Entry, second: Entry) -> str:
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


def decoded(blob: OutputBlob) -> np.ndarray | None:
    """Return a blob's recorded values as float32 in its shape; None if none are recorded."""
    if blob.values is None:
        return None
    try:
        content = base64.b64decode(blob.values, validate=True)
        return np.frombuffer(content, dtype="<f4").reshape(blob.shape)
    except (ValueError, binascii.Error):
        return None


def _compare(a: OutputBlob, b: OutputBlob, tolerance: Tolerance) -> BlobComparison:
    ours, theirs = decoded(a), decoded(b)
    if ours is not None and theirs is not None and ours.shape == theirs.shape:
        found = compare_values(ours, theirs, tolerance)
        return BlobComparison(
            name=a.name,
            way="equal" if a.sha256 == b.sha256 else "values",
            agrees=found.agrees,
            why=describe_non_finite(*found.non_finite),
            values=found,
        )
    why = unlike(a, b, equal_nan=tolerance.equal_nan)
    if why:
        return BlobComparison(name=a.name, way="none", agrees=False, why=why)
    if a.sha256 == b.sha256:
        return BlobComparison(
            name=a.name, way="equal", agrees=True, why=unlike(a, b), distance=0.0, relative=0.0
        )
    apart = estimated_distance(a, b)
    why = unlike_places(a, b)
    if apart is None or why:
        why = why or "neither the values nor projections of both are at hand"
        return BlobComparison(name=a.name, way="none", agrees=None, why=why)
    norm = a.l2_norm or 0.0
    return BlobComparison(
        name=a.name,
        way="projection",
        agrees=apart <= tolerance.distance(math.prod(a.shape), norm),
        distance=apart,
        relative=share(apart, norm),
    )


def non_finite_outputs(outputs: Iterable[OutputBlob]) -> list[str]:
    """Describe each output with a NaN or an infinity in one sentence."""
    return [
        f"of output {blob.name}, {_non_finite_words(blob)}"
        for blob in outputs
        if blob.non_finite_count
    ]


def _non_finite_words(blob: OutputBlob) -> str:
    values = decoded(blob)
    if values is not None:
        return str(NonFinite.of(values))
    return f"{blob.non_finite_count} of {math.prod(blob.shape)} values are NaN or infinite"


def _required(blobs: list[BlobComparison]) -> float | None:
    """Return the smallest rtol that would accept all blobs; None if none would."""
    needed = []
    for blob in blobs:
        own = blob.relative if blob.values is None else blob.values.required_rtol
        if own is None:
            return None
        needed.append(own)
    return max(needed, default=None)


def _undecided(blobs: list[BlobComparison]) -> bool:
    """Return whether some blob could not be compared and none differs."""
    answers = [blob.agrees for blob in blobs]
    return None in answers and False not in answers


def _each(answers: Iterable[bool | None]) -> bool | None:
    """Return whether all answers that are not None are true; None if there are none."""
    told = [answer for answer in answers if answer is not None]
    return all(told) if told else None
