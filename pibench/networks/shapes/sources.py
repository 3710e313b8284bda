"""Layers that make blobs from nothing but their own parameters."""

from __future__ import annotations

from pibench.networks.shapes.contract import Layer, Made, Refused, Shape


def _from_shapes(layer: Layer, dims: list[Shape]) -> list[Shape]:
    """One shape for every top, or one for all."""
    if len(dims) not in (1, len(layer.top)):
        raise Refused(f"{len(layer.top)} top(s) but {len(dims)} shape(s)", "give one shape per top")
    return dims * len(layer.top) if len(dims) == 1 else dims


def input_shapes(layer: Layer, _: list[Shape]) -> Made:
    return _from_shapes(layer, [tuple(shape.dim) for shape in layer.input_param.shape]), []


def dummy_data(layer: Layer, _: list[Shape]) -> Made:
    param = layer.dummy_data_param
    shapes: list[Shape] = [tuple(shape.dim) for shape in param.shape]
    if shapes and (param.num or param.channels or param.height or param.width):
        raise Refused("shape and num, channels, height or width are given", "keep the shape")
    if not shapes:
        legacy = (param.num, param.channels, param.height, param.width)
        shapes = list(zip(*legacy, strict=False))
    return _from_shapes(layer, shapes), []


def parameter(layer: Layer, _: list[Shape]) -> Made:
    shape = tuple(layer.parameter_param.shape.dim)
    return [shape], [shape]
