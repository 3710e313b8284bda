"""Infer shapes of layers that slide a window, such as convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe.shapes.checks import (
    MAX_ELEMENTS,
    Layer,
    Made,
    Refused,
    Shape,
    axis_index,
    check_count,
    elements,
    require_same_shapes,
    times,
)


@dataclass(frozen=True)
class Window:
    """Kernel, stride, pad and dilation of a convolution, one number per spatial axis."""

    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape

    @cached_property
    def extent(self) -> Shape:
        """Return the input elements that the dilated kernel spans."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))


def _spatial(
    name: str, values: Sequence[int], pair: tuple[int, int] | None, axes: int, default: int | None
) -> Shape:
    """Return a repeated field, its _h and _w pair, or the default, as one number per axis."""
    if pair is not None:
        if values or axes != 2:
            raise Refused(f"both {name} and its _h, _w are given", "keep one of them")
        return pair
    if not values and default is not None:
        return (default,) * axes
    if len(values) == 1:
        return (values[0],) * axes
    if len(values) != axes or not values:
        raise Refused(f"{len(values)} {name} given for {axes} axes", f"give {name} once")
    return tuple(values)


def window(conv: caffe.ConvolutionParameter, axes: int) -> Window:
    """Return the window of a convolution over `axes` spatial axes."""
    return _window(conv.SerializeToString(), axes)


@lru_cache(maxsize=1024)
def _window(message: bytes, axes: int) -> Window:
    """Return the same for a message as bytes: a network has few different windows."""
    conv = caffe.ConvolutionParameter.FromString(message)

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
        raise Refused("kernel, stride or dilation is 0", "make it at least 1")
    return found


def _slide(data: Shape, found: Window) -> Shape:
    """Return the spatial output sizes of a convolution; the division rounds towards 0, as C's."""
    sizes = []
    for size, extent, pad, stride in zip(data, found.extent, found.pad, found.stride, strict=True):
        padded = size + 2 * pad
        span = abs(padded - extent) // stride
        sizes.append((span if padded >= extent else -span) + 1)
        if sizes[-1] < 1:
            raise Refused(
                f"the kernel spans {extent} but its input, padding included, is {padded}",
                "use a larger input or a smaller kernel",
            )
    return tuple(sizes)


def _convolved(layer: Layer, bottoms: list[Shape]) -> tuple[Window, int, int]:
    """Return window, channel axis and input channels, after the checks that both kinds share."""
    conv = layer.convolution_param
    require_same_shapes(bottoms, "all bottoms of a convolution must have one shape")
    check_count("top", len(layer.top), (len(bottoms), len(bottoms)))
    axis = axis_index(conv.axis, bottoms[0])
    channels = bottoms[0][axis]
    if conv.num_output < 1:
        raise Refused("num_output is missing or 0", "set num_output")
    if conv.group < 1 or channels % conv.group or conv.num_output % conv.group:
        raise Refused(
            f"group {conv.group} does not divide {channels} input and {conv.num_output} output "
            "channels",
            "correct group or num_output",
        )
    return window(conv, len(bottoms[0]) - axis - 1), axis, channels


def _check_columns(channels: int, found: Window, places: Shape) -> None:
    """Check the blob that im2col writes, which is made even if it is not used."""
    columns = (channels, *found.kernel, *places)
    if elements(columns) > MAX_ELEMENTS:
        raise Refused(
            f"its im2col buffer would measure {times(columns)}: more than 2^31 - 1 elements",
            "Caffe cannot index that many; make it smaller",
        )


def convolution(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer a Convolution; weights: outputs x input channels of a group x kernel."""
    conv = layer.convolution_param
    found, axis, channels = _convolved(layer, bottoms)
    spatial = _slide(bottoms[0][axis + 1 :], found)
    top = (*bottoms[0][:axis], conv.num_output, *spatial)
    _check_columns(channels, found, spatial)
    params: list[Shape] = [(conv.num_output, channels // conv.group, *found.kernel)]
    if conv.bias_term:
        params.append((conv.num_output,))
    return [top] * len(bottoms), params


def deconvolution(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer a Deconvolution; weights: input channels x outputs of a group x kernel."""
    conv = layer.convolution_param
    found, axis, channels = _convolved(layer, bottoms)
    spatial = tuple(
        stride * (size - 1) + extent - 2 * pad
        for size, extent, pad, stride in zip(
            bottoms[0][axis + 1 :], found.extent, found.pad, found.stride, strict=True
        )
    )
    _check_columns(conv.num_output, found, bottoms[0][axis + 1 :])
    params: list[Shape] = [(channels, conv.num_output // conv.group, *found.kernel)]
    if conv.bias_term:
        params.append((conv.num_output,))
    return [(*bottoms[0][:axis], conv.num_output, *spatial)] * len(bottoms), params


def im2col(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer an Im2col: each channel becomes as many as the kernel has elements."""
    axis = axis_index(layer.convolution_param.axis, bottoms[0])
    found = window(layer.convolution_param, len(bottoms[0]) - axis - 1)
    channels = bottoms[0][axis] * elements(found.kernel)
    return [(*bottoms[0][:axis], channels, *_slide(bottoms[0][axis + 1 :], found))], []


def pooling(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer a Pooling (PoolingLayer::Reshape).

    Sizes are rounded up by default, so that a last window may extend over the edge. With a pad on
    either axis, a window that would start behind the input is dropped on both.
    """
    pool = layer.pooling_param
    if len(bottoms[0]) != 4:
        raise Refused(f"pooling needs four axes, not {times(bottoms[0])}", "reshape its bottom")
    kernel, stride, pad = pooling_window(pool, bottoms[0])
    floor = pool.round_mode == caffe.PoolingParameter.FLOOR
    spatial = []
    for size, k, s, p in zip(bottoms[0][2:], kernel, stride, pad, strict=True):
        span = size + 2 * p - k
        pooled = (span // s if floor else -(-span // s)) + 1
        if any(pad) and (pooled - 1) * s >= size + p:
            pooled -= 1
        if pooled < 1:
            raise Refused(
                f"the kernel is {k} but its input, padding included, is {size + 2 * p}",
                "use a larger input, a smaller kernel or global_pooling",
            )
        spatial.append(pooled)
    return [(*bottoms[0][:2], *spatial)] * len(layer.top), []


def pooling_window(pool: caffe.PoolingParameter, bottom: Shape) -> tuple[Shape, Shape, Shape]:
    """Return kernel, stride and pad of a pooling as (height, width) each."""

    def pair(name: str, single: int) -> Shape:
        fields = f"{name}_h", f"{name}_w"
        given = [field for field in fields if pool.HasField(field)]
        if given and (len(given) < 2 or pool.HasField(name)):
            raise Refused(f"{' and '.join(given)} without the other, or with {name}", "keep one")
        return (getattr(pool, fields[0]), getattr(pool, fields[1])) if given else (single, single)

    stride, pad = pair("stride", pool.stride), pair("pad", pool.pad)
    if pool.global_pooling:
        if pool.HasField("kernel_size") or pool.HasField("kernel_h") or pool.HasField("kernel_w"):
            raise Refused("global_pooling and a kernel are both given", "take the kernel out")
        if any(pad) or stride != (1, 1):
            raise Refused("global_pooling with pad or stride", "take pad and stride out")
        return bottom[2:], stride, pad
    if pool.HasField("kernel_size"):
        if pool.HasField("kernel_h") and pool.HasField("kernel_w"):
            raise Refused("kernel_size and kernel_h, kernel_w are given", "keep one of them")
        kernel: Shape = (pool.kernel_size, pool.kernel_size)
    else:
        kernel = (pool.kernel_h, pool.kernel_w)
    if min(kernel) < 1 or min(stride) < 1:
        raise Refused("kernel or stride is missing or 0", "set kernel_size and stride")
    if any(p >= k for p, k in zip(pad, kernel, strict=True)):
        raise Refused(f"pad {max(pad)} is not below kernel {min(kernel)}", "lower the pad")
    return kernel, stride, pad


def spp(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer an SPP: level i of the pyramid pools to 2^i x 2^i; the levels are concatenated."""
    if len(bottoms[0]) != 4:
        raise Refused(f"SPP needs four axes, not {times(bottoms[0])}", "reshape its bottom")
    batch, channels = bottoms[0][:2]
    height = layer.spp_param.pyramid_height
    if not 1 <= height <= 16:
        raise Refused(f"pyramid_height is {height}", "set it to a small positive number")
    for level in range(height):
        _check_pyramid(bottoms[0][2:], 2**level)
    if height == 1:
        return [(batch, channels, 1, 1)], []
    return [(batch, channels * sum(4**level for level in range(height)))], []


def _check_pyramid(data: Shape, bins: int) -> None:
    """Check the pooling of one level: SPPLayer::GetPoolingParam, and Pooling's rules for pads."""
    kernel = tuple(-(-size // bins) for size in data)
    pad = tuple((k * bins - size + 1) // 2 for k, size in zip(kernel, data, strict=True))
    if any(pad) and any(p >= k for p, k in zip(pad, kernel, strict=True)):
        raise Refused(f"{times(data)} is too small for {bins} x {bins} bins", "lower the pyramid")
