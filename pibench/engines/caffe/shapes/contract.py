"""Define the rules' input, output and errors, and arithmetic on shapes that rules share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pibench.engines.caffe import caffe_pb2 as caffe

Shape = tuple[int, ...]
Layer = caffe.LayerParameter

MAX_ELEMENTS = 2**31 - 1
"""Caffe counts the elements of a blob in an int and aborts beyond (Blob::Reshape)."""


def elements(shape: Shape) -> int:
    """Return the number of elements of a blob of this shape."""
    return math.prod(shape)


class Refused(Exception):
    """The problem that a rule finds; `infer` adds file and layer."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


Made = tuple[list[Shape], list[Shape]]
"""Shapes of the tops and of the parameters."""
Function = Callable[[Layer, list[Shape]], Made]


@dataclass(frozen=True)
class Rule:
    """One layer type: its shape function, and the allowed numbers of bottoms and tops."""

    function: Function
    bottoms: tuple[int, int] = (1, 1)
    tops: tuple[int, int] = (1, 1)


MANY = 1 << 30


def check_count(what: str, count: int, allowed: tuple[int, int]) -> None:
    low, high = allowed
    if not low <= count <= high:
        wanted = (
            f"{low}" if low == high else f"at least {low}" if high == MANY else f"{low} to {high}"
        )
        raise Refused(f"has {count} {what}(s) and needs {wanted}", f"correct its {what} lines")


def times(shape: Shape) -> str:
    """Format a shape for readers: 1 x 3 x 227 x 227."""
    return " x ".join(str(dim) for dim in shape) or "a scalar"


def axis_index(index: int, shape: Shape, *, end: bool = False) -> int:
    """Return a possibly negative axis as a plain index (Blob::CanonicalAxisIndex)."""
    limit = len(shape) + end
    if not -limit <= index < limit:
        raise Refused(f"axis {index} does not exist in {times(shape)}", "correct the axis")
    return index + limit if index < 0 else index


def require_same_shapes(bottoms: Sequence[Shape], why: str) -> None:
    for index, shape in enumerate(bottoms[1:], start=1):
        if shape != bottoms[0]:
            raise Refused(
                f"bottom 0 is {times(bottoms[0])} but bottom {index} is {times(shape)}", why
            )
