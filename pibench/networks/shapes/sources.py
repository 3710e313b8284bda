"""Infer shapes of layers that make blobs only from their parameters."""

from __future__ import annotations

from pibench.networks.shapes.contract import Layer, Made, Refused, Shape

LEGACY_DIMS = ("num", "channels", "height", "width")
"""Fields of a DummyData without `shape`: each has one value for all tops, or one per top."""


def _from_shapes(layer: Layer, dims: list[Shape]) -> list[Shape]:
    """Return one shape for every top; a single given shape is for all."""
    if len(dims) not in (1, len(layer.top)):
        raise Refused(f"{len(layer.top)} top(s) but {len(dims)} shape(s)", "give one shape per top")
    return dims * len(layer.top) if len(dims) == 1 else dims


def input_shapes(layer: Layer, _: list[Shape]) -> Made:
    return _from_shapes(layer, [tuple(shape.dim) for shape in layer.input_param.shape]), []


def dummy_data(layer: Layer, _: list[Shape]) -> Made:
    param = layer.dummy_data_param
    legacy = {name: list(getattr(param, name)) for name in LEGACY_DIMS}
    if not any(legacy.values()):
        return _from_shapes(layer, [tuple(shape.dim) for shape in param.shape]), []
    if param.shape:
        raise Refused("shape and num, channels, height or width are given", "keep the shape")
    tops = len(layer.top)
    for name, values in legacy.items():
        if len(values) not in (1, tops):
            raise Refused(
                f"{tops} top(s) but {len(values)} {name}", "give one for all tops, or one per top"
            )
    per_top = [values * tops if len(values) == 1 else values for values in legacy.values()]
    return list(zip(*per_top, strict=True)), []


def parameter(layer: Layer, _: list[Shape]) -> Made:
    shape = tuple(layer.parameter_param.shape.dim)
    return [shape], [shape]
