"""Model how each layer type of Caffe uses memory: the table of types, and a file per family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.plan.layers.activations import Dropout, ForwardOnly, Swish
from pibench.plan.layers.arrangement import (
    Concat,
    Crop,
    DummyData,
    Eltwise,
    Flatten,
    Parameter,
    Pooling,
    Reduction,
    Silence,
    Slice,
    Source,
    Split,
    Spp,
    View,
)
from pibench.plan.layers.base import Layer
from pibench.plan.layers.convolution import Convolution, Deconvolution, Im2col
from pibench.plan.layers.dense import Embed, InnerProduct
from pibench.plan.layers.losses import (
    Accuracy,
    ContrastiveLoss,
    EuclideanLoss,
    HingeLoss,
    InfogainLoss,
    Loss,
    SigmoidCrossEntropyLoss,
    SoftmaxWithLoss,
)
from pibench.plan.layers.normalisation import BatchNorm, Mvn, Softmax, lrn_class
from pibench.plan.layers.scaling import Bias, PRelu, Scale

if TYPE_CHECKING:
    from pibench.plan.graph import Node
    from pibench.plan.process import Process

__all__ = ["LAYERS", "Layer", "make", "refusal"]

_PLAIN = (
    "AbsVal", "BNLL", "BatchReindex", "Clip", "ELU", "Exp", "Log", "Power", "ReLU", "Sigmoid",
    "TanH", "Tile",
)  # fmt: skip

LAYERS: dict[str, type[Layer]] = {
    **dict.fromkeys(_PLAIN, Layer),
    "Accuracy": Accuracy,
    "ArgMax": ForwardOnly,
    "BatchNorm": BatchNorm,
    "Bias": Bias,
    "Concat": Concat,
    "ContrastiveLoss": ContrastiveLoss,
    "Convolution": Convolution,
    "Crop": Crop,
    "Deconvolution": Deconvolution,
    "Dropout": Dropout,
    "DummyData": DummyData,
    "Eltwise": Eltwise,
    "Embed": Embed,
    "EuclideanLoss": EuclideanLoss,
    "Flatten": Flatten,
    "HingeLoss": HingeLoss,
    "Im2col": Im2col,
    "InfogainLoss": InfogainLoss,
    "InnerProduct": InnerProduct,
    "Input": Source,
    "MVN": Mvn,
    "MultinomialLogisticLoss": Loss,
    "PReLU": PRelu,
    "Parameter": Parameter,
    "Pooling": Pooling,
    "Reduction": Reduction,
    "Reshape": View,
    "SPP": Spp,
    "Scale": Scale,
    "SigmoidCrossEntropyLoss": SigmoidCrossEntropyLoss,
    "Silence": Silence,
    "Slice": Slice,
    "Softmax": Softmax,
    "SoftmaxWithLoss": SoftmaxWithLoss,
    "Split": Split,
    "Swish": Swish,
    "Threshold": ForwardOnly,
}
"""One entry for every type that `pibench.engines.caffe.shapes` knows, except LRN, which has two."""


def _class_of(node: Node) -> type[Layer]:
    return lrn_class(node.proto) if node.type == "LRN" else LAYERS[node.type]


def refusal(node: Node, *, backward: bool) -> str | None:
    """Explain why Caffe aborts on the node (with `backward`, also on its way back); else None."""
    proto = node.proto
    if (
        node.type == "Pooling" and proto.pooling_param.pool == caffe.PoolingParameter.STOCHASTIC
    ) or (node.type == "SPP" and proto.spp_param.pool == caffe.SPPParameter.STOCHASTIC):
        return "stochastic pooling only runs on GPUs"
    if backward and not _class_of(node).runs_backward:
        return f"caffe time also runs layers backward, where {node.type} aborts"
    return None


def make(node: Node, process: Process, *, training: bool) -> Layer:
    """Set the node's layer up in `process`."""
    return _class_of(node)(node, process, training=training)
