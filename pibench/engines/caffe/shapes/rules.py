"""Define the table of layer types, the simplest rules, and the types without an entry."""

from __future__ import annotations

from pibench.engines.caffe.shapes.arrangement import (
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
from pibench.engines.caffe.shapes.contract import (
    MANY,
    Layer,
    Made,
    Refused,
    Rule,
    Shape,
    axis_index,
    elements,
)
from pibench.engines.caffe.shapes.elementwise import (
    batch_norm,
    bias,
    dropout,
    lrn,
    prelu,
    same,
    scale,
)
from pibench.engines.caffe.shapes.results import accuracy, arg_max, loss, softmax
from pibench.engines.caffe.shapes.windows import convolution, deconvolution, im2col, pooling, spp

LEGACY_DIMS = ("num", "channels", "height", "width")
"""Fields of a DummyData without `shape`: each has one value for all tops, or one per top."""


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
