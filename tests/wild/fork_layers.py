"""Random layers of Caffe's forks over inputs of random sizes, for property tests of shapes."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

Draw = st.DrawFn
Layer = tuple[list[tuple[int, ...]], str]
"""The shapes of the bottoms, and the text of the parameters."""


def _fields(message: str, **values: object) -> str:
    """A parameter message without the fields that are None; of a list, one field per element."""
    lines = [
        f"{name}: {str(one).lower() if isinstance(one, bool) else one}"
        for name, value in values.items()
        for one in (value if isinstance(value, list) else [value])
        if one is not None
    ]
    return f"{message} {{ {' '.join(lines)} }}"


def _size(draw: Draw, least: int = 1, most: int = 9) -> int:
    return draw(st.integers(least, most))


def _maybe(draw: Draw, values: st.SearchStrategy) -> object:
    return draw(st.none() | values)


def _map(draw: Draw, channels: int | None = None) -> tuple[int, ...]:
    return (_size(draw, most=3), channels or _size(draw), _size(draw), _size(draw))


def _sequence(draw: Draw) -> tuple[int, ...]:
    return (_size(draw), _size(draw, most=3), _size(draw), *draw(st.sampled_from(((), (1,)))))


def _lstm(draw: Draw) -> Layer:
    sequence = _sequence(draw)
    marks = [sequence[:2]] if draw(st.booleans()) else []
    return [sequence, *marks], _fields("lstm_param", num_output=_size(draw))


def _ctc_greedy_decoder(draw: Draw) -> Layer:
    sequence = _sequence(draw)
    marks = [sequence[:2]] if draw(st.booleans()) else []
    return [sequence, *marks], _fields(
        "ctc_decoder_param", blank_index=_maybe(draw, st.integers(-1, 2))
    )


def _any(draw: Draw, least: int = 1, most: int = 5) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(1, 6), min_size=least, max_size=most)))


def _ratio(draw: Draw) -> float:
    return draw(st.sampled_from((0.25, 0.3333, 0.5, 1.0, 1.5, 2.0, 3.0, 3.0000001)))


def _permute(draw: Draw) -> Layer:
    shape = _any(draw)
    order = draw(st.permutations(range(len(shape))))
    return [shape], _fields("permute_param", order=order[: draw(st.integers(0, len(shape)))])


def _transpose(draw: Draw) -> Layer:
    shape = _any(draw)
    return [shape], _fields("transpose_param", dim=draw(st.permutations(range(len(shape)))))


def _normalize(draw: Draw) -> Layer:
    flags = {name: _maybe(draw, st.booleans()) for name in ("across_spatial", "channel_shared")}
    return [_any(draw, 2, 4)], _fields("norm_param", **flags)


def _bn(draw: Draw) -> Layer:
    shape = _any(draw, 2, 4)
    if draw(st.booleans()):
        mode = draw(st.sampled_from(("LEARN", "INFERENCE")))
        return [shape], f"bn_param {{ bn_mode: {mode} scale_filler {{ value: 1 }} }}"
    return [shape], _fields("bn_param", frozen=_maybe(draw, st.booleans()))


def _upsample(draw: Draw) -> Layer:
    shape = _map(draw)
    names = ("scale", "scale_h", "scale_w")
    asked = {name: _maybe(draw, st.integers(1, 3)) for name in names}
    # Something is left when a row or a column is cut.
    sides = zip(("pad_out_h", "pad_out_w"), shape[2:], strict=True)
    asked |= {name: _maybe(draw, st.booleans()) for name, size in sides if size > 1}
    if draw(st.booleans()):
        # No smaller than the bottom: indices of its mask have to be inside.
        asked |= {
            name: _maybe(draw, st.integers(size, 3 * size))
            for name, size in (("upsample_h", shape[2]), ("upsample_w", shape[3]))
        }
    return [shape] * draw(st.integers(1, 2)), _fields("upsample_param", **asked)


def _unpooling(draw: Draw) -> Layer:
    shape = _map(draw)
    asked = {"unpool_h": 2 * shape[2], "unpool_w": 3 * shape[3]}
    if draw(st.booleans()):
        asked = {"unpool_size": 2 * max(shape[2:])}
    mask = (shape[0], shape[1] + draw(st.integers(0, 2)), *shape[2:])
    return [shape, mask], _fields("unpooling_param", kernel_size=2, stride=2, **asked)


def _brelu(draw: Draw) -> Layer:
    return [_any(draw)], _fields("brelu_param", minval=-0.5, maxval=1)


def _interp(draw: Draw) -> Layer:
    images, channels, height, width = _map(draw)
    asked = {name: _maybe(draw, st.integers(1, 12)) for name in ("height", "width")}
    asked |= {name: _maybe(draw, st.integers(1, 4)) for name in ("zoom_factor", "shrink_factor")}
    asked |= {name: _maybe(draw, st.integers(-2, 0)) for name in ("pad_beg", "pad_end")}
    # Something is left when both pads cut.
    bottoms = [(images, channels, height + 4, width + 4)]
    if draw(st.booleans()):
        bottoms.append(_map(draw))
        asked["use_blob_size"] = True
    return bottoms, _fields("interp_param", **asked)


def _regions(draw: Draw) -> tuple[int, ...]:
    return (_size(draw), 5, 1, 1)[: draw(st.integers(2, 4))]


def _roi_pooling(draw: Draw) -> Layer:
    asked = {name: _size(draw, most=5) for name in ("pooled_h", "pooled_w")}
    asked["pad_ratio"] = _maybe(draw, st.sampled_from((0.1, 0.25)))
    return [_map(draw), _regions(draw)], _fields("roi_pooling_param", **asked)


def _psroi_pooling(draw: Draw) -> Layer:
    outputs, cells = _size(draw, most=3), _size(draw, most=3)
    return [_map(draw, outputs * cells * cells), _regions(draw)], _fields(
        "psroi_pooling_param", output_dim=outputs, group_size=cells, spatial_scale=0.5
    )


def _proposal(draw: Draw) -> Layer:
    ratios, scales = (
        draw(st.lists(st.sampled_from(of), max_size=3)) for of in ((0.5, 1, 2), (4, 8, 16))
    )
    anchors = (len(ratios) or 3) * (len(scales) or 3)
    places = (_size(draw), _size(draw))
    image = draw(st.sampled_from(((1, 3), (3,), (1, 3, 1, 1), (1, 6))))
    most = _maybe(draw, st.integers(1, 400))
    return [(1, 2 * anchors, *places), (1, 4 * anchors, *places), image], _fields(
        "proposal_param", ratio=ratios, scale=scales, post_nms_topn=most
    )


def _limits(draw: Draw) -> dict[str, object]:
    names = ("max_nms_num", "max_post_nms_num")
    return {name: _maybe(draw, st.integers(1, 9)) for name in names} | {"min_size": 0}


def _box_output(draw: Draw) -> Layer:
    images, classes = _size(draw, most=2), _size(draw, 2, 4)
    maps = [
        (images, classes + 4, _size(draw, most=4), _size(draw, most=4))
        for _ in range(_size(draw, most=3))
    ]
    sizes = [8 * (1 + number) for number in range(len(maps))]
    return maps, _fields(
        "box_output_param", field_w=sizes, field_h=sizes, downsample_rate=sizes, **_limits(draw)
    )


def _box_group_output(draw: Draw) -> Layer:
    images, classes, fields = _size(draw, most=2), _size(draw, 2, 4), _size(draw, most=3)
    bottoms, groups = [], []
    for _ in range(_size(draw, most=2)):
        places = (_size(draw, most=4), _size(draw, most=4))
        bottoms += [(images * fields, channels, *places) for channels in (classes, 4)]
        sizes = " ".join(f"field_w: {9 + field} field_h: {8 + field}" for field in range(fields))
        groups.append(f"box_group_param {{ stride: 8 {sizes} }}")
    body = _fields("box_group_output_param", **_limits(draw))
    return bottoms, f"{body[:-1]} {' '.join(groups)} }}"


def _decode_bbox(draw: Draw) -> Layer:
    regions = _regions(draw)
    return [(regions[0], 8), regions], draw(
        st.sampled_from(("", "bbox_reg_param { bbox_mean: [0, 0, 0, 0] bbox_std: [1, 1, 2, 2] }"))
    )


def _reorg(draw: Draw) -> Layer:
    stride = _size(draw, most=3)
    factors = (1, stride * stride, stride, stride)
    shape = tuple(_size(draw, most=3) * factor for factor in factors)
    asked = stride if stride > 1 or draw(st.booleans()) else None
    return [shape], _fields("reorg_param", stride=asked)


def _reverse(draw: Draw) -> Layer:
    shape = _any(draw)
    return [shape], _fields("reverse_param", axis=_maybe(draw, st.integers(0, len(shape) - 1)))


def _squeeze(draw: Draw) -> Layer:
    shape = tuple(draw(st.lists(st.sampled_from((1, 1, 2, 3)), min_size=1, max_size=5)))
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    axes = draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
    named = [axis - draw(st.sampled_from((0, len(shape)))) for axis in axes]
    return [shape], _fields("squeeze_param", axis=named)


def _mul(draw: Draw) -> Layer:
    first, second = [], []
    for size in _any(draw):
        pair = draw(st.sampled_from(((size, size), (size, 1), (1, size))))
        first.append(pair[0])
        second.append(pair[1])
    cut = draw(st.integers(0, len(first) - 1))
    if draw(st.booleans()):
        second = second[cut:]
    else:
        first = first[cut:]
    if draw(st.booleans()):
        return [tuple(first)], _fields("mul_param", mul_shape=second)
    return [tuple(first), tuple(second)], ""


def _resize(message: str) -> Callable[[Draw], Layer]:
    def drawn(draw: Draw) -> Layer:
        scales = st.floats(0.25, 3, width=32)
        return [tuple(_size(draw, 4) for _ in range(4))], _fields(
            message,
            data_format=_maybe(draw, st.sampled_from(('"NCHW"', '"NHWC"'))),
            output_height=_maybe(draw, st.integers(1, 12)),
            output_width=_maybe(draw, st.integers(1, 12)),
            scale_height=_maybe(draw, scales),
            scale_width=_maybe(draw, scales),
            align_corners=_maybe(draw, st.booleans()),
            half_pixel_centers=_maybe(draw, st.booleans()),
        )

    return drawn


def _crop_center(draw: Draw) -> Layer:
    shape = _any(draw)
    cuts = [draw(st.integers(0, (size - 1) // 2)) for size in shape]
    return [shape], _fields("crop_center_param", crop_size=cuts)


def _shuffle_channel(draw: Draw) -> Layer:
    group = _size(draw, most=4)
    shape = _any(draw, 2)
    asked = group if group > 1 or draw(st.booleans()) else None
    return [(shape[0], shape[1] * group, *shape[2:])], _fields("shuffle_channel_param", group=asked)


def _axpy(draw: Draw) -> Layer:
    shape = _any(draw, 2)
    scales = (*shape[:2], 1, 1)[: draw(st.integers(2, 4))]
    return [scales, shape, shape], ""


def _indicator(draw: Draw) -> Layer:
    bottoms = [_map(draw)] * draw(st.integers(0, 2))
    asked = {"batch_size": _size(draw)}
    if bottoms and draw(st.booleans()):
        asked = {"axis": draw(st.integers(0, 3))}
    return bottoms, _fields("continuation_indicator_param", time_step=_size(draw), **asked)


def _convolution(draw: Draw, channels: int, *, names_groups: bool) -> Layer:
    shape = (_size(draw, most=3), channels, *(_size(draw, 5) for _ in "hw"))
    return [shape], _fields(
        "convolution_param",
        num_output=channels * _size(draw, most=3),
        kernel_size=_size(draw, most=3),
        stride=_maybe(draw, st.integers(1, 3)),
        pad=_maybe(draw, st.integers(0, 2)),
        dilation=_maybe(draw, st.integers(1, 2)),
        bias_term=_maybe(draw, st.booleans()),
        group=channels if names_groups else None,
    )


def _spatial_dropout(draw: Draw) -> Layer:
    return [_any(draw, 2)], _fields(
        "spatial_dropout_param",
        p=_maybe(draw, st.sampled_from((0, 0.1, 0.9))),
        train=_maybe(draw, st.booleans()),
    )


def _prior_box(draw: Draw) -> Layer:
    sizes = draw(st.lists(st.integers(5, 60), min_size=1, max_size=3))
    ratios = [_ratio(draw) for _ in range(draw(st.integers(0, 3)))]
    variance = draw(st.sampled_from(([], [0.1], [0.1, 0.1, 0.2, 0.2])))
    return [_map(draw), (1, 3, 64, 48)], _fields(
        "prior_box_param",
        min_size=sizes,
        max_size=draw(st.sampled_from(([], [2 * size for size in sizes]))),
        aspect_ratio=ratios,
        flip=_maybe(draw, st.booleans()),
        clip=_maybe(draw, st.booleans()),
        variance=variance,
        density=draw(st.sampled_from(([], [1 + size % 3 for size in sizes]))),
        step=_maybe(draw, st.integers(4, 16)),
    )


def _clustered(draw: Draw) -> Layer:
    widths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    return [_map(draw), (1, 3, 64, 48)], _fields(
        "prior_box_param", width=widths, height=[size + 1 for size in widths], step=16
    )


def _detection_output(draw: Draw) -> Layer:
    boxes, classes, images = _size(draw, most=12), _size(draw, most=4), _size(draw, most=3)
    shared = draw(st.booleans())
    locations = (images, 4 * boxes * (1 if shared else classes))
    confidences = (images, boxes * classes)
    priors = draw(st.sampled_from(((1, 2, 4 * boxes), (1, 2, 4 * boxes, 1))))
    first_stage = [(images, 2 * boxes), (images, 4 * boxes)][: draw(st.integers(0, 2 * shared))]
    return [locations, confidences, priors, *first_stage], _fields(
        "detection_output_param",
        num_classes=classes,
        share_location=shared,
        keep_top_k=_maybe(draw, st.integers(1, 10)),
        code_type=_maybe(draw, st.sampled_from(("CORNER", "CENTER_SIZE", "CORNER_SIZE"))),
    )


def _yolo_2(draw: Draw) -> Layer:
    boxes, classes = _size(draw, most=3), _size(draw, most=4)
    first = _map(draw, boxes * (5 + classes))
    bottoms = [first, (*first[:2], _size(draw), _size(draw))][: draw(st.integers(1, 2))]
    return bottoms, _fields(
        "yolo_detection_output_param",
        num_classes=classes, num_box=boxes, biases=[1 + box for box in range(2 * boxes)],
    )  # fmt: skip


def _yolo_3(draw: Draw) -> Layer:
    boxes, classes, heads = _size(draw, most=3), _size(draw, most=4), _size(draw, most=3)
    images = _size(draw, most=2)
    maps = [(images, boxes * (5 + classes), _size(draw), _size(draw)) for _ in range(heads)]
    return maps, _fields(
        "yolov3_detection_output_param",
        num_classes=classes,
        num_box=boxes,
        biases=[1 + box for box in range(2 * boxes * heads)],
        mask=draw(st.permutations(range(boxes * heads))),
        anchors_scale=[8] * heads,
    )


def _plain(draw: Draw) -> Layer:
    return [_any(draw)], ""


LAYERS: dict[str, Callable[[Draw], Layer]] = {
    "Axpy": _axpy,
    "BN": _bn,
    "BReLU": _brelu,
    "BoxGroupOutput": _box_group_output,
    "BoxOutput": _box_output,
    "CTCGreedyDecoder": _ctc_greedy_decoder,
    "ContinuationIndicator": _indicator,
    "ConvolutionDepthwise": lambda draw: _convolution(draw, _size(draw), names_groups=False),
    "CropCenter": _crop_center,
    "DecodeBBox": _decode_bbox,
    "DepthwiseConvolution": lambda draw: _convolution(draw, _size(draw), names_groups=True),
    "DetectionOutput": _detection_output,
    "HardSigmoid": _plain,
    "HardSwish": _plain,
    "Interp": _interp,
    "Lstm": _lstm,
    "Mish": _plain,
    "Mul": _mul,
    "Normalize": _normalize,
    "PSROIPooling": _psroi_pooling,
    "Permute": _permute,
    "PriorBox": _prior_box,
    "PriorBoxClustered": _clustered,
    "Proposal": _proposal,
    "ROIPooling": _roi_pooling,
    "ReLU6": _plain,
    "Reorg": _reorg,
    "ResizeBilinear": _resize("resize_bilinear_param"),
    "ResizeNearestNeighbor": _resize("resize_nearest_neighbor_param"),
    "Reverse": _reverse,
    "ShuffleChannel": _shuffle_channel,
    "SpatialDropout": _spatial_dropout,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "UnPooling": _unpooling,
    "Unpooling": _unpooling,
    "Upsample": _upsample,
    "YoloDetectionOutput": _yolo_2,
    "Yolov3DetectionOutput": _yolo_3,
}


@st.composite
def fork_layers(draw: Draw, kind: str, *, legal: bool = True) -> str:
    """A network of one layer of a fork; unless `legal`, often with another layer's bottoms."""
    bottoms, body = LAYERS[kind](draw)
    if not legal:
        others, _ = LAYERS[draw(st.sampled_from((kind, "Permute", "Normalize", "Squeeze")))](draw)
        bottoms = draw(st.sampled_from((others, bottoms[:-1] + others[:1])))
    has_scores = kind in ("BoxGroupOutput", "BoxOutput", "Proposal")
    tops = 1 + (has_scores and draw(st.booleans()))
    lines = [
        f'layer {{ name: "in{number}" type: "Input" top: "x{number}" input_param {{ shape {{ '
        f"{' '.join(f'dim: {size}' for size in shape)} }} }} }}"
        for number, shape in enumerate(bottoms)
    ]
    wires = [f'bottom: "x{number}"' for number in range(len(bottoms))]
    wires += [f'top: "y{number}"' for number in range(tops)]
    lines.append(f'layer {{ name: "l" type: "{kind}" {" ".join(wires)} {body} }}')
    return "\n".join(lines) + "\n"
