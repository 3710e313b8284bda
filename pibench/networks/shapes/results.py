"""Layers at the end of a network: scores, losses, counts."""

from __future__ import annotations

from pibench.networks.shapes.contract import Layer, Made, Refused, Shape, axis_index


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
    """The loss is a scalar; a second top, where allowed, repeats the scores.

    A loss has one weight (of 1) by default, and every top needs one.
    """
    if max(len(layer.loss_weight), 1) != len(layer.top):
        raise Refused(
            f"{len(layer.loss_weight)} loss_weight for {len(layer.top)} top(s)",
            "give loss_weight once per top",
        )
    return [(), bottoms[0]][: len(layer.top)], []


def accuracy(layer: Layer, bottoms: list[Shape]) -> Made:
    """The accuracy is a scalar; a second top has it for each class."""
    axis = axis_index(layer.accuracy_param.axis, bottoms[0])
    tops: list[Shape] = [(), (bottoms[0][axis],)]
    return tops[: len(layer.top)], []
