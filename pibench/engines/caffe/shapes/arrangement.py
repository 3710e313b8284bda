"""Infer shapes of layers that join, split, cut and reshape blobs."""

from __future__ import annotations

import math
from itertools import pairwise

from pibench.engines.caffe.shapes.contract import (
    Layer,
    Made,
    Refused,
    Shape,
    axis_index,
    elements,
    require_same_shapes,
    times,
)


def eltwise(layer: Layer, bottoms: list[Shape]) -> Made:
    if len(layer.eltwise_param.coeff) not in (0, len(bottoms)):
        raise Refused("coeff must be given once per bottom", "correct coeff")
    require_same_shapes(bottoms, "element-wise operations need one shape")
    return [bottoms[0]], []


def concat(layer: Layer, bottoms: list[Shape]) -> Made:
    param = layer.concat_param
    axis = axis_index(param.concat_dim if param.HasField("concat_dim") else param.axis, bottoms[0])
    rest = (*bottoms[0][:axis], *bottoms[0][axis + 1 :])
    for index, shape in enumerate(bottoms):
        same_axes = len(shape) == len(bottoms[0])
        if not same_axes or (*shape[:axis], *shape[axis + 1 :]) != rest:
            raise Refused(
                f"bottom 0 is {times(bottoms[0])} but bottom {index} is {times(shape)}",
                f"concatenated blobs may differ in axis {axis} only",
            )
    total = sum(shape[axis] for shape in bottoms)
    return [(*bottoms[0][:axis], total, *bottoms[0][axis + 1 :])], []


def slice_(layer: Layer, bottoms: list[Shape]) -> Made:
    param = layer.slice_param
    axis = axis_index(param.slice_dim if param.HasField("slice_dim") else param.axis, bottoms[0])
    size, count = bottoms[0][axis], len(layer.top)
    points = list(param.slice_point)
    if points:
        edges = [0, *points, size]
        parts = [end - start for start, end in pairwise(edges)]
        if len(parts) != count or min(parts) < 1:
            raise Refused(f"slice_point {points} does not cut {size} into {count}", "correct it")
    else:
        if size % count:
            raise Refused(f"{size} cannot be cut into {count} equal slices", "give slice_point")
        parts = [size // count] * count
    return [(*bottoms[0][:axis], part, *bottoms[0][axis + 1 :]) for part in parts], []


def flatten(layer: Layer, bottoms: list[Shape]) -> Made:
    start = axis_index(layer.flatten_param.axis, bottoms[0])
    end = axis_index(layer.flatten_param.end_axis, bottoms[0])
    if end < start:
        raise Refused(f"end_axis {end} comes before axis {start}", "correct the axes")
    middle = elements(bottoms[0][start : end + 1])
    return [(*bottoms[0][:start], middle, *bottoms[0][end + 1 :])], []


def reshape(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer a Reshape: 0 copies a dimension, one -1 takes the rest."""
    param, data = layer.reshape_param, bottoms[0]
    start = axis_index(param.axis, data, end=True)
    end = len(data) if param.num_axes == -1 else start + param.num_axes
    if not start <= end <= len(data):
        raise Refused(f"num_axes {param.num_axes} does not fit {times(data)}", "correct num_axes")
    wanted = list(param.shape.dim)
    for index, dim in enumerate(wanted):
        if dim == 0:
            if start + index >= len(data):
                raise Refused(f"dim {index} copies an axis that {times(data)} lacks", "correct it")
            wanted[index] = data[start + index]
    if wanted.count(-1) > 1 or any(dim < -1 for dim in wanted):
        raise Refused(f"shape {wanted} is not valid", "use positive numbers, 0, and one -1")
    if -1 in wanted:
        known = -math.prod(wanted)
        free = wanted.index(-1)
        wanted[free] = elements(data[start:end]) // known if known else 0
    top = (*data[:start], *wanted, *data[end:])
    if elements(top) != elements(data):
        raise Refused(f"{times(data)} cannot become {times(top)}", "the elements must add up")
    return [top], []


def crop(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer a Crop: from `axis` on, bottom 0 is cut to the size of bottom 1."""
    param, (data, reference) = layer.crop_param, bottoms
    if len(data) != len(reference):
        raise Refused(f"{times(data)} and {times(reference)} differ in axes", "reshape one")
    axis = axis_index(param.axis, data)
    offsets = list(param.offset) or [0]
    offsets = offsets * (len(data) - axis) if len(offsets) == 1 else offsets
    if len(offsets) != len(data) - axis:
        raise Refused(f"{len(offsets)} offsets for {len(data) - axis} axes", "give one or all")
    for size, wanted, offset in zip(data[axis:], reference[axis:], offsets, strict=True):
        if wanted + offset > size:
            raise Refused(f"cannot cut {wanted} at {offset} out of {size}", "correct the offset")
    return [(*data[:axis], *reference[axis:])], []


def tile(layer: Layer, bottoms: list[Shape]) -> Made:
    axis = axis_index(layer.tile_param.axis, bottoms[0])
    tiles = layer.tile_param.tiles
    return [(*bottoms[0][:axis], bottoms[0][axis] * tiles, *bottoms[0][axis + 1 :])], []


def reduction(layer: Layer, bottoms: list[Shape]) -> Made:
    return [bottoms[0][: axis_index(layer.reduction_param.axis, bottoms[0])]], []


def batch_reindex(_: Layer, bottoms: list[Shape]) -> Made:
    if len(bottoms[1]) != 1:
        raise Refused(f"bottom 1 is {times(bottoms[1])}, not a list", "give it one axis")
    return [(bottoms[1][0], *bottoms[0][1:])], []


def nothing(_: Layer, __: list[Shape]) -> Made:
    return [], []
