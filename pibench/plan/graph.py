"""Build what Caffe's Net sets up from layers and shapes: blobs, splits, gradient flags.

Follows src/caffe/net.cpp (Net::Init, AppendTop, AppendBottom, AppendParam) and
src/caffe/util/insert_splits.cpp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import topology
from pibench.plan.process import FLOAT_BYTES, Blob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.engines.caffe.shapes import Shapes

CONVOLUTIONS = frozenset({"Convolution", "ConvolutionDepthwise", "DepthwiseConvolution"})
"""Convolutions, those of each channel by itself in the forks too."""
_SPLIT = caffe.LayerParameter(type="Split")
_LOSSES = frozenset(
    {"SoftmaxWithLoss", "InfogainLoss", "SigmoidCrossEntropyLoss", "ContrastiveLoss",
     "EuclideanLoss", "HingeLoss", "MultinomialLogisticLoss"}
)  # fmt: skip
"""Layers whose first top has a loss weight of 1 by default (LossLayer::LayerSetUp)."""


_kept: WeakKeyDictionary[Shapes, list[Node]] = WeakKeyDictionary()


class Node:
    """One layer of the Net: its blobs, and which of them the backward pass fills.

    `losses` has the loss weight of each top, `propagate` a flag per bottom (bottom_need_backward),
    `learns` one per parameter (param_propagate_down).
    """

    __slots__ = (
        "bottoms", "learns", "losses", "name", "needs_backward", "params", "propagate", "proto",
        "tops", "type",
    )  # fmt: skip

    def __init__(
        self,
        proto: caffe.LayerParameter,
        name: str,
        bottoms: list[Blob],
        tops: list[Blob],
        params: list[Blob],
    ) -> None:
        self.proto = proto
        self.name = name
        self.type: str = proto.type
        self.bottoms = bottoms
        self.tops = tops
        self.params = params
        self.losses = _losses(proto, len(tops))
        self.learns = [True] * len(params)
        if params:
            for index, spec in enumerate(proto.param[: len(params)]):
                self.learns[index] = spec.lr_mult > 0
        self.propagate = [False] * len(bottoms)
        self.needs_backward = False


def build(shapes: Shapes, *, force_backward: bool) -> list[Node]:
    """Return the nodes of the Net in order, splits included, with their gradient flags set."""
    # What each source has for its readers: a split's blobs, or the only one.
    waiting: dict[topology.Source, list[Blob]] = {}
    nodes: list[Node] = []
    for position, layer in enumerate(shapes.layers):
        name, sources = layer.name, shapes.sources[position]
        bottoms = [
            blobs.pop(0) if len(blobs := waiting[source]) > 1 else blobs[0] for source in sources
        ]
        read = layer.bottom[:]
        tops: list[Blob] = []
        for index, (top, shape) in enumerate(zip(layer.top[:], shapes.tops[position], strict=True)):
            in_place = index < len(read) and top == read[index]
            tops.append(bottoms[index] if in_place else Blob(top, shape, name, "activation"))
        params = [Blob("", shape, name, "parameter") for shape in shapes.weights[position]]
        node = Node(layer, name, bottoms, tops, params)
        nodes.append(node)
        for index, blob in enumerate(tops):
            readers = shapes.readers.get((position, index), 0)
            waiting[position, index] = [blob]
            if readers > 1:
                split = _split(node, index, blob, readers)
                nodes.append(split)
                waiting[position, index] = split.tops[1:] if split.losses[0] else split.tops[:]
    _flag(nodes, force_backward=force_backward)
    return nodes


def take(shapes: Shapes, *, force_backward: bool) -> list[Node]:
    """Return the nodes as of `build`: those of a plan that is done with them, or new ones."""
    nodes = _kept.pop(shapes, None)
    if nodes is None:
        return build(shapes, force_backward=force_backward)
    for node in nodes:
        for blob in (*node.tops, *node.params):
            blob.renew()
    return nodes


def give_back(shapes: Shapes, nodes: list[Node]) -> None:
    """Keep the nodes that `take` returned for the next plan of the network."""
    _kept[shapes] = nodes


def data_bytes(nodes: Sequence[Node]) -> int:
    """Return what Caffe's log calls "Memory required for data": the data of all tops.

    Net::Init adds up the tops of every layer, those of splits too, and counts a blob again for each
    layer that works on it in place.
    """
    return FLOAT_BYTES * sum(blob.count for node in nodes for blob in node.tops)


def _split(node: Node, index: int, top: Blob, readers: int) -> Node:
    """Return the Split after a blob with several readers; the loss moves to its first top."""
    name = f"{top.name}_{node.name}_{index}_split"
    tops = [Blob(f"{name}_{number}", top.shape, name, "activation") for number in range(readers)]
    split = Node(_SPLIT, name, [top], tops, [])
    split.losses[0], node.losses[index] = node.losses[index], 0.0
    return split


def _losses(proto: caffe.LayerParameter, tops: int) -> list[float]:
    weights = proto.loss_weight[:] or [1.0] * (proto.type in _LOSSES)
    return weights + [0.0] * (tops - len(weights))


def _flag(nodes: Sequence[Node], *, force_backward: bool) -> None:
    """Set `propagate`, `learns` and `needs_backward` as Net::Init does."""
    # Without a loss no layer contributes to one: the flags stay as they are.
    if any(any(node.losses) for node in nodes):
        _raise_what_learns(nodes)
        _drop_what_no_loss_needs(nodes)
    if force_backward:
        for node in nodes:
            node.needs_backward = True
            node.learns = [True] * len(node.learns)
            node.propagate = [
                flag or _may_be_forced(node.type, index)
                for index, flag in enumerate(node.propagate)
            ]


def _raise_what_learns(nodes: Sequence[Node]) -> None:
    """Set the flags of layers that learn, or that pass a gradient on to one that does."""
    flowing: set[Blob] = set()
    for node in nodes:
        asked = node.proto.propagate_down
        node.propagate = reached = [blob in flowing for blob in node.bottoms]
        node.needs_backward = True in node.learns or True in reached
        if asked:
            # Also without a gradient to pass on: recurrent layers ask for their inputs' so.
            node.propagate = list(asked)
        if node.needs_backward:
            flowing.update(node.tops)


def _drop_what_no_loss_needs(nodes: Sequence[Node]) -> None:
    """Clear the flags of layers that contribute to no loss, walking back from the losses."""
    under_loss: set[Blob] = set()
    skipped: set[Blob] = set()
    for node in reversed(nodes):
        contributes = any(node.losses) or not under_loss.isdisjoint(node.tops)
        if contributes:
            under_loss.update(node.bottoms)
        if not contributes or skipped.issuperset(node.tops):
            node.needs_backward = False
            node.propagate = [False] * len(node.bottoms)
        skipped.update(
            blob for blob, flag in zip(node.bottoms, node.propagate, strict=True) if not flag
        )


def _may_be_forced(kind: str, bottom: int) -> bool:
    """Return AllowForceBackward of a bottom: labels and indicators of sequences get no gradient."""
    if kind in ("LSTM", "RNN"):
        return bottom != 1
    if kind == "LSTMUnit":
        return bottom != 2
    if kind == "ContrastiveLoss":
        return bottom != 2
    if kind in _LOSSES - {"EuclideanLoss"}:
        return bottom != 1
    return True
