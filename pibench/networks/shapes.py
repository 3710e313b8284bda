"""Shape inference: what every blob and parameter of a network measures, by Caffe's own rules.

A shape is a tuple of element counts, N x C x H x W for images; () is a scalar. The
table RULES has one entry per layer type of Caffe 1.0; its functions follow the
Reshape and LayerSetUp of that type and refuse what Caffe's checks abort on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

from pibench.errors import InvalidInputError
from pibench.networks import caffe_pb2 as caffe
from pibench.networks import forks, topology

Shape = tuple[int, ...]
Layer = caffe.LayerParameter

MAX_ELEMENTS = 2**31 - 1
"""Caffe counts the elements of a blob in an int and aborts beyond (Blob::Reshape)."""


@dataclass(frozen=True)
class Shapes:
    """What `infer` finds, for one phase."""

    layers: tuple[Layer, ...]
    """The layers that run, in order; legacy inputs come first as an Input layer."""
    bottoms: tuple[tuple[Shape, ...], ...]
    """Input shapes of each of `layers`."""
    tops: tuple[tuple[Shape, ...], ...]
    """Output shapes of each of `layers`."""
    blobs: Mapping[str, Shape]
    """Shape of every blob by name."""
    params: Mapping[str, tuple[Shape, ...]]
    """Shapes of the parameters of each layer that has any, by layer name."""
    parameter_count: int
    """Elements of all parameters; one shared under a name counts once."""


def elements(shape: Shape) -> int:
    """How many numbers a blob of this shape holds."""
    return math.prod(shape)


class _Refused(Exception):
    """What a rule finds wrong; `infer` adds file and layer."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


Made = tuple[list[Shape], list[Shape]]
"""Shapes of the tops and of the parameters."""
Function = Callable[[Layer, list[Shape]], Made]


@dataclass(frozen=True)
class Rule:
    """One layer type: its shape function and how many bottoms and tops Caffe lets it have."""

    function: Function
    bottoms: tuple[int, int] = (1, 1)
    tops: tuple[int, int] = (1, 1)


MANY = 1 << 30


def infer(
    net: caffe.NetParameter, *, path: object = "network", phase: topology.Phase = "TEST"
) -> Shapes:
    """The shapes of all blobs and parameters of `net` in `phase`.

    Raises InvalidInputError, naming `path` and the layer, where stock Caffe would abort:
    unknown layer type, unknown or doubly made blob, shapes that do not fit.
    """
    walk = _Walk(path)
    for layer in topology.layers(net, path, phase=phase):
        walk.add(layer)
    if not walk.layers:
        raise InvalidInputError.at(
            str(path), None, f"no layer runs in phase {phase}", hint="check the include rules"
        )
    return Shapes(
        layers=tuple(walk.layers),
        bottoms=tuple(walk.bottoms),
        tops=tuple(walk.tops),
        blobs=MappingProxyType(walk.blobs),
        params=MappingProxyType(walk.params),
        parameter_count=walk.parameter_count,
    )


class _Walk:
    """Blobs and parameters known so far, layer by layer."""

    def __init__(self, path: object) -> None:
        self.path = path
        self.layers: list[Layer] = []
        self.bottoms: list[tuple[Shape, ...]] = []
        self.tops: list[tuple[Shape, ...]] = []
        self.blobs: dict[str, Shape] = {}
        self.params: dict[str, tuple[Shape, ...]] = {}
        self.shared: set[str] = set()
        self.parameter_count = 0

    def add(self, layer: Layer) -> None:
        try:
            bottoms = self._look_up(layer)
            tops, params = self._apply(layer, bottoms)
        except _Refused as refused:
            raise InvalidInputError.at(
                str(self.path), topology.place(layer), refused.problem, hint=refused.hint
            ) from None
        self.layers.append(layer)
        self.bottoms.append(tuple(bottoms))
        self.tops.append(tuple(tops))
        self.blobs.update(zip(layer.top, tops, strict=True))
        if params:
            self.params[layer.name] = tuple(params)
        self._count(layer, params)

    def _look_up(self, layer: Layer) -> list[Shape]:
        for name in layer.bottom:
            if name not in self.blobs:
                raise _Refused(
                    f"bottom '{name}' is made by no layer before it", "correct the blob's name"
                )
        for index, name in enumerate(layer.top):
            in_place = index < len(layer.bottom) and layer.bottom[index] == name
            if (name in self.blobs and not in_place) or name in layer.top[:index]:
                raise _Refused(f"top '{name}' is made twice", "give the second one another name")
        return [self.blobs[name] for name in layer.bottom]

    def _apply(self, layer: Layer, bottoms: list[Shape]) -> Made:
        rule = _rule(layer)
        _check_count("bottom", len(bottoms), rule.bottoms)
        _check_count("top", len(layer.top), rule.tops)
        tops, params = rule.function(layer, bottoms)
        for name, shape in (
            *zip(layer.top, tops, strict=True),
            *((f"parameter {index}", shape) for index, shape in enumerate(params)),
        ):
            _check_size(name, shape)
        return tops, params

    def _count(self, layer: Layer, params: list[Shape]) -> None:
        for index, shape in enumerate(params):
            name = layer.param[index].name if index < len(layer.param) else ""
            if name and name in self.shared:
                continue
            self.shared.add(name)
            self.parameter_count += elements(shape)


def _rule(layer: Layer) -> Rule:
    """The table entry of the layer's type, or a refusal that says why there is none."""
    kind = layer.type
    if kind in RULES:
        return RULES[kind]
    if kind in DATA_TYPES:
        raise _Refused(
            f"a {kind} layer reads a database or files",
            "use --repair to put an Input layer in its place",
        )
    if kind in UNSUPPORTED:
        raise _Refused(f"layer type {kind} is not supported: {UNSUPPORTED[kind]}", "take it out")
    if not kind:
        raise _Refused("has no type", 'add one, such as type: "Convolution"')
    known = forks.describe_type(kind, RULES)
    raise _Refused(f"stock Caffe has no layer type '{kind}'", known or "check the type's name")


def _check_count(what: str, count: int, allowed: tuple[int, int]) -> None:
    low, high = allowed
    if not low <= count <= high:
        wanted = (
            f"{low}" if low == high else f"at least {low}" if high == MANY else f"{low} to {high}"
        )
        raise _Refused(f"has {count} {what}(s) where {wanted} belong", f"correct its {what} lines")


def _check_size(name: str, shape: Shape) -> None:
    if any(dim <= 0 for dim in shape):
        raise _Refused(f"'{name}' would measure {times(shape)}", "every dimension must be positive")
    if elements(shape) > MAX_ELEMENTS:
        raise _Refused(
            f"'{name}' would measure {times(shape)}: more than 2^31 - 1 elements",
            "Caffe cannot count that many; make it smaller",
        )


def times(shape: Shape) -> str:
    """A shape as people write it: 1 x 3 x 227 x 227."""
    return " x ".join(str(dim) for dim in shape) or "a scalar"


def _axis(index: int, shape: Shape, *, end: bool = False) -> int:
    """A possibly negative axis as a plain index (Blob::CanonicalAxisIndex)."""
    limit = len(shape) + end
    if not -limit <= index < limit:
        raise _Refused(f"axis {index} does not exist in {times(shape)}", "correct the axis")
    return index + limit if index < 0 else index


def _same_shapes(bottoms: Sequence[Shape], why: str) -> None:
    for index, shape in enumerate(bottoms[1:], start=1):
        if shape != bottoms[0]:
            raise _Refused(
                f"bottom 0 is {times(bottoms[0])} but bottom {index} is {times(shape)}", why
            )


# Sources


def _from_shapes(layer: Layer, dims: list[Shape]) -> list[Shape]:
    """One shape for every top, or one for all."""
    if len(dims) not in (1, len(layer.top)):
        raise _Refused(
            f"{len(layer.top)} top(s) but {len(dims)} shape(s)", "give one shape per top"
        )
    return dims * len(layer.top) if len(dims) == 1 else dims


def _input(layer: Layer, _: list[Shape]) -> Made:
    return _from_shapes(layer, [tuple(shape.dim) for shape in layer.input_param.shape]), []


def _dummy_data(layer: Layer, _: list[Shape]) -> Made:
    param = layer.dummy_data_param
    shapes: list[Shape] = [tuple(shape.dim) for shape in param.shape]
    if not shapes:
        legacy = (param.num, param.channels, param.height, param.width)
        shapes = list(zip(*legacy, strict=False))
    return _from_shapes(layer, shapes), []


def _parameter(layer: Layer, _: list[Shape]) -> Made:
    shape = tuple(layer.parameter_param.shape.dim)
    return [shape], [shape]


# Layers that keep the shape


def _same(layer: Layer, bottoms: list[Shape]) -> Made:
    return [bottoms[0]] * len(layer.top), []


def _lrn(layer: Layer, bottoms: list[Shape]) -> Made:
    if len(bottoms[0]) != 4:
        raise _Refused(f"LRN needs four axes, not {times(bottoms[0])}", "reshape its bottom")
    if layer.lrn_param.local_size % 2 == 0:
        raise _Refused("local_size is even", "LRN only takes odd sizes")
    return [bottoms[0]], []


def _batch_norm(_: Layer, bottoms: list[Shape]) -> Made:
    """Parameters: mean and variance of each channel, and the factor both are scaled by."""
    if len(bottoms[0]) < 2:
        raise _Refused(f"BatchNorm needs two axes, not {times(bottoms[0])}", "reshape its bottom")
    channels = bottoms[0][1]
    return [bottoms[0]], [(channels,), (channels,), (1,)]


def _prelu(layer: Layer, bottoms: list[Shape]) -> Made:
    if len(bottoms[0]) < 2:
        raise _Refused(f"PReLU needs two axes, not {times(bottoms[0])}", "reshape its bottom")
    return [bottoms[0]], [() if layer.prelu_param.channel_shared else (bottoms[0][1],)]


def _operand(bottoms: list[Shape], axis: int, num_axes: int) -> tuple[Shape, bool]:
    """Shape of what Scale or Bias applies, and whether it is a parameter (not a bottom)."""
    data = bottoms[0]
    if len(bottoms) == 1:
        start = _axis(axis, data)
        end = len(data) if num_axes == -1 else start + num_axes
        if num_axes < -1 or end > len(data):
            raise _Refused(f"num_axes {num_axes} does not fit {times(data)}", "correct num_axes")
        return data[start:end], True
    start = 0 if not bottoms[1] else _axis(axis, data)
    if data[start : start + len(bottoms[1])] != bottoms[1]:
        raise _Refused(
            f"bottom 1 is {times(bottoms[1])}, which does not fit {times(data)} at axis {axis}",
            "its shape must be a run of bottom 0's dimensions",
        )
    return bottoms[1], False


def _scale(layer: Layer, bottoms: list[Shape]) -> Made:
    param = layer.scale_param
    factor, learned = _operand(bottoms, param.axis, param.num_axes)
    return [bottoms[0]], [factor] * (int(learned) + int(param.bias_term))


def _bias(layer: Layer, bottoms: list[Shape]) -> Made:
    term, learned = _operand(bottoms, layer.bias_param.axis, layer.bias_param.num_axes)
    return [bottoms[0]], [term] * int(learned)


# Convolution and pooling


@dataclass(frozen=True)
class Window:
    """Kernel, stride, pad and dilation of a convolution, one number per spatial axis."""

    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape

    @property
    def extent(self) -> Shape:
        """Input elements that the dilated kernel spans."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))


def _spatial(
    name: str, values: Sequence[int], pair: tuple[int, int] | None, axes: int, default: int | None
) -> Shape:
    """A repeated field, its _h and _w pair, or the default, as one number per axis."""
    if pair is not None:
        if values or axes != 2:
            raise _Refused(f"both {name} and its _h, _w are given", "keep one of them")
        return pair
    if not values and default is not None:
        return (default,) * axes
    if len(values) == 1:
        return (values[0],) * axes
    if len(values) != axes or not values:
        raise _Refused(f"{len(values)} {name} given for {axes} axes", f"give {name} once")
    return tuple(values)


def window(conv: caffe.ConvolutionParameter, axes: int) -> Window:
    """The window of a convolution over `axes` spatial axes."""

    def pair(name: str) -> tuple[int, int] | None:
        if conv.HasField(f"{name}_h") or conv.HasField(f"{name}_w"):
            return getattr(conv, f"{name}_h"), getattr(conv, f"{name}_w")
        return None

    found = Window(
        kernel=_spatial("kernel_size", conv.kernel_size, pair("kernel"), axes, None),
        stride=_spatial("stride", conv.stride, pair("stride"), axes, 1),
        pad=_spatial("pad", conv.pad, pair("pad"), axes, 0),
        dilation=_spatial("dilation", conv.dilation, None, axes, 1),
    )
    if min(found.kernel + found.stride + found.dilation, default=1) < 1:
        raise _Refused("kernel, stride or dilation is 0", "make it at least 1")
    return found


def _slide(data: Shape, found: Window) -> Shape:
    """Spatial output sizes of a convolution; sizes round down."""
    for size, extent, pad in zip(data, found.extent, found.pad, strict=True):
        if extent > size + 2 * pad:
            raise _Refused(
                f"the kernel spans {extent} but its input, padding included, is {size + 2 * pad}",
                "use a larger input or a smaller kernel",
            )
    return tuple(
        (size + 2 * pad - extent) // stride + 1
        for size, extent, pad, stride in zip(
            data, found.extent, found.pad, found.stride, strict=True
        )
    )


def _convolved(layer: Layer, bottoms: list[Shape]) -> tuple[Window, int, int]:
    """Window, channel axis and input channels, with the checks that both kinds share."""
    conv = layer.convolution_param
    _same_shapes(bottoms, "all bottoms of a convolution must have one shape")
    _check_count("top", len(layer.top), (len(bottoms), len(bottoms)))
    axis = _axis(conv.axis, bottoms[0])
    channels = bottoms[0][axis]
    if conv.num_output < 1:
        raise _Refused("num_output is missing or 0", "set num_output")
    if conv.group < 1 or channels % conv.group or conv.num_output % conv.group:
        raise _Refused(
            f"group {conv.group} does not divide {channels} input and {conv.num_output} output "
            "channels",
            "correct group or num_output",
        )
    return window(conv, len(bottoms[0]) - axis - 1), axis, channels


def _convolution(layer: Layer, bottoms: list[Shape]) -> Made:
    """Weights: outputs x input channels of a group x kernel."""
    conv = layer.convolution_param
    found, axis, channels = _convolved(layer, bottoms)
    top = (*bottoms[0][:axis], conv.num_output, *_slide(bottoms[0][axis + 1 :], found))
    params: list[Shape] = [(conv.num_output, channels // conv.group, *found.kernel)]
    if conv.bias_term:
        params.append((conv.num_output,))
    return [top] * len(bottoms), params


def _deconvolution(layer: Layer, bottoms: list[Shape]) -> Made:
    """Weights: input channels x outputs of a group x kernel (a convolution backwards)."""
    conv = layer.convolution_param
    found, axis, channels = _convolved(layer, bottoms)
    spatial = tuple(
        stride * (size - 1) + extent - 2 * pad
        for size, extent, pad, stride in zip(
            bottoms[0][axis + 1 :], found.extent, found.pad, found.stride, strict=True
        )
    )
    params: list[Shape] = [(channels, conv.num_output // conv.group, *found.kernel)]
    if conv.bias_term:
        params.append((conv.num_output,))
    return [(*bottoms[0][:axis], conv.num_output, *spatial)] * len(bottoms), params


def _im2col(layer: Layer, bottoms: list[Shape]) -> Made:
    """Columns: each channel becomes as many as the kernel has elements."""
    axis = _axis(layer.convolution_param.axis, bottoms[0])
    found = window(layer.convolution_param, len(bottoms[0]) - axis - 1)
    channels = bottoms[0][axis] * elements(found.kernel)
    return [(*bottoms[0][:axis], channels, *_slide(bottoms[0][axis + 1 :], found))], []


def pooled_size(size: int, kernel: int, stride: int, pad: int, *, floor: bool) -> int:
    """Output size of a pooling along one axis (PoolingLayer::Reshape).

    Rounded up by default, so that a last window may hang over the edge; with padding, a
    window that would start in the padding behind the input is dropped.
    """
    span = size + 2 * pad - kernel
    pooled = (span // stride if floor else -(-span // stride)) + 1
    if pad and (pooled - 1) * stride >= size + pad:
        pooled -= 1
    return pooled


def _pooling(layer: Layer, bottoms: list[Shape]) -> Made:
    pool = layer.pooling_param
    if len(bottoms[0]) != 4:
        raise _Refused(f"pooling needs four axes, not {times(bottoms[0])}", "reshape its bottom")
    kernel, stride, pad = pooling_window(pool, bottoms[0])
    floor = pool.round_mode == caffe.PoolingParameter.FLOOR
    spatial = []
    for size, k, s, p in zip(bottoms[0][2:], kernel, stride, pad, strict=True):
        if k > size + 2 * p:
            raise _Refused(
                f"the kernel is {k} but its input, padding included, is {size + 2 * p}",
                "use a larger input, a smaller kernel or global_pooling",
            )
        spatial.append(pooled_size(size, k, s, p, floor=floor))
    return [(*bottoms[0][:2], *spatial)] * len(layer.top), []


def pooling_window(pool: caffe.PoolingParameter, bottom: Shape) -> tuple[Shape, Shape, Shape]:
    """Kernel, stride and pad of a pooling as (height, width) each."""

    def pair(name: str, single: int) -> Shape:
        if pool.HasField(f"{name}_h") or pool.HasField(f"{name}_w"):
            return getattr(pool, f"{name}_h"), getattr(pool, f"{name}_w")
        return single, single

    stride, pad = pair("stride", pool.stride), pair("pad", pool.pad)
    if pool.global_pooling:
        if pool.HasField("kernel_size") or pool.HasField("kernel_h") or pool.HasField("kernel_w"):
            raise _Refused("global_pooling and a kernel are both given", "take the kernel out")
        if any(pad) or stride != (1, 1):
            raise _Refused("global_pooling with pad or stride", "take pad and stride out")
        return bottom[2:], stride, pad
    kernel = pair("kernel", pool.kernel_size)
    if min(kernel) < 1 or min(stride) < 1:
        raise _Refused("kernel or stride is missing or 0", "set kernel_size and stride")
    if any(p >= k for p, k in zip(pad, kernel, strict=True)):
        raise _Refused(f"pad {max(pad)} is not below kernel {min(kernel)}", "lower the pad")
    return kernel, stride, pad


def _spp(layer: Layer, bottoms: list[Shape]) -> Made:
    """Level i of the pyramid pools to 2^i x 2^i; the levels are laid end to end."""
    if len(bottoms[0]) != 4:
        raise _Refused(f"SPP needs four axes, not {times(bottoms[0])}", "reshape its bottom")
    batch, channels = bottoms[0][:2]
    height = layer.spp_param.pyramid_height
    if not 1 <= height <= 16:
        raise _Refused(f"pyramid_height is {height}", "set it to a small positive number")
    if height == 1:
        return [(batch, channels, 1, 1)], []
    return [(batch, channels * sum(4**level for level in range(height)))], []


# Dense layers


def _inner_product(layer: Layer, bottoms: list[Shape]) -> Made:
    """Weights: outputs x all the inputs from `axis` on (the other way round if transposed)."""
    param = layer.inner_product_param
    axis = _axis(param.axis, bottoms[0])
    inputs = elements(bottoms[0][axis:])
    if param.num_output < 1:
        raise _Refused("num_output is missing or 0", "set num_output")
    weights = (inputs, param.num_output) if param.transpose else (param.num_output, inputs)
    params: list[Shape] = [weights, (param.num_output,)] if param.bias_term else [weights]
    return [(*bottoms[0][:axis], param.num_output)], params


def _embed(layer: Layer, bottoms: list[Shape]) -> Made:
    param = layer.embed_param
    if param.num_output < 1 or param.input_dim < 1:
        raise _Refused("num_output or input_dim is missing or 0", "set both")
    params: list[Shape] = [(param.input_dim, param.num_output)]
    if param.bias_term:
        params.append((param.num_output,))
    return [(*bottoms[0], param.num_output)], params


# Joining, splitting, reshaping


def _eltwise(layer: Layer, bottoms: list[Shape]) -> Made:
    if len(layer.eltwise_param.coeff) not in (0, len(bottoms)):
        raise _Refused("coeff must be given once per bottom", "correct coeff")
    _same_shapes(bottoms, "element-wise operations need one shape")
    return [bottoms[0]], []


def _concat(layer: Layer, bottoms: list[Shape]) -> Made:
    param = layer.concat_param
    axis = _axis(param.concat_dim if param.HasField("concat_dim") else param.axis, bottoms[0])
    rest = (*bottoms[0][:axis], *bottoms[0][axis + 1 :])
    for index, shape in enumerate(bottoms):
        same_axes = len(shape) == len(bottoms[0])
        if not same_axes or (*shape[:axis], *shape[axis + 1 :]) != rest:
            raise _Refused(
                f"bottom 0 is {times(bottoms[0])} but bottom {index} is {times(shape)}",
                f"concatenated blobs may differ in axis {axis} only",
            )
    total = sum(shape[axis] for shape in bottoms)
    return [(*bottoms[0][:axis], total, *bottoms[0][axis + 1 :])], []


def _slice(layer: Layer, bottoms: list[Shape]) -> Made:
    param = layer.slice_param
    axis = _axis(param.slice_dim if param.HasField("slice_dim") else param.axis, bottoms[0])
    size, count = bottoms[0][axis], len(layer.top)
    points = list(param.slice_point)
    if points:
        edges = [0, *points, size]
        parts = [end - start for start, end in pairwise(edges)]
        if len(parts) != count or min(parts) < 1:
            raise _Refused(f"slice_point {points} does not cut {size} into {count}", "correct it")
    else:
        if size % count:
            raise _Refused(f"{size} cannot be cut into {count} equal slices", "give slice_point")
        parts = [size // count] * count
    return [(*bottoms[0][:axis], part, *bottoms[0][axis + 1 :]) for part in parts], []


def _flatten(layer: Layer, bottoms: list[Shape]) -> Made:
    start = _axis(layer.flatten_param.axis, bottoms[0])
    end = _axis(layer.flatten_param.end_axis, bottoms[0])
    if end < start:
        raise _Refused(f"end_axis {end} comes before axis {start}", "correct the axes")
    middle = elements(bottoms[0][start : end + 1])
    return [(*bottoms[0][:start], middle, *bottoms[0][end + 1 :])], []


def _reshape(layer: Layer, bottoms: list[Shape]) -> Made:
    """0 copies a dimension, one -1 takes what is left."""
    param, data = layer.reshape_param, bottoms[0]
    start = _axis(param.axis, data, end=True)
    end = len(data) if param.num_axes == -1 else start + param.num_axes
    if not start <= end <= len(data):
        raise _Refused(f"num_axes {param.num_axes} does not fit {times(data)}", "correct num_axes")
    wanted = list(param.shape.dim)
    for index, dim in enumerate(wanted):
        if dim == 0:
            if start + index >= len(data):
                raise _Refused(f"dim {index} copies an axis that {times(data)} lacks", "correct it")
            wanted[index] = data[start + index]
    if wanted.count(-1) > 1 or any(dim < -1 for dim in wanted):
        raise _Refused(f"shape {wanted} is not one", "use positive numbers, 0, and one -1")
    if -1 in wanted:
        known = -math.prod(wanted)
        free = wanted.index(-1)
        wanted[free] = elements(data[start:end]) // known if known else 0
    top = (*data[:start], *wanted, *data[end:])
    if elements(top) != elements(data):
        raise _Refused(f"{times(data)} cannot become {times(top)}", "the elements must add up")
    return [top], []


def _crop(layer: Layer, bottoms: list[Shape]) -> Made:
    """From `axis` on, bottom 0 is cut to the size of bottom 1."""
    param, (data, reference) = layer.crop_param, bottoms
    if len(data) != len(reference):
        raise _Refused(f"{times(data)} and {times(reference)} differ in axes", "reshape one")
    axis = _axis(param.axis, data)
    offsets = list(param.offset) or [0]
    offsets = offsets * (len(data) - axis) if len(offsets) == 1 else offsets
    if len(offsets) != len(data) - axis:
        raise _Refused(f"{len(offsets)} offsets for {len(data) - axis} axes", "give one or all")
    for size, wanted, offset in zip(data[axis:], reference[axis:], offsets, strict=True):
        if wanted + offset > size:
            raise _Refused(f"cannot cut {wanted} at {offset} out of {size}", "correct the offset")
    return [(*data[:axis], *reference[axis:])], []


def _tile(layer: Layer, bottoms: list[Shape]) -> Made:
    axis = _axis(layer.tile_param.axis, bottoms[0])
    tiles = layer.tile_param.tiles
    return [(*bottoms[0][:axis], bottoms[0][axis] * tiles, *bottoms[0][axis + 1 :])], []


def _reduction(layer: Layer, bottoms: list[Shape]) -> Made:
    return [bottoms[0][: _axis(layer.reduction_param.axis, bottoms[0])]], []


def _batch_reindex(_: Layer, bottoms: list[Shape]) -> Made:
    if len(bottoms[1]) != 1:
        raise _Refused(f"bottom 1 is {times(bottoms[1])}, not a list", "give it one axis")
    return [(bottoms[1][0], *bottoms[0][1:])], []


def _nothing(_: Layer, __: list[Shape]) -> Made:
    return [], []


# Results


def _arg_max(layer: Layer, bottoms: list[Shape]) -> Made:
    param, data = layer.argmax_param, bottoms[0]
    if param.HasField("axis"):
        axis = _axis(param.axis, data)
        return [(*data[:axis], param.top_k, *data[axis + 1 :])], []
    if not data:
        raise _Refused("ArgMax needs at least one axis, not a scalar", "reshape its bottom")
    top = [1] * max(len(data), 3)
    top[0], top[1], top[2] = data[0], 2 if param.out_max_val else 1, param.top_k
    return [tuple(top)], []


def _softmax(layer: Layer, bottoms: list[Shape]) -> Made:
    _axis(layer.softmax_param.axis, bottoms[0])
    return [bottoms[0]], []


def _loss(layer: Layer, bottoms: list[Shape]) -> Made:
    """The loss is a scalar; a second top, where allowed, repeats the scores.

    A loss has one weight (of 1) by default, and every top needs one.
    """
    if max(len(layer.loss_weight), 1) != len(layer.top):
        raise _Refused(
            f"{len(layer.loss_weight)} loss_weight for {len(layer.top)} top(s)",
            "give loss_weight once per top",
        )
    return [(), bottoms[0]][: len(layer.top)], []


def _accuracy(layer: Layer, bottoms: list[Shape]) -> Made:
    """The accuracy is a scalar; a second top has it for each class."""
    axis = _axis(layer.accuracy_param.axis, bottoms[0])
    tops: list[Shape] = [(), (bottoms[0][axis],)]
    return tops[: len(layer.top)], []


_ANY_TOPS = (1, MANY)

RULES: dict[str, Rule] = {
    "Input": Rule(_input, (0, 0), (1, MANY)),
    "DummyData": Rule(_dummy_data, (0, 0), _ANY_TOPS),
    "Parameter": Rule(_parameter, (0, 0)),
    **dict.fromkeys(
        ("AbsVal", "BNLL", "Clip", "Dropout", "ELU", "Exp", "Log", "MVN", "Power", "ReLU",
         "Sigmoid", "Swish", "TanH", "Threshold"),
        Rule(_same),
    ),
    "LRN": Rule(_lrn),
    "BatchNorm": Rule(_batch_norm),
    "PReLU": Rule(_prelu),
    "Scale": Rule(_scale, (1, 2)),
    "Bias": Rule(_bias, (1, 2)),
    "Convolution": Rule(_convolution, (1, MANY), _ANY_TOPS),
    "Deconvolution": Rule(_deconvolution, (1, MANY), _ANY_TOPS),
    "Im2col": Rule(_im2col),
    "Pooling": Rule(_pooling, (1, 1), (1, 2)),
    "SPP": Rule(_spp),
    "InnerProduct": Rule(_inner_product),
    "Embed": Rule(_embed),
    "Eltwise": Rule(_eltwise, (2, MANY)),
    "Concat": Rule(_concat, (1, MANY)),
    "Slice": Rule(_slice, (1, 1), _ANY_TOPS),
    "Split": Rule(_same, (1, 1), _ANY_TOPS),
    "Flatten": Rule(_flatten),
    "Reshape": Rule(_reshape),
    "Crop": Rule(_crop, (2, 2)),
    "Tile": Rule(_tile),
    "Reduction": Rule(_reduction),
    "BatchReindex": Rule(_batch_reindex, (2, 2)),
    "Silence": Rule(_nothing, (1, MANY), (0, 0)),
    "ArgMax": Rule(_arg_max),
    "Softmax": Rule(_softmax),
    "SoftmaxWithLoss": Rule(_loss, (2, 3), (1, 2)),
    "InfogainLoss": Rule(_loss, (2, 3), (1, 2)),
    "SigmoidCrossEntropyLoss": Rule(_loss, (2, 2), (1, 2)),
    "ContrastiveLoss": Rule(_loss, (3, 3)),
    **dict.fromkeys(
        ("EuclideanLoss", "HingeLoss", "MultinomialLogisticLoss"), Rule(_loss, (2, 2))
    ),
    "Accuracy": Rule(_accuracy, (2, 2), (1, 2)),
}  # fmt: skip
"""Every layer type of Caffe 1.0 whose shapes follow from the network alone."""

DATA_TYPES = frozenset({"Data", "ImageData", "HDF5Data", "MemoryData", "WindowData"})
"""Layers that read their batch from somewhere: none of them runs without the data."""

UNSUPPORTED = {
    "Filter": "the size of its output depends on the data",
    "HDF5Output": "it writes files",
    "LSTM": "recurrent layers unroll into networks of their own",
    "Python": "its shapes are decided by code outside the network",
    "RNN": "recurrent layers unroll into networks of their own",
    "Recurrent": "recurrent layers unroll into networks of their own",
}
"""Other types that stock Caffe has, with the reason for leaving them out."""
