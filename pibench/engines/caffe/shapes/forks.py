"""Infer the shapes of the layers of Caffe's forks that pibench implements (qemu/caffe-layers)."""

from __future__ import annotations

from copy import deepcopy
from math import floor, inf
from struct import pack, unpack
from typing import Any

from pibench.engines.caffe.forks import parameters
from pibench.engines.caffe.shapes.checks import (
    MANY,
    Layer,
    Made,
    Refused,
    Rule,
    Shape,
    check_count,
    elements,
    require_same_shapes,
    times,
)
from pibench.engines.caffe.shapes.windows import convolution

_DETECTION: Shape = (1, 1, 1, 7)
"""A row per detection: image, label, confidence, corners. Their number depends on the data."""


def _image(shape: Shape) -> Shape:
    if len(shape) != 4:
        raise Refused(f"needs four axes, not {times(shape)}", "reshape its bottom")
    return shape


def _at_most_four(shape: Shape, least: int = 0) -> Shape:
    """Check the axes where Caffe names them num, channels, height and width (LegacyShape)."""
    if not least <= len(shape) <= 4:
        fewer = f"{least} to 4" if least else "at most 4"
        raise Refused(f"needs {fewer} axes, not {times(shape)}", "reshape its bottom")
    return shape


def _regions(shape: Shape) -> int:
    """Return the number of regions of a bottom: each has an image and two corners."""
    if not shape or elements(_at_most_four(shape)[1:]) != 5:
        raise Refused(f"has regions of {times(shape)}, not regions x 5", "correct the bottom")
    return shape[0]


def _exact(sizes: list[int], what: str) -> list[int]:
    """Check sizes that the library reads as numbers of single precision."""
    if any(size > 1 << 24 for size in sizes):
        raise Refused(f"{what} is {max(sizes)}", f"{1 << 24} is the most")
    return sizes


def _single(value: float) -> float:
    """Return a number in single precision, as the library computes it."""
    try:
        return float(unpack("f", pack("f", value))[0])
    except OverflowError:
        return inf


def _positive(size: int, what: str) -> int:
    if size < 1:
        raise Refused(f"{what} leaves nothing: {size}", "correct the layer's parameters")
    return size


def _same(_: Layer, bottoms: list[Shape]) -> Made:
    return [bottoms[0]], []


def _permute(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    if layer.type == "Transpose":
        order = list(asked.dim)
        if len(order) != len(bottoms[0]):
            raise Refused(f"dim names {len(order)} axes of {times(bottoms[0])}", "name each once")
    else:
        order = list(asked.order)
    order += [axis for axis in range(len(bottoms[0])) if axis not in order]
    if sorted(order) != list(range(len(bottoms[0]))):
        field = "dim" if layer.type == "Transpose" else "order"
        raise Refused(
            f"{field} is no permutation of the axes of {times(bottoms[0])}", "name each axis once"
        )
    return [tuple(bottoms[0][axis] for axis in order)], []


def _normalize(layer: Layer, bottoms: list[Shape]) -> Made:
    if not 2 <= len(bottoms[0]) <= 4:
        raise Refused(f"needs two to four axes, not {times(bottoms[0])}", "reshape its bottom")
    return [bottoms[0]], [() if parameters(layer).channel_shared else (bottoms[0][1],)]


def _prior_box(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    _, _, height, width = _image(bottoms[0])
    _at_most_four(bottoms[1])
    if len(asked.variance) not in (0, 1, 4):
        raise Refused(f"has {len(asked.variance)} variance", "give one, or four")
    if layer.type == "PriorBoxClustered":
        if not asked.width or len(asked.width) != len(asked.height):
            raise Refused(
                f"{len(asked.width)} width for {len(asked.height)} height", "give as many of both"
            )
        return [(1, 2, 4 * height * width * len(asked.width))], []
    sizes, larger = len(asked.min_size), len(asked.max_size)
    if not sizes:
        raise Refused("min_size is missing", "give it, in pixels")
    if larger not in (0, sizes):
        raise Refused(f"{larger} max_size for {sizes} min_size", "give as many of both")
    for field in ("min_size", "max_size", "aspect_ratio"):
        if not all(0 < value < inf for value in getattr(asked, field)):
            raise Refused(f"has a wrong {field}", "give numbers above 0")
    ratios = [1.0]
    for ratio in asked.aspect_ratio:
        if all(abs(_single(ratio - other)) >= 1e-6 for other in ratios):
            ratios += [ratio, _single(1 / ratio)] if asked.flip else [ratio]
    if asked.density and len(asked.density) != sizes:
        raise Refused(f"{len(asked.density)} density for {sizes} min_size", "give one for each")
    if not all(1 <= density <= 64 for density in asked.density):
        raise Refused("has a wrong density", "give numbers from 1 to 64")
    dense = sum(density * density - 1 for density in asked.density)
    boxes = height * width * (len(ratios) * sizes + larger + dense)
    return [(1, 2, 4 * boxes)], []


def _detection_output(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    locations, confidences, priors, *first_stage = bottoms
    if asked.num_classes < 1:
        raise Refused("num_classes is missing", "give it")
    for field, given in (
        ("soft_nms", asked.nms_param.soft_nms),
        ("output_logits", asked.output_logits),
    ):
        if given:
            raise Refused(f"{field} is not supported", "take it out; memory stays the same")
    boxes = priors[2] // 4 if len(priors) > 2 else 0
    if elements(_at_most_four(priors)) != 8 * boxes:
        raise Refused(
            f"has default boxes of {times(priors)}", "bottom 2 is 1 x 2 x four times the boxes"
        )
    if not locations or len(locations) > 4 or locations[:1] != confidences[:1]:
        raise Refused(
            f"has locations of {times(locations)} and confidences of {times(confidences)}",
            "both begin with the images",
        )
    sets = 1 if asked.share_location else asked.num_classes
    for what, found, wanted in (
        ("locations", elements(locations[1:]), 4 * boxes * sets),
        ("confidences", elements(confidences[1:]), boxes * asked.num_classes),
    ):
        if found != wanted:
            raise Refused(
                f"has {found} {what} for {boxes} boxes, which need {wanted}",
                "correct num_classes, share_location or the layers before it",
            )
    for stage, each in zip(first_stage, (2, 4), strict=False):
        if elements(stage) != locations[0] * boxes * each or sets > 1:
            raise Refused(
                f"has a first stage of {times(stage)} for {boxes} boxes in {sets} sets",
                f"RefineDet's has {each} numbers for each box, and share_location",
            )
    return [_DETECTION], []


def _bn(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    segnet = any(asked.HasField(name) for name in ("bn_mode", "scale_filler", "shift_filler"))
    statistics = (1, _at_most_four(bottoms[0], least=2)[1], 1, 1)
    return [bottoms[0]], [statistics] * (2 if segnet else 4)


def _upsample(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    images, channels, height, width = _image(bottoms[0])
    if len(bottoms) > 1:
        require_same_shapes(bottoms, "the mask has another shape")
    sizes = []
    for side, size in (("h", height), ("w", width)):
        own = f"scale_{side}"
        scale = getattr(asked, own if asked.HasField(own) else "scale")
        found = size * scale - getattr(asked, f"pad_out_{side}")
        given = f"upsample_{side}"
        sizes.append(getattr(asked, given) if asked.HasField(given) else found)
    return [(images, channels, *sizes)], []


def _unpooling(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    if asked.unpool != asked.MAX or len(bottoms) != 2:
        raise Refused("is not by a mask", "give unpool: MAX, and the mask of a pooling")
    values, mask = map(_image, bottoms)
    if (values[0], *values[2:]) != (mask[0], *mask[2:]) or values[1] > mask[1]:
        raise Refused(f"its mask is {times(mask)} for {times(values)}", "correct the bottoms")
    sizes = [getattr(asked, f"unpool_{side}") or asked.unpool_size for side in ("h", "w")]
    if not all(sizes):
        raise Refused("unpool_size is missing", "give it, or unpool_h and unpool_w")
    return [(*values[:2], *sizes)], []


def _brelu(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    if not (asked.HasField("minval") and asked.HasField("maxval")):
        raise Refused("minval or maxval is missing", "give both")
    return _same(layer, bottoms)


def _interp(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    images, channels, height, width = _image(bottoms[0])
    if asked.use_blob_size != (len(bottoms) > 1):
        raise Refused(f"has {len(bottoms)} bottom(s)", "a second one goes with use_blob_size")
    if asked.pad_beg > 0 or asked.pad_end > 0:
        raise Refused("pad_beg or pad_end is above 0", "Interp only cuts: 0 or less")
    for factor in ("shrink_factor", "zoom_factor"):
        if asked.HasField(factor):
            _positive(getattr(asked, factor), factor)
    sizes = []
    for size, side in ((height, "height"), (width, "width")):
        found = _positive(size + asked.pad_beg + asked.pad_end, "pad_beg and pad_end")
        if asked.shrink_factor:
            found = (found - 1) // asked.shrink_factor + 1
        if asked.zoom_factor:
            found += (found - 1) * (asked.zoom_factor - 1)
        sizes.append(getattr(asked, side) if asked.HasField(side) else found)
    if asked.use_blob_size:
        sizes = list(_image(bottoms[1])[2:])
    return [(images, channels, *sizes)], []


_ONE_MARK = "give one for each step and sequence"


def _lstm(layer: Layer, bottoms: list[Shape]) -> Made:
    outputs = parameters(layer).num_output
    if not outputs:
        raise Refused("num_output is missing", "give it")
    sequence = bottoms[0]
    if len(sequence) < 3 or elements(sequence[3:]) != 1:
        raise Refused(f"needs steps x sequences x inputs, not {times(sequence)}", "reshape it")
    if len(bottoms) > 1 and elements(bottoms[1]) != sequence[0] * sequence[1]:
        raise Refused(f"has marks of {times(bottoms[1])}", _ONE_MARK)
    weights: list[Shape] = [(4 * outputs, sequence[2]), (4 * outputs, outputs), (4 * outputs,)]
    return [(*sequence[:2], outputs)], weights


def _ctc_greedy_decoder(_: Layer, bottoms: list[Shape]) -> Made:
    shape = bottoms[0]
    if len(shape) < 3 or elements(shape[3:]) != 1:
        raise Refused(f"needs steps x sequences x classes, not {times(shape)}", "reshape it")
    if len(bottoms) > 1 and elements(bottoms[1]) != shape[0] * shape[1]:
        raise Refused(f"has marks of {times(bottoms[1])}", _ONE_MARK)
    return [(shape[1], shape[0], 1, 1)], []


def _roi_pooling(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    if not asked.pooled_h or not asked.pooled_w:
        raise Refused("pooled_h or pooled_w is missing", "give both")
    if not 0 <= asked.pad_ratio < inf:
        raise Refused(f"pad_ratio is {asked.pad_ratio:g}", "give a number from 0")
    return [(_regions(bottoms[1]), _image(bottoms[0])[1], asked.pooled_h, asked.pooled_w)], []


def _psroi_pooling(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    outputs, cells = asked.output_dim, asked.group_size
    if not outputs or not cells:
        raise Refused("output_dim or group_size is missing", "give both")
    if _image(bottoms[0])[1] != outputs * cells * cells:
        raise Refused(
            f"has {bottoms[0][1]} channels, not output_dim * group_size^2", "correct either"
        )
    return [(_regions(bottoms[1]), outputs, cells, cells)], []


def _proposal(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    anchors = (len(asked.ratio) or 3) * (len(asked.scale) or 3)
    scores, deltas = _image(bottoms[0]), _image(bottoms[1])
    if scores[0] != 1 or scores[1] != 2 * anchors or deltas[1] != 4 * anchors:
        raise Refused(
            f"needs one image with 2 scores and 4 deltas for each of {anchors} anchors",
            "correct ratio, scale or the layers before it",
        )
    if deltas[::2] + deltas[3:] != scores[::2] + scores[3:] or elements(bottoms[2]) < 3:
        raise Refused(
            f"has scores of {times(scores)}, deltas of {times(deltas)} and an image of "
            f"{times(bottoms[2])}",
            "scores and deltas are of the same places, the image has height, width and scale",
        )
    # The most that there can be: the real number depends on the data.
    tops: list[Shape] = [(asked.post_nms_topn, 5), (asked.post_nms_topn, 1)]
    return tops[: len(layer.top)], []


def _box_output(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    if asked.nms_type not in ("IOU", "IOMU", "IOFU"):
        raise Refused(f"has no nms_type {asked.nms_type!r}", "take IOU, IOMU or IOFU")
    if not 0 < asked.field_whr < inf or not 0 < asked.field_xyr < inf:
        raise Refused("has a wrong field_whr or field_xyr", "give numbers above 0")
    _check_deltas(asked.bbox_reg_param)
    fields, maps = _grouped_maps(asked, bottoms)
    images = bottoms[0][0] // fields
    for shape in maps:
        if shape[0] != images * fields:
            raise Refused(f"has maps of {times(shape)} for {images} images", "correct the bottoms")
    places = sum(fields * height * width for _, _, height, width in maps)
    # The most that there can be: the real number depends on the data.
    rows = images * (asked.max_post_nms_num or asked.max_nms_num or places)
    if max(6 * rows, asked.max_nms_num) >= 1 << 31:
        raise Refused(f"finds {max(rows, asked.max_nms_num)} regions", "limit max_post_nms_num")
    tops: list[Shape] = [(rows, 5, 1, 1), (rows, 6, 1, 1)]
    return tops[: len(layer.top)], []


def _grouped_maps(asked: Any, bottoms: list[Shape]) -> tuple[int, list[Shape]]:
    """Return the fields of each place of an image, and the maps with their deltas."""
    shapes = [_image(bottom) for bottom in bottoms]
    if "box_group_param" not in asked.DESCRIPTOR.fields_by_name:
        for what in ("field_w", "field_h", "downsample_rate"):
            values = getattr(asked, what)
            check_count(what, len(values), (len(bottoms), len(bottoms)))
            _positive(min(values), what)
        for shape in shapes:
            if shape[1] < 6 or shape[1] != shapes[0][1]:
                raise Refused(
                    f"has {times(shape)}, not the scores of classes and 4 deltas",
                    "correct the bottoms",
                )
        return 1, shapes
    groups = asked.box_group_param
    check_count("box_group_param", len(groups), (len(bottoms) // 2, len(bottoms) // 2))
    counts = {len(values) for group in groups for values in (group.field_w, group.field_h)}
    if len(bottoms) % 2 or len(counts) != 1 or not (fields := counts.pop()):
        raise Refused("has groups of different sizes", "give each as many field_w and field_h")
    for group, scores, deltas in zip(groups, shapes[::2], shapes[1::2], strict=True):
        _positive(min(group.stride, *group.field_w, *group.field_h), "box_group_param")
        if deltas != (scores[0], 4, *scores[2:]) or scores[0] % fields:
            raise Refused(
                f"has scores of {times(scores)} and deltas of {times(deltas)} for {fields} fields",
                "scores and deltas are of the same places, for each field of an image",
            )
    return fields, shapes[1::2]


def _check_deltas(asked: Any) -> None:
    for name in ("bbox_mean", "bbox_std"):
        check_count(name, len(getattr(asked, name)) or 4, (4, 4))


def _decode_bbox(layer: Layer, bottoms: list[Shape]) -> Made:
    _check_deltas(parameters(layer))
    deltas, regions = (_at_most_four(bottom, least=1) for bottom in bottoms)
    if elements(deltas[1:]) != 8 or deltas[0] != _regions(regions):
        raise Refused(
            f"has deltas of {times(deltas)} for regions of {times(regions)}",
            "DecodeBBox reads 8 deltas for each region",
        )
    return [regions], []


def _reorg(layer: Layer, bottoms: list[Shape]) -> Made:
    images, channels, height, width = _image(bottoms[0])
    asked = parameters(layer)
    if asked.reverse:
        raise Refused("reverse is not supported", "take it out")
    stride = _positive(asked.stride, "stride") if asked.HasField("stride") else 1
    if height % stride or width % stride or channels % (stride * stride):
        raise Refused(f"{times(bottoms[0])} cannot be divided by stride {stride}", "correct it")
    return [(images, channels * stride * stride, height // stride, width // stride)], []


def _reverse(layer: Layer, bottoms: list[Shape]) -> Made:
    if not 0 <= parameters(layer).axis < len(bottoms[0]):
        raise Refused(f"axis is outside of {times(bottoms[0])}", "correct the axis")
    return [bottoms[0]], []


def _squeeze(layer: Layer, bottoms: list[Shape]) -> Made:
    (bottom,), axes = bottoms, len(bottoms[0])
    named = list(parameters(layer).axis)
    if any(not -axes <= axis < axes or bottom[axis] != 1 for axis in named):
        raise Refused(f"{named} are not all axes of size 1 of {times(bottom)}", "correct axis")
    goes = {axis % axes for axis in named} or set(range(axes))
    return [tuple(size for axis, size in enumerate(bottom) if size != 1 or axis not in goes)], []


def _mul(layer: Layer, bottoms: list[Shape]) -> Made:
    learned = (
        [tuple(_exact(list(parameters(layer).mul_shape), "mul_shape"))] if len(bottoms) == 1 else []
    )
    one, other = (bottoms + learned)[:2]
    axes = max(len(one), len(other))
    pairs = [(1,) * (axes - len(shape)) + shape for shape in (one, other)]
    sizes = []
    for first, second in zip(*pairs, strict=True):
        if first != second and 1 not in (first, second):
            raise Refused(f"cannot multiply {times(one)} by {times(other)}", "correct either")
        sizes.append(max(first, second))
    return [tuple(sizes)], learned


def _resize(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    shape = list(_image(bottoms[0]))
    first = 1 if asked.data_format == "NHWC" else 2
    for axis, output, scale in (
        (first, "output_height", asked.scale_height),
        (first + 1, "output_width", asked.scale_width),
    ):
        if asked.HasField(output):
            shape[axis] = _positive(getattr(asked, output), output)
            continue
        if not 0 < scale < 1 << 31:
            raise Refused(f"{output} leaves nothing: its scale is {scale:g}", "correct the scale")
        shape[axis] = _positive(floor(_single(shape[axis] * scale)), output)
    return [tuple(shape)], []


def _crop_center(layer: Layer, bottoms: list[Shape]) -> Made:
    cuts = _exact(list(parameters(layer).crop_size), "crop_size")
    if len(cuts) != len(bottoms[0]):
        raise Refused("crop_size needs a number for each axis", "0 leaves an axis whole")
    return [
        tuple(
            _positive(size - 2 * cut, "crop_size")
            for size, cut in zip(bottoms[0], cuts, strict=True)
        )
    ], []


def _shuffle_channel(layer: Layer, bottoms: list[Shape]) -> Made:
    group = parameters(layer).group
    if len(bottoms[0]) < 2 or not group or bottoms[0][1] % group:
        raise Refused(f"the channels of {times(bottoms[0])} are no {group} groups", "correct group")
    return [bottoms[0]], []


def _axpy(_: Layer, bottoms: list[Shape]) -> Made:
    scales, first, second = bottoms
    if first != second or len(first) < 2 or elements(scales) != elements(first[:2]):
        raise Refused(
            f"cannot scale {times(first)} by {times(scales)} and add {times(second)}",
            "the first bottom has one number for each channel of the others",
        )
    return [first], []


def _indicator(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    if not asked.time_step or not (asked.batch_size or bottoms):
        raise Refused("time_step or batch_size is missing", "give both")
    steps = asked.time_step
    if asked.HasField("batch_size") or not bottoms:
        return [(steps, _positive(asked.batch_size, "batch_size"))], []
    if not 0 <= asked.axis < len(bottoms[0]):
        raise Refused(f"axis is outside of {times(bottoms[0])}", "correct the axis")
    return [(steps, bottoms[0][asked.axis])], []


def _depthwise(layer: Layer, bottoms: list[Shape]) -> Made:
    grouped = deepcopy(layer)
    grouped.convolution_param.group = (*_at_most_four(bottoms[0])[1:2], 1)[0]
    return convolution(grouped, bottoms)


def _spatial_dropout(layer: Layer, bottoms: list[Shape]) -> Made:
    if len(bottoms[0]) < 2:
        raise Refused(f"needs two axes, not {times(bottoms[0])}", "reshape its bottom")
    if not 0 <= (part := parameters(layer).p) <= 1:
        raise Refused(f"p is {part:g}", "give the part to drop: 0 to 1")
    return [bottoms[0]], []


def _detections(layer: Layer, bottoms: list[Shape]) -> Made:
    asked = parameters(layer)
    wanted = asked.num_box * (5 + asked.num_classes)
    for bottom in bottoms:
        if _image(bottom)[1] != wanted or bottom[0] != bottoms[0][0]:
            raise Refused(
                f"has {times(bottom)}, and needs {wanted} channels: num_box * (5 + num_classes)",
                "correct num_box, num_classes or the layer before it",
            )
    anchors, boxes = len(asked.biases), asked.num_box
    if layer.type == "YoloDetectionOutput":
        check_count("bias", anchors, (2 * boxes, 2 * boxes))
        return [_DETECTION], []
    check_count("anchors_scale", len(asked.anchors_scale), (len(bottoms), len(bottoms)))
    check_count("mask", len(asked.mask), (len(bottoms) * boxes, len(bottoms) * boxes))
    if 2 * max(asked.mask) + 1 >= anchors:
        raise Refused(f"mask {max(asked.mask)} is beyond {anchors} biases", "correct it")
    return [_DETECTION], []


RULES: dict[str, Rule] = {
    "BReLU": Rule(_brelu),
    **dict.fromkeys(("UnPooling", "Unpooling"), Rule(_unpooling, (1, 2))),
    **dict.fromkeys(("HardSigmoid", "HardSwish", "Mish", "ReLU6"), Rule(_same)),
    "Axpy": Rule(_axpy, (3, 3)),
    "BN": Rule(_bn),
    "BoxGroupOutput": Rule(_box_output, (2, MANY), (1, 2)),
    "BoxOutput": Rule(_box_output, (1, MANY), (1, 2)),
    "CTCGreedyDecoder": Rule(_ctc_greedy_decoder, (1, 2)),
    "ContinuationIndicator": Rule(_indicator, (0, MANY)),
    "ConvolutionDepthwise": Rule(_depthwise),
    "CropCenter": Rule(_crop_center),
    "DecodeBBox": Rule(_decode_bbox, (2, 2)),
    "DepthwiseConvolution": Rule(convolution, (1, MANY), (1, MANY)),
    "DetectionOutput": Rule(_detection_output, (3, 5)),
    "Interp": Rule(_interp, (1, 2)),
    "Lstm": Rule(_lstm, (1, 2)),
    "Mul": Rule(_mul, (1, 2)),
    "Normalize": Rule(_normalize),
    "PSROIPooling": Rule(_psroi_pooling, (2, 2)),
    "Permute": Rule(_permute),
    "PriorBox": Rule(_prior_box, (2, 2)),
    "PriorBoxClustered": Rule(_prior_box, (2, 2)),
    "Proposal": Rule(_proposal, (3, 3), (1, 2)),
    "ROIPooling": Rule(_roi_pooling, (2, 2)),
    "Reorg": Rule(_reorg),
    "ResizeBilinear": Rule(_resize),
    "ResizeNearestNeighbor": Rule(_resize),
    "Reverse": Rule(_reverse),
    "ShuffleChannel": Rule(_shuffle_channel),
    "SpatialDropout": Rule(_spatial_dropout),
    "Squeeze": Rule(_squeeze),
    "Transpose": Rule(_permute),
    "Upsample": Rule(_upsample, (1, 2)),
    "YoloDetectionOutput": Rule(_detections, (1, 2)),
    "Yolov3DetectionOutput": Rule(_detections, (1, MANY)),
}
"""One entry for each type of `pibench.engines.caffe.forks`."""
