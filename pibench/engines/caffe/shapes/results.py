"""Infer shapes of layers at the end of a network: scores, losses, counts."""

from __future__ import annotations

from pibench.engines.caffe.shapes.contract import (
    Layer,
    Made,
    Refused,
    Shape,
    axis_index,
    elements,
    times,
)

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
