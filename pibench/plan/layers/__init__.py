"""Model how each layer type of Caffe uses memory: the table of types, and a file per family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.plan.layers import arrangement, forks, losses, normalisation, products, recurrent
from pibench.plan.layers.base import Dropout, ForwardOnly, Layer, Swish

if TYPE_CHECKING:
    from pibench.plan.graph import Node
    from pibench.plan.process import Process

__all__ = ["LAYERS", "Layer", "make", "refusal"]

_PLAIN = (
    "AbsVal", "BNLL", "BatchReindex", "Clip", "ELU", "Exp", "Log", "Power", "ReLU", "Sigmoid",
    "TanH", "Tile",
)  # fmt: skip

LAYERS: dict[str, type[Layer]] = {
    **forks.LAYERS,
    **dict.fromkeys(_PLAIN, Layer),
    "Accuracy": losses.Accuracy,
    "ArgMax": ForwardOnly,
    "BatchNorm": normalisation.BatchNorm,
    "Bias": normalisation.Bias,
    "Concat": arrangement.Concat,
    "ContrastiveLoss": losses.ContrastiveLoss,
    "Convolution": products.Convolution,
    "Crop": arrangement.Crop,
    "Deconvolution": products.Deconvolution,
    "Dropout": Dropout,
    "DummyData": arrangement.DummyData,
    "Eltwise": arrangement.Eltwise,
    "Embed": products.Embed,
    "EuclideanLoss": losses.EuclideanLoss,
    "Filter": arrangement.Filter,
    "Flatten": arrangement.Flatten,
    "HingeLoss": losses.HingeLoss,
    "Im2col": products.Im2col,
    "InfogainLoss": losses.InfogainLoss,
    "InnerProduct": products.InnerProduct,
    "Input": arrangement.Source,
    "LSTM": recurrent.Recurrent,
    "LSTMUnit": recurrent.LstmUnit,
    "MVN": normalisation.Mvn,
    "MultinomialLogisticLoss": losses.Loss,
    "PReLU": normalisation.PRelu,
    "Parameter": arrangement.Parameter,
    "Pooling": arrangement.Pooling,
    "Python": arrangement.Python,
    "RNN": recurrent.Recurrent,
    "Reduction": arrangement.Reduction,
    "Reshape": arrangement.View,
    "SPP": arrangement.Spp,
    "Scale": normalisation.Scale,
    "SigmoidCrossEntropyLoss": losses.SigmoidCrossEntropyLoss,
    "Silence": arrangement.Silence,
    "Slice": arrangement.Slice,
    "Softmax": normalisation.Softmax,
    "SoftmaxWithLoss": losses.SoftmaxWithLoss,
    "Split": arrangement.Split,
    "Swish": Swish,
    "Threshold": ForwardOnly,
}
"""One entry for every type that `pibench.engines.caffe.shapes` knows, except LRN, which has two."""


def _class_of(node: Node) -> type[Layer]:
    return normalisation.lrn_class(node.proto) if node.type == "LRN" else LAYERS[node.type]


def refusal(node: Node, *, backward: bool) -> str | None:
    """Explain why Caffe aborts on the node (with `backward`, also on its way back); else None."""
    proto = node.proto
    if (
        node.type == "Pooling" and proto.pooling_param.pool == caffe.PoolingParameter.STOCHASTIC
    ) or (node.type == "SPP" and proto.spp_param.pool == caffe.SPPParameter.STOCHASTIC):
        return "stochastic pooling only runs on GPUs"
    if backward and not _class_of(node).runs_backward:
        return f"caffe time also runs layers backward, where {node.type} aborts"
    constant = _class_of(node).no_gradient_to
    if backward and constant is not None and node.propagate[constant]:
        return (
            f"caffe time also runs layers backward, where {node.type} aborts: "
            f"its bottom '{proto.bottom[constant]}' takes no gradient"
        )
    return None


def make(node: Node, process: Process, *, training: bool) -> Layer:
    """Set the node's layer up in `process`."""
    return _class_of(node)(node, process, make, training=training)
