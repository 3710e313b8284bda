"""Check what Caffe's Net requires of every layer type; each function raises Refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import topology
from pibench.engines.caffe.shapes.contract import Layer, Refused, Shape, elements, times

MAX_AXES = 32
"""Largest number of axes of a blob (kMaxBlobAxes)."""

_CUDNN = 2
"""The value of every layer's engine field that requires a Caffe for NVIDIA's GPUs."""

_NEVER_IN_PLACE = frozenset({"AbsVal", "Flatten", "Reshape", "Split"})
_RENAME = "give its top another name"


def check_counts(layer: Layer, params: int) -> None:
    """Check the fields that go with each top, bottom or parameter.

    `params` is the number of parameters.
    """
    for field, given, what, count in (
        ("loss_weight", len(layer.loss_weight), "top", len(layer.top)),
        ("propagate_down", len(layer.propagate_down), "bottom", len(layer.bottom)),
    ):
        if given not in (0, count):
            raise Refused(f"{given} {field} for {count} {what}(s)", f"give one per {what}, or none")
    if layer.blobs:
        raise Refused(
            "contains blobs, which belong in a caffemodel",
            "remove them, and give the caffemodel with --weights",
        )
    if len(layer.param) > params:
        raise Refused(
            f"{len(layer.param)} param for {params} parameter(s)",
            "remove the last one (a layer without a bias only has weights)",
        )


def check_engines(layer: Layer) -> None:
    """Check that no engine is cuDNN: Caffe was built without it."""
    for name in cudnn_engines(layer):
        raise Refused(f"engine: CUDNN in {name}, for GPUs", "use --repair to take it out")


def cudnn_engines(layer: Layer) -> list[str]:
    """Return the names of the layer's messages that ask for cuDNN."""
    return [
        field.name
        for field, value in layer.ListFields()
        if field.name.endswith("_param") and getattr(value, "engine", None) == _CUDNN
    ]


class Owner(NamedTuple):
    """The first parameter of a name: its shape, and the rates that any layer gave it."""

    shape: Shape
    rates: dict[str, float]


def check_shared(spec: caffe.ParamSpec, shape: Shape, owner: Owner) -> None:
    """Check that a parameter that takes another's memory matches it (Net::AppendParam)."""
    permissive = spec.share_mode == caffe.ParamSpec.PERMISSIVE
    if elements(shape) != elements(owner.shape) if permissive else shape != owner.shape:
        raise Refused(
            f"shares parameter '{spec.name}' of {times(owner.shape)} as {times(shape)}",
            "give one of them another name",
        )
    for name, rate in rates(spec).items():
        # The first layer that gives a rate gives it for all.
        if owner.rates.setdefault(name, rate) != rate:
            raise Refused(f"shares parameter '{spec.name}' with another {name}", "give one value")


def rates(spec: caffe.ParamSpec) -> dict[str, float]:
    """Return the multipliers that the file gives."""
    names = ("lr_mult", "decay_mult")
    return {name: getattr(spec, name) for name in names if spec.HasField(name)}


def check_in_place(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
    """Check that a layer that writes in place can do so, and keeps the shape."""
    for top, bottom, before, after in zip_longest(layer.top, layer.bottom, bottoms, tops):
        if top is None or top != bottom:
            continue
        if layer.type in _NEVER_IN_PLACE:
            raise Refused(f"{layer.type} cannot work in place on '{top}'", _RENAME)
        if before != after:
            raise Refused(f"works in place on '{top}', but changes its shape", _RENAME)


def overwriter(
    layers: Sequence[Layer],
    counts: Mapping[topology.Source, int],
    sources: Sequence[Sequence[topology.Source]],
) -> tuple[Layer, Refused] | None:
    """Return the first layer that overwrites a blob with other readers, and the problem.

    Caffe gives every reader a copy then, and treats the written blob as a second source. `counts`
    and `sources` are the results of `topology.readers`.
    """
    for layer, read in zip(layers, sources, strict=True):
        for top, bottom, source in zip(layer.top, layer.bottom, read, strict=False):
            if top == bottom and counts[source] > 1:
                problem = f"works in place on '{top}', which is read elsewhere too"
                return layer, Refused(problem, _RENAME)
    return None
