"""Define the table of layer types, with the shape function of each, and the types without an entry.

The functions of sliding windows are in `windows`.
"""

from __future__ import annotations

import difflib
import math
from itertools import pairwise
from typing import TYPE_CHECKING

from pibench.engines.caffe.forks import LAYERS as FORK_LAYERS
from pibench.engines.caffe.outline import LIKENESS
from pibench.engines.caffe.shapes.checks import (
    MANY,
    Layer,
    Made,
    Refused,
    Rule,
    Shape,
    axis_index,
    check_count,
    elements,
    require_same_shapes,
    times,
)
from pibench.engines.caffe.shapes.recurrent import lstm_unit, recurrent
from pibench.engines.caffe.shapes.windows import convolution, deconvolution, im2col, pooling, spp
from pibench.engines.caffe.topology import LEGACY_DIMS

if TYPE_CHECKING:
    from collections.abc import Sequence

# Sources and weighted sums


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


def inner_product(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer an InnerProduct; weights: outputs x inputs from `axis` on (or transposed)."""
    param = layer.inner_product_param
    axis = axis_index(param.axis, bottoms[0])
    inputs = elements(bottoms[0][axis:])
    if param.num_output < 1:
        raise Refused("num_output is missing or 0", "set num_output")
    weights = (inputs, param.num_output) if param.transpose else (param.num_output, inputs)
    params: list[Shape] = [weights, (param.num_output,)] if param.bias_term else [weights]
    return [(*bottoms[0][:axis], param.num_output)], params


def embed(layer: Layer, bottoms: list[Shape]) -> Made:
    param = layer.embed_param
    if param.num_output < 1 or param.input_dim < 1:
        raise Refused("num_output or input_dim is missing or 0", "set both")
    params: list[Shape] = [(param.input_dim, param.num_output)]
    if param.bias_term:
        params.append((param.num_output,))
    return [(*bottoms[0], param.num_output)], params


# Layers that keep the shape of their bottom


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


def batch_norm(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer a BatchNorm; parameters: mean and variance per channel, and the factor of both.

    None of them learns; Caffe clears the rates of files that give all three.
    """
    if len(layer.param) != 3 and any(spec.lr_mult for spec in layer.param):
        raise Refused("BatchNorm has a param with an lr_mult other than 0", "write lr_mult: 0")
    if len(bottoms[0]) < 2:
        raise Refused(f"BatchNorm needs two axes, not {times(bottoms[0])}", "reshape its bottom")
    channels = bottoms[0][1]
    return [bottoms[0]], [(channels,), (channels,), (1,)]


def prelu(layer: Layer, bottoms: list[Shape]) -> Made:
    if len(bottoms[0]) < 2:
        raise Refused(f"PReLU needs two axes, not {times(bottoms[0])}", "reshape its bottom")
    _legacy(bottoms[0])
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


# Layers that join, split, cut and reshape


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


def filter_(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer a Filter by its bound: every item passes, as Caffe sets it up."""
    check_count("top", len(layer.top), (len(bottoms) - 1, len(bottoms) - 1))
    *blobs, selector = bottoms
    if any(size != 1 for size in selector[1:]):
        raise Refused(
            f"its selector is {times(selector)}, more than one number per item", "reshape it"
        )
    for index, shape in enumerate(blobs):
        if not shape or shape[:1] != selector[:1]:
            raise Refused(
                f"bottom {index} is {times(shape)} but the selector is {times(selector)}",
                "the first dimension, of items, must be the same",
            )
    return blobs, []


def _shape_option(layer: Layer, bottoms: Sequence[Shape]) -> str:
    """Return an example of the option that gives the shape of a layer's top: the first bottom's."""
    return f"--shape {layer.name}=" + "x".join(map(str, [*bottoms, (1, 3, 224, 224)][0]))


def python(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer a Python layer by the shapes that its user gave, in a message that it does not read."""
    if not layer.input_param.shape:
        example = _shape_option(layer, bottoms)
        raise Refused(
            "a Python layer's code decides its shapes, and pibench has no such code",
            f"plan and predict take them: such as {example}, once for each of its "
            f"{len(layer.top)} top(s)",
        )
    given = [tuple(shape.dim) for shape in layer.input_param.shape]
    if len(given) != len(layer.top):
        problem = f"has {len(given)} given shape(s) and needs {len(layer.top)}"
        raise Refused(problem, "give one --shape for each top")
    return given, []


def nothing(_: Layer, __: list[Shape]) -> Made:
    return [], []


# Scores and losses

_NO_LABELS = "give it labels of the right shape"


def arg_max(layer: Layer, bottoms: list[Shape]) -> Made:
    param, data = layer.argmax_param, bottoms[0]
    if param.HasField("axis"):
        axis = axis_index(param.axis, data)
        return [(*data[:axis], param.top_k, *data[axis + 1 :])], []
    if not data:
        raise Refused("ArgMax needs at least one axis, not a scalar", "reshape its bottom")
    top = [1] * max(len(data), 3)
    top[0], top[1], top[2] = data[0], 2 if param.out_max_val else 1, param.top_k
    return [tuple(top)], []


def softmax(layer: Layer, bottoms: list[Shape]) -> Made:
    axis_index(layer.softmax_param.axis, bottoms[0])
    return [bottoms[0]], []


def loss(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer a loss, which is a scalar; a second top, where allowed, repeats the scores.

    A loss has one weight (of 1) by default, and every top needs one. `_LABELS` has the requirements
    of each type on labels; all require equal first dimensions (LossLayer::Reshape).
    """
    if max(len(layer.loss_weight), 1) != len(layer.top):
        raise Refused(
            f"{len(layer.loss_weight)} loss_weight for {len(layer.top)} top(s)",
            "give loss_weight once per top",
        )
    data, labels = bottoms[:2]
    if not data or not labels or data[0] != labels[0]:
        raise Refused(
            f"bottom 0 is {times(data)} but bottom 1 is {times(labels)}",
            "the first dimension, of images, must be the same",
        )
    if check := _LABELS.get(layer.type):
        check(layer, bottoms)
    return [(), bottoms[0]][: len(layer.top)], []


def _one_label_each(data: Shape, labels: Shape, axis: int) -> None:
    """Check that there is a label for every position, over all classes along `axis`."""
    axis = axis_index(axis, data)
    places = elements(data[:axis]) * elements(data[axis + 1 :])
    if elements(labels) != places:
        raise Refused(f"{elements(labels)} labels for {places} predictions", _NO_LABELS)


def _softmax_labels(layer: Layer, bottoms: list[Shape]) -> None:
    _one_label_each(bottoms[0], bottoms[1], layer.softmax_param.axis)


def _infogain_labels(layer: Layer, bottoms: list[Shape]) -> None:
    axis = layer.infogain_loss_param.axis
    _one_label_each(bottoms[0], bottoms[1], axis)
    if len(bottoms) < 3:
        raise Refused("its matrix comes from a file", "give the matrix as a third bottom")
    classes = bottoms[0][axis_index(axis, bottoms[0])]
    if elements(bottoms[2]) != classes**2:
        raise Refused(
            f"bottom 2 is {times(bottoms[2])} for {classes} classes",
            "give a square matrix of that size",
        )


def _same_count(_: Layer, bottoms: list[Shape]) -> None:
    if elements(bottoms[0]) != elements(bottoms[1]):
        raise Refused(
            f"bottom 0 is {times(bottoms[0])} but bottom 1 is {times(bottoms[1])}",
            "both need the same number of elements",
        )


def _legacy(shape: Shape) -> Shape:
    """Return four axes, as channels(), height() and width() have them (Blob::LegacyShape)."""
    if len(shape) > 4:
        raise Refused(f"{times(shape)} has more than four axes", "reshape its bottom")
    return (*shape, 1, 1, 1, 1)[:4]


def _single_labels(_: Layer, bottoms: list[Shape]) -> None:
    if _legacy(bottoms[1])[1:] != (1, 1, 1):
        raise Refused(f"labels measure {times(bottoms[1])}, more than one each", _NO_LABELS)


def _pairs(_: Layer, bottoms: list[Shape]) -> None:
    left, right, labels = map(_legacy, bottoms)
    if left[1] != right[1] or {*left[2:], *right[2:], *labels[1:]} != {1}:
        raise Refused(
            f"{' and '.join(map(times, bottoms))} are not two lists of vectors and their labels",
            "give vectors of one length, and one label for each pair",
        )


_LABELS = {
    "SoftmaxWithLoss": _softmax_labels,
    "InfogainLoss": _infogain_labels,
    "SigmoidCrossEntropyLoss": _same_count,
    "EuclideanLoss": _same_count,
    "MultinomialLogisticLoss": _single_labels,
    "ContrastiveLoss": _pairs,
}


def accuracy(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer an Accuracy, which is a scalar; a second top has it for each class."""
    param, (data, labels) = layer.accuracy_param, bottoms
    axis = axis_index(param.axis, data)
    _one_label_each(data, labels, axis)
    if param.top_k > elements(data) // elements(labels):
        raise Refused(f"top_k is {param.top_k}, and there are fewer classes", "lower top_k")
    tops: list[Shape] = [(), (bottoms[0][axis],)]
    return tops[: len(layer.top)], []


# The table

_ANY_TOPS = (1, MANY)

RULES: dict[str, Rule] = {
    "Input": Rule(input_shapes, (0, 0), (1, MANY)),
    "DummyData": Rule(dummy_data, (0, 0), _ANY_TOPS),
    "Parameter": Rule(parameter, (0, 0)),
    **dict.fromkeys(
        ("AbsVal", "BNLL", "Clip", "ELU", "Exp", "Log", "MVN", "Power", "ReLU",
         "Sigmoid", "Swish", "TanH", "Threshold"),
        Rule(same),
    ),
    "Dropout": Rule(dropout),
    "LRN": Rule(lrn),
    "BatchNorm": Rule(batch_norm),
    "PReLU": Rule(prelu),
    "Scale": Rule(scale, (1, 2)),
    "Bias": Rule(bias, (1, 2)),
    "Convolution": Rule(convolution, (1, MANY), _ANY_TOPS),
    "Deconvolution": Rule(deconvolution, (1, MANY), _ANY_TOPS),
    "Im2col": Rule(im2col),
    "Pooling": Rule(pooling, (1, 1), (1, 2)),
    "SPP": Rule(spp),
    "InnerProduct": Rule(inner_product),
    "Embed": Rule(embed),
    "Eltwise": Rule(eltwise, (2, MANY)),
    "Concat": Rule(concat, (1, MANY)),
    "Slice": Rule(slice_, (1, 1), _ANY_TOPS),
    "Split": Rule(same, (1, 1), _ANY_TOPS),
    "Flatten": Rule(flatten),
    "Reshape": Rule(reshape),
    "Crop": Rule(crop, (2, 2)),
    "Tile": Rule(tile),
    "Reduction": Rule(reduction),
    "BatchReindex": Rule(batch_reindex, (2, 2)),
    "Filter": Rule(filter_, (2, MANY), _ANY_TOPS),
    "Python": Rule(python, (0, MANY), (0, MANY)),
    "Silence": Rule(nothing, (1, MANY), (0, 0)),
    "ArgMax": Rule(arg_max),
    "Softmax": Rule(softmax),
    "SoftmaxWithLoss": Rule(loss, (2, 2), (1, 2)),
    "InfogainLoss": Rule(loss, (2, 3), (1, 2)),
    "SigmoidCrossEntropyLoss": Rule(loss, (2, 2), (1, 2)),
    "ContrastiveLoss": Rule(loss, (3, 3)),
    **dict.fromkeys(
        ("EuclideanLoss", "HingeLoss", "MultinomialLogisticLoss"), Rule(loss, (2, 2))
    ),
    "LSTM": Rule(recurrent, (2, 5), (1, 3)),
    "RNN": Rule(recurrent, (2, 4), (1, 2)),
    "LSTMUnit": Rule(lstm_unit, (3, 3), (2, 2)),
    "Accuracy": Rule(accuracy, (2, 2), (1, 2)),
}  # fmt: skip
"""Every layer type of Caffe 1.0 whose shapes, or their bounds, depend only on the network."""

DATA_TYPES = frozenset({"Data", "ImageData", "HDF5Data", "MemoryData", "WindowData"})
"""Layers that read their batch from a data source; they do not run without it."""

SHAPES_IN_FILES = frozenset({"HDF5Data", "VideoData"})
"""Data layers whose tops have any number of axes or channels, which their files decide."""

SHAPES_IN_FILES_HINT = (
    "put an Input layer with the shapes of its tops there; plan and predict take them by --shape"
)

UNSUPPORTED = {
    "HDF5Output": "it writes files",
}
"""Other types of stock Caffe, with the reason why they are not supported."""

DEPTHWISE_PATCH = "DepthwiseConv"
"""A patch's layer type that is a Convolution with a group for each channel."""

_TEXT_FORK = "a text recognition fork"
_FORKS = {
    "CTCLoss": _TEXT_FORK,
    "DenseBlock": "a DenseNet fork",
    "DepthwiseConv": "a depthwise patch (stock Caffe: Convolution with group)",
    "MultiBoxLoss": "the SSD fork",
    "Region": "a YOLO fork",
    "SmoothL1Loss": "the Fast R-CNN fork",
}
"""Layer types of forks and patches, and their origins."""


def rule_of(layer: Layer, bottoms: Sequence[Shape] = ()) -> Rule:
    """Return the table entry of the layer's type, or raise Refused with the reason.

    `bottoms` are for the example in that reason.
    """
    kind = layer.type
    if kind in RULES:
        return RULES[kind]
    if kind in FORK_LAYERS:
        from pibench.engines.caffe.shapes import forks  # noqa: PLC0415  (start-up time)

        return forks.RULES[kind]
    if is_data(layer):
        fork = "" if kind in DATA_TYPES else " of a fork"
        article = "an" if kind.startswith(("A", "E", "HDF", "I", "O")) else "a"
        raise Refused(f"{article} {kind} layer{fork} reads a database or files", data_hint(layer))
    if kind in UNSUPPORTED:
        raise Refused(f"layer type {kind} is not supported: {UNSUPPORTED[kind]}", "take it out")
    if not kind:
        raise Refused("has no type", 'add one, such as type: "Convolution"')
    by_shape = f"plan and predict take it by its shape: {_shape_option(layer, bottoms)}"
    raise Refused(f"stock Caffe has no layer type '{kind}'", f"{_origin(kind)}; {by_shape}")


def has_rule(layer: Layer) -> bool:
    """Return whether the shapes of a layer's tops are known from the network."""
    try:
        rule_of(layer)
    except Refused:
        return False
    return layer.type != "Python"


def data_hint(layer: Layer) -> str:
    """Return what to do about a data layer: repair puts an Input where it can know the shapes."""
    if layer.type in SHAPES_IN_FILES:
        return SHAPES_IN_FILES_HINT
    return "use --repair to put an Input layer in its place"


def is_data(layer: Layer) -> bool:
    """Return whether a layer reads its batch from a data source, in stock Caffe or in a fork.

    Forks give such layers names that end in Data, as stock Caffe does.
    """
    kind = layer.type
    own = kind in RULES or kind in FORK_LAYERS
    return kind in DATA_TYPES or (kind.endswith("Data") and not own and not layer.bottom)


def _origin(kind: str) -> str:
    """Return the origin of an unknown layer type, or the most similar stock type."""
    if kind in _FORKS:
        return f"it is of {_FORKS[kind]}; replace it by stock layers, or take it out"
    by_lower = {name.lower(): name for name in RULES}
    close = difflib.get_close_matches(kind.lower(), list(by_lower), n=1, cutoff=LIKENESS)
    return (
        f"did you mean {by_lower[close[0]]!r}?"
        if close
        else "correct the type, or replace the layer by stock ones"
    )
