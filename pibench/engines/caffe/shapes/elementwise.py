"""Infer shapes of layers that keep the shape of their bottom."""

from __future__ import annotations

from pibench.engines.caffe.shapes.contract import Layer, Made, Refused, Shape, axis_index, times


def same(layer: Layer, bottoms: list[Shape]) -> Made:
    return [bottoms[0]] * len(layer.top), []


def dropout(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer a Dropout; training draws numbers with its ratio (caffe_rng_bernoulli)."""
    ratio = layer.dropout_param.dropout_ratio
    if not 0 <= ratio <= 1:
        raise Refused(f"dropout_ratio is {ratio:g}", "a ratio is from 0 to 1")
    return same(layer, bottoms)


def lrn(layer: Layer, bottoms: list[Shape]) -> Made:
    if len(bottoms[0]) != 4:
        raise Refused(f"LRN needs four axes, not {times(bottoms[0])}", "reshape its bottom")
    if layer.lrn_param.local_size % 2 == 0:
        raise Refused("local_size is even", "use an odd size")
    return [bottoms[0]], []


def batch_norm(_: Layer, bottoms: list[Shape]) -> Made:
    """Infer a BatchNorm; parameters: mean and variance per channel, and the factor of both."""
    if len(bottoms[0]) < 2:
        raise Refused(f"BatchNorm needs two axes, not {times(bottoms[0])}", "reshape its bottom")
    channels = bottoms[0][1]
    return [bottoms[0]], [(channels,), (channels,), (1,)]


def prelu(layer: Layer, bottoms: list[Shape]) -> Made:
    if len(bottoms[0]) < 2:
        raise Refused(f"PReLU needs two axes, not {times(bottoms[0])}", "reshape its bottom")
    return [bottoms[0]], [() if layer.prelu_param.channel_shared else (bottoms[0][1],)]


def _operand(bottoms: list[Shape], axis: int, num_axes: int) -> tuple[Shape, bool]:
    """Return the shape of what Scale or Bias applies, and whether it is a parameter."""
    data = bottoms[0]
    if len(bottoms) == 1:
        start = axis_index(axis, data)
        end = len(data) if num_axes == -1 else start + num_axes
        if num_axes < -1 or end > len(data):
            raise Refused(f"num_axes {num_axes} does not fit {times(data)}", "correct num_axes")
        return data[start:end], True
    start = 0 if not bottoms[1] else axis_index(axis, data)
    if data[start : start + len(bottoms[1])] != bottoms[1]:
        raise Refused(
            f"bottom 1 is {times(bottoms[1])}, which does not fit {times(data)} at axis {axis}",
            "its shape must match consecutive dimensions of bottom 0",
        )
    return bottoms[1], False


def scale(layer: Layer, bottoms: list[Shape]) -> Made:
    param = layer.scale_param
    factor, learned = _operand(bottoms, param.axis, param.num_axes)
    return [bottoms[0]], [factor] * (int(learned) + int(param.bias_term))


def bias(layer: Layer, bottoms: list[Shape]) -> Made:
    term, learned = _operand(bottoms, layer.bias_param.axis, layer.bias_param.num_axes)
    return [bottoms[0]], [term] * int(learned)
