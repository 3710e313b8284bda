"""What the rules of all layer types share: their results, their error, and Net's own checks.

Every check raises Refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

from google.protobuf.message import Message

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import forks, topology
from pibench.errors import InvalidInputError

Shape = tuple[int, ...]
Layer = caffe.LayerParameter

MAX_ELEMENTS = 2**31 - 1
"""Caffe counts the elements of a blob in an int and aborts beyond (Blob::Reshape)."""


def elements(shape: Shape) -> int:
    """Return the number of elements of a blob of this shape."""
    return math.prod(shape)


class Refused(Exception):
    """The problem that a rule finds; `infer` adds file and layer."""

    error: type[InvalidInputError] = InvalidInputError
    """What `infer` raises."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


class Unwritten(Refused):
    """A bottom that no earlier layer writes."""

    def __init__(self, blob: str) -> None:
        super().__init__(
            f"bottom '{blob}' is written by no earlier layer", "correct the blob's name"
        )
        self.blob = blob


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


# What Net checks of every layer type

MAX_AXES = 32
"""Largest number of axes of a blob (kMaxBlobAxes)."""

_WITH_ENGINE = [
    field.name
    for field in Layer.DESCRIPTOR.fields
    if field.message_type is not None and "engine" in field.message_type.fields_by_name
]
_CUDNN = 2
"""The value of every layer's engine field that requires a Caffe for NVIDIA's GPUs."""

_NEVER_IN_PLACE = frozenset(
    {"AbsVal", "Filter", "Flatten", "Interp", "Permute", "Reorg", "Reshape", "Reverse",
     "ShuffleChannel", "Split", "Transpose"}
)  # fmt: skip
"""Caffe aborts, or a layer would overwrite what it has not read yet."""
_RENAME = "give its top another name"


def check_size(name: str, shape: Shape) -> None:
    if len(shape) <= MAX_AXES and 0 < elements(shape) <= MAX_ELEMENTS and min(shape, default=1) > 0:
        return
    if len(shape) > MAX_AXES:
        raise Refused(f"'{name}' would have {len(shape)} axes", f"Caffe takes {MAX_AXES} at most")
    if any(dim <= 0 for dim in shape):
        raise Refused(f"'{name}' would measure {times(shape)}", "every dimension must be positive")
    raise Refused(
        f"'{name}' would measure {times(shape)}: more than 2^31 - 1 elements",
        "Caffe cannot index that many; make it smaller",
    )


def check_counts(layer: Layer, params: int) -> None:
    """Check the fields that go with each top, bottom or parameter.

    `params` is the number of parameters.
    """
    for field, what in (("loss_weight", "top"), ("propagate_down", "bottom")):
        given = getattr(layer, field)
        if given and len(given) != len(there := getattr(layer, what)):
            problem = f"{len(given)} {field} for {len(there)} {what}(s)"
            raise Refused(problem, f"give one per {what}, or none")
    if layer.blobs:
        raise Refused(
            "contains blobs, which belong in a caffemodel",
            "remove them, and give the caffemodel with --weights",
        )
    # The code of a Python layer decides how many it has.
    if len(layer.param) > params and layer.type != "Python":
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
        name
        for name in _WITH_ENGINE
        if layer.HasField(name) and getattr(layer, name).engine == _CUDNN
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


def check_in_place(
    kind: str, read: Sequence[tuple[str, Shape]], made: Sequence[tuple[str, Shape]]
) -> None:
    """Check that a layer that writes in place can do so, and keeps the shape.

    `read` and `made` are the names and shapes of its bottoms and tops.
    """
    for (bottom, before), (top, after) in zip(read, made, strict=False):
        if top == bottom and kind in _NEVER_IN_PLACE:
            raise Refused(f"{kind} cannot work in place on '{top}'", _RENAME)
        if top == bottom and before != after:
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
        for index, source in enumerate(read):
            if counts[source] > 1 and layer.top[index : index + 1] == [layer.bottom[index]]:
                problem = f"works in place on '{layer.bottom[index]}', which is read elsewhere too"
                return layer, Refused(problem, _RENAME)
    return None


# Fillers (include/caffe/filler.hpp)

TYPES = (
    "constant", "gaussian", "positive_unitball", "uniform", "xavier", "msra", "bilinear",
)  # fmt: skip


def check_fillers(layer: Layer, params: list[Shape], tops: list[Shape]) -> None:
    """Check that every filler that the layer's set-up runs exists and accepts the blob's shape."""
    for name, filler, shape in _fillers(layer, params, tops):
        if filler.type not in TYPES:
            raise Refused(
                f"{name} has no type {filler.type!r} in stock Caffe",
                f"take one of {', '.join(TYPES)}",
            )
        if problem := _problem(filler, shape):
            raise Refused(f"{name}: {problem}", "correct the filler, or take it out")


def _fillers(
    layer: Layer, params: list[Shape], tops: list[Shape]
) -> Iterator[tuple[str, caffe.FillerParameter, Shape]]:
    """Yield name, filler and shape of each blob whose filler is given."""
    if layer.type == "DummyData":
        fillers = list(layer.dummy_data_param.data_filler)
        if len(fillers) not in (0, 1, len(tops)):
            raise Refused(f"{len(fillers)} data_filler for {len(tops)} tops", "give one per top")
        for filler, shape in zip(fillers * len(tops), tops, strict=False):
            yield "data_filler", filler, shape
        return
    if layer.type in _OF_FORKS:
        asked = forks.parameters(layer)
        fillers_of = zip(_OF_FORKS[layer.type], cycle(params), strict=False)
        for name, shape in fillers_of:
            given = getattr(asked, name)
            # The library reads these fields only.
            filler = caffe.FillerParameter(type=given.type, value=given.value, std=given.std)
            yield name, filler, shape
        return
    names, param = _of_params(layer, len(params))
    for name, shape in zip(names, params, strict=False):
        if param.HasField(name):
            yield name, getattr(param, name), shape


def _of_params(layer: Layer, count: int) -> tuple[tuple[str, ...], Message]:
    """Return the fillers' names for a layer's parameters, in order, and the message with them."""
    names: tuple[str, ...] = ("weight_filler", "bias_filler")
    if layer.type == "Scale":
        learned = ("filler",) if count == 2 or not layer.scale_param.bias_term else ()
        names = (*learned, "bias_filler")
    elif layer.type in ("Bias", "PReLU"):
        names = ("filler",)
    elif layer.type not in _OF_WEIGHTS:
        return (), layer
    message: Message = getattr(layer, _OF_WEIGHTS.get(layer.type, f"{layer.type.lower()}_param"))
    return names, message


_OF_FORKS = {
    "BN": ("scale_filler", "shift_filler", "slope_filler", "bias_filler"),
    "Lstm": ("weight_filler", "weight_filler", "bias_filler"),
    "Normalize": ("scale_filler",),
}

_OF_WEIGHTS = {
    "Convolution": "convolution_param",
    "ConvolutionDepthwise": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "Embed": "embed_param",
    "InnerProduct": "inner_product_param",
    "LSTM": "recurrent_param",
    "RNN": "recurrent_param",
}


def _problem(filler: caffe.FillerParameter, shape: Shape) -> str:
    """Explain why the filler aborts on a blob of that shape; empty if it does not."""
    kind = filler.type
    outputs = shape[0] if shape else -1
    faults = {
        f"{kind} divides by the first dimension, and a single number has none": not shape
        and kind in ("positive_unitball", "xavier", "msra"),
        f"{kind} cannot be sparse": kind != "gaussian" and filler.sparse != -1,
        f"std is {filler.std:g}, and must be above 0": kind == "gaussian" and not filler.std > 0,
        f"sparse is {filler.sparse} for {times(shape)}": not -1 <= filler.sparse <= outputs,
        f"min {filler.min:g} is above max {filler.max:g}": kind == "uniform"
        and not filler.min <= filler.max,
        f"bilinear needs a square kernel, not {times(shape)}": kind == "bilinear"
        and (len(shape) != 4 or shape[2] != shape[3]),
        f"{kind} takes four axes at most, not {times(shape)}": len(shape) > 4
        and kind in ("xavier", "msra", "positive_unitball"),
    }
    return next((fault for fault, applies in faults.items() if applies), "")
