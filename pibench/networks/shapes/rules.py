"""Define the table of layer types, and list the types without an entry."""

from __future__ import annotations

from pibench.networks.shapes.arrangement import (
    batch_reindex,
    concat,
    crop,
    eltwise,
    flatten,
    nothing,
    reduction,
    reshape,
    slice_,
    tile,
)
from pibench.networks.shapes.contract import MANY, Rule
from pibench.networks.shapes.dense import embed, inner_product
from pibench.networks.shapes.elementwise import batch_norm, bias, dropout, lrn, prelu, same, scale
from pibench.networks.shapes.results import accuracy, arg_max, loss, softmax
from pibench.networks.shapes.sources import dummy_data, input_shapes, parameter
from pibench.networks.shapes.windows import convolution, deconvolution, im2col, pooling, spp

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
    "Accuracy": Rule(accuracy, (2, 2), (1, 2)),
}  # fmt: skip
"""Every layer type of Caffe 1.0 whose shapes depend only on the network."""

DATA_TYPES = frozenset({"Data", "ImageData", "HDF5Data", "MemoryData", "WindowData"})
"""Layers that read their batch from a data source; they do not run without it."""

UNSUPPORTED = {
    "Filter": "the size of its output depends on the data",
    "HDF5Output": "it writes files",
    "LSTM": "pibench does not unroll recurrent layers",
    "Python": "code outside the network decides its shapes",
    "RNN": "pibench does not unroll recurrent layers",
    "Recurrent": "pibench does not unroll recurrent layers",
}
"""Other types of stock Caffe, with the reason why they are not supported."""
