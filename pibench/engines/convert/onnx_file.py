"""Write a graph as an ONNX model: opset 13, which ONNX Runtime and OpenCV's DNN module read."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import forks
from pibench.engines.convert import graph as of
from pibench.engines.convert.graph import Graph, Inexact, Node
from pibench.errors import InvalidInputError, extra
from pibench.file_io import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pibench.engines.caffe.shapes import Shape

OPSET: Final = 13
IR_VERSION: Final = 8
MOST_BYTES: Final = 2**31 - 1
_BEFORE_FIRST: Final = 1 - (1 << 31)
"""The end of a slice that goes backwards."""
_FLOAT, _INTEGER = 1, 7
"""TensorProto.DataType: float and int64."""


class OnnxFile:
    """The nodes and weights so far."""

    def __init__(self) -> None:
        with extra("engines"):
            import onnx  # noqa: PLC0415  (an extra)
            from onnx import numpy_helper  # noqa: PLC0415
        self._onnx = onnx
        self._tensor = numpy_helper.from_array
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._names: dict[int, tuple[str, object]] = {}
        self._count = 0

    def weight(self, values: NDArray[Any]) -> str:
        """Add a constant, once for one array, and return its name."""
        if id(values) not in self._names:
            name = f"{'w' if values.dtype.kind == 'f' else 'i'}{len(self.weights)}"
            self.weights.append(self._tensor(values, name))
            # The array is kept: another one could get its id.
            self._names[id(values)] = name, values
        return self._names[id(values)][0]

    def integers(self, *values: int) -> str:
        """Add a list of integers, and return its name."""
        return self.weight(np.array(values, np.int64))

    def number(self, value: float) -> str:
        """Add a scalar of single precision, and return its name."""
        return self.weight(np.array(value, np.float32))

    def put(self, kind: str, *inputs: str, top: str = "", **attributes: Any) -> str:
        """Add a node with one output: the value `top`, or one with a name of its own."""
        return self.put_all(kind, inputs, [top or self.name()], **attributes)[0]

    def put_all(
        self, kind: str, inputs: Sequence[str], tops: Sequence[str], **attributes: Any
    ) -> Sequence[str]:
        """Add a node and return its outputs."""
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), list(tops), **attributes))
        return tops

    def name(self) -> str:
        """Return a name that no blob has."""
        self._count += 1
        return f"value@@{self._count}"

    def reshape(self, value: str, shape: Shape, top: str = "") -> str:
        """Add a Reshape to a fixed shape."""
        return self.put("Reshape", value, self.integers(*shape), top=top)

    def write(self, graph: Graph, stem: Path, *, all_values: bool = False) -> Path:
        """Write the model and return its path."""
        make = self._onnx.helper
        kind = self._onnx.TensorProto.FLOAT
        outputs = dict(graph.outputs.values())
        if all_values:
            outputs |= {
                name: shape for name, shape in graph.shapes.items() if name not in graph.inputs
            }
        ends = (
            [make.make_tensor_value_info(value, kind, shape) for value, shape in values]
            for values in (graph.inputs.items(), outputs.items())
        )
        model = make.make_model(
            make.make_graph(self.nodes, stem.name, *ends, self.weights),
            opset_imports=[make.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="pibench",
        )
        path = stem.with_name(f"{stem.name}.onnx")
        if model.ByteSize() > MOST_BYTES:
            raise InvalidInputError.at(
                path, None, "would have more than 2 GiB, the most of a protobuf message",
                hint="take another engine",
            )  # fmt: skip
        return write_whole(path, model.SerializeToString())


def write(graph: Graph, stem: Path, *, all_values: bool = False) -> tuple[Path, ...]:
    """Write `stem`.onnx, with all values as outputs if asked for, and return its path.

    Raises:
        Inexact: ONNX cannot express a layer exactly; its `node` is the layer's.
        MissingExtraError: The package onnx is not installed.
    """
    file = OnnxFile()
    of.write_nodes(graph, file, _WRITERS)
    return (file.write(graph, stem, all_values=all_values),)


# Layers with windows and weights


def _convolution(file: OnnxFile, node: Node) -> None:
    window, groups = of.convolution(node)
    for bottom, top in zip(node.bottoms, node.tops, strict=True):
        file.put(
            "ConvTranspose" if node.type == "Deconvolution" else "Conv",
            bottom, *map(file.weight, node.weights), top=top, kernel_shape=window.kernel,
            strides=window.stride, pads=[*window.pad, *window.pad], dilations=window.dilation,
            group=groups,
        )  # fmt: skip


def _pooling(file: OnnxFile, node: Node) -> None:
    window = of.pooling(node)
    value, top = node.bottoms[0], node.tops[0]
    common: dict[str, Any] = {"kernel_shape": window.kernel, "strides": window.stride}
    if node.layer.pooling_param.pool == caffe.PoolingParameter.MAX:
        file.put_all("MaxPool", [value], [top], pads=[*window.before, *window.after], **common)
        return
    if not (zeros := window.zeros):
        common["count_include_pad"] = int(window.counts_pads)
        file.put_all("AveragePool", [value], [top], pads=[*window.before, *window.after], **common)
        return
    # A Pad with an AveragePool behind it would be plain, but ONNX Runtime 1.19 makes one node of
    # them (Pad_Fusion), with other values. So all places count, and the divisor is corrected.
    pads = [*zeros, *(zero + more for zero, more in zip(zeros, window.after, strict=True))]
    mean = file.put("AveragePool", value, pads=pads, count_include_pad=1, **common)
    factors = np.ones((1, 1, 1, 1))
    for axis, (kernel, stride, pad) in enumerate(
        zip(window.kernel, window.stride, zeros, strict=True), start=2
    ):
        starts = np.arange(node.outs[0][axis]) * stride - pad
        places = np.minimum(starts + kernel, node.ins[0][axis] + pad) - starts
        factors = factors * (kernel / places).reshape((1, -1, 1) if axis == 2 else (-1,))
    file.put("Mul", mean, file.weight(factors.astype(np.float32)), top=top)


def _inner_product(file: OnnxFile, node: Node) -> None:
    param = node.layer.inner_product_param
    axis = node.axis(param.axis)
    value = node.bottoms[0]
    if (axis, len(node.ins[0])) != (1, 2):
        value = file.put("Flatten", value, axis=axis)
    plain = len(node.outs[0]) == 2 and axis == 1
    value = file.put(
        "Gemm", value, *map(file.weight, node.weights), top=node.tops[0] if plain else "",
        transB=int(not param.transpose),
    )  # fmt: skip
    if not plain:
        file.reshape(value, node.outs[0], node.tops[0])


def _embed(file: OnnxFile, node: Node) -> None:
    indices = file.put("Cast", node.bottoms[0], to=_INTEGER)
    weights = [*map(file.weight, node.weights)]
    has_bias = len(weights) > 1
    value = file.put("Gather", weights[0], indices, top="" if has_bias else node.tops[0])
    if has_bias:
        file.put("Add", value, weights[1], top=node.tops[0])


# Normalizations


def _lrn(file: OnnxFile, node: Node) -> None:
    param = node.layer.lrn_param
    if param.norm_region == caffe.LRNParameter.ACROSS_CHANNELS:
        file.put(
            "LRN", node.bottoms[0], top=node.tops[0], size=param.local_size, alpha=param.alpha,
            beta=param.beta, bias=param.k,
        )  # fmt: skip
        return
    # LRNLayer::WithinChannelForward: k is not used.
    pad = [(param.local_size - 1) // 2] * 4
    square = file.put("Mul", node.bottoms[0], node.bottoms[0])
    mean = file.put(
        "AveragePool", square, kernel_shape=[param.local_size] * 2, pads=pad, count_include_pad=1
    )
    shifted = file.put("Add", file.put("Mul", mean, file.number(param.alpha)), file.number(1))
    power = file.put("Pow", shifted, file.number(-param.beta))
    file.put("Mul", node.bottoms[0], power, top=node.tops[0])


def _batch_norm(file: OnnxFile, node: Node) -> None:
    *blobs, epsilon = of.statistics(node)
    file.put(
        "BatchNormalization", node.bottoms[0], *map(file.weight, blobs), top=node.tops[0],
        epsilon=epsilon,
    )  # fmt: skip


def _segnet_or_batch_norm(file: OnnxFile, node: Node) -> None:
    asked = forks.parameters(node.layer)
    if len(node.weights) == 4 or asked.bn_mode == 0:
        _batch_norm(file, node)
        return
    shape = (-1, *(1,) * (len(node.ins[0]) - 2))
    scale, shift = (file.weight(blob.reshape(shape)) for blob in node.weights)
    file.put("Add", file.put("Mul", node.bottoms[0], scale), shift, top=node.tops[0])


def _mvn(file: OnnxFile, node: Node) -> None:
    param = node.layer.mvn_param
    axes = list(range(1 if param.across_channels else 2, len(node.ins[0])))
    if not axes:
        raise Inexact("without places to average over")
    mean = file.put("ReduceMean", node.bottoms[0], axes=axes)
    if not param.normalize_variance:
        file.put("Sub", node.bottoms[0], mean, top=node.tops[0])
        return
    centred = file.put("Sub", node.bottoms[0], mean)
    variance = file.put("ReduceMean", file.put("Mul", centred, centred), axes=axes)
    deviation = file.put("Add", file.put("Sqrt", variance), file.number(param.eps))
    file.put("Div", centred, deviation, top=node.tops[0])


def _normalize(file: OnnxFile, node: Node) -> None:
    asked = forks.parameters(node.layer)
    axes = list(range(1, len(node.ins[0]))) if asked.across_spatial else [1]
    squares = file.put("Mul", node.bottoms[0], node.bottoms[0])
    total = file.put("ReduceSum", squares, file.integers(*axes))
    norm = file.put("Sqrt", file.put("Add", total, file.number(asked.eps)))
    shape = () if asked.channel_shared else (-1, *(1,) * (len(node.ins[0]) - 2))
    scale = file.weight(node.weights[0].reshape(shape))
    file.put("Mul", file.put("Div", node.bottoms[0], norm), scale, top=node.tops[0])


def _scale_or_bias(file: OnnxFile, node: Node) -> None:
    axis, shape = of.operand(node)
    around = (*shape, *(1,) * (len(node.ins[0]) - axis - len(shape)))
    if len(node.bottoms) > 1:
        second = node.bottoms[1]
        terms = [second if around == node.ins[1] else file.reshape(second, around)]
    else:
        terms = []
    terms += [file.weight(blob.reshape(around)) for blob in node.weights]
    kinds = ["Add"] if node.type == "Bias" else ["Mul", "Add"]
    value = node.bottoms[0]
    for index, (kind, term) in enumerate(zip(kinds, terms, strict=False), start=1):
        value = file.put(kind, value, term, top=node.tops[0] if index == len(terms) else "")


def _axpy(file: OnnxFile, node: Node) -> None:
    scales, first, second = node.bottoms
    shape = (*node.ins[1][:2], *(1,) * (len(node.ins[1]) - 2))
    scaled = file.put("Mul", first, file.reshape(scales, shape))
    file.put("Add", scaled, second, top=node.tops[0])


# Functions of each element


def _op(kind: str, **attributes: Callable[[Node], Any]) -> Writer:
    """Return the writer of a layer that is one node, with attributes that depend on it."""

    def write_op(file: OnnxFile, node: Node) -> None:
        inputs = [*node.bottoms, *map(file.weight, node.weights)]
        found = {name: value(node) for name, value in attributes.items()}
        file.put_all(kind, inputs, node.tops, **found)

    return write_op


def _relu(file: OnnxFile, node: Node) -> None:
    slope = node.layer.relu_param.negative_slope
    if slope:
        file.put("LeakyRelu", node.bottoms[0], top=node.tops[0], alpha=slope)
    else:
        file.put("Relu", node.bottoms[0], top=node.tops[0])


def _prelu(file: OnnxFile, node: Node) -> None:
    slope = node.weights[0]
    if slope.size > 1:
        slope = slope.reshape(-1, *(1,) * (len(node.ins[0]) - 2))
    file.put("PRelu", node.bottoms[0], file.weight(slope), top=node.tops[0])


def _swish(file: OnnxFile, node: Node) -> None:
    value, beta = node.bottoms[0], node.layer.swish_param.beta
    inner = value if beta == 1 else file.put("Mul", value, file.number(beta))
    file.put("Mul", value, file.put("Sigmoid", inner), top=node.tops[0])


def _steps(file: OnnxFile, node: Node, steps: Sequence[tuple[str, float | None]]) -> None:
    """Write functions of each element one after another: a kind, and its second operand."""
    steps = [step for step in steps if step not in _WITHOUT_EFFECT] or [("Identity", None)]
    value = node.bottoms[0]
    for index, (kind, operand) in enumerate(steps, start=1):
        terms = [value] if operand is None else [value, file.number(operand)]
        value = file.put(kind, *terms, top=node.tops[0] if index == len(steps) else "")


_WITHOUT_EFFECT: Final = (("Mul", 1), ("Add", 0), ("Pow", 1))


def _power(file: OnnxFile, node: Node) -> None:
    param = node.layer.power_param
    _steps(file, node, [("Mul", param.scale), ("Add", param.shift), ("Pow", param.power)])


def _exp(file: OnnxFile, node: Node) -> None:
    param = node.layer.exp_param
    base = float(np.log(param.base)) if param.base != -1 else 1.0
    outer = float(np.exp(base * param.shift))
    _steps(file, node, [("Mul", base * param.scale), ("Exp", None), ("Mul", outer)])


def _log(file: OnnxFile, node: Node) -> None:
    param = node.layer.log_param
    outer = 1 / float(np.log(param.base)) if param.base != -1 else 1.0
    _steps(file, node, [("Mul", param.scale), ("Add", param.shift), ("Log", None), ("Mul", outer)])


def _threshold(file: OnnxFile, node: Node) -> None:
    above = file.put("Greater", node.bottoms[0], file.number(node.layer.threshold_param.threshold))
    file.put("Cast", above, top=node.tops[0], to=_FLOAT)


def _clip(file: OnnxFile, node: Node) -> None:
    file.put("Clip", node.bottoms[0], *map(file.number, of.bounds(node)), top=node.tops[0])


def _hard(file: OnnxFile, node: Node) -> None:
    top = node.tops[0]
    swish = node.type == "HardSwish"
    gate = file.put("HardSigmoid", node.bottoms[0], top="" if swish else top, alpha=1 / 6, beta=0.5)
    if swish:
        file.put("Mul", node.bottoms[0], gate, top=top)


def _mish(file: OnnxFile, node: Node) -> None:
    gate = file.put("Tanh", file.put("Softplus", node.bottoms[0]))
    file.put("Mul", node.bottoms[0], gate, top=node.tops[0])


# Layers that join, cut and arrange


def _eltwise(file: OnnxFile, node: Node) -> None:
    terms = list(node.bottoms)
    for index, factor in enumerate(of.coefficients(node)):
        if factor != 1:
            terms[index] = file.put("Mul", terms[index], file.number(factor))
    operation = node.layer.eltwise_param.operation
    if operation == caffe.EltwiseParameter.PROD:
        for term in terms[1:-1]:
            terms[0] = file.put("Mul", terms[0], term)
        file.put("Mul", terms[0], terms[-1], top=node.tops[0])
    elif operation == caffe.EltwiseParameter.MAX:
        file.put("Max", *terms, top=node.tops[0])
    else:
        file.put("Add" if len(terms) == 2 else "Sum", *terms, top=node.tops[0])


def _slice(file: OnnxFile, node: Node) -> None:
    axis = of.joined_axis(node)
    sizes = file.integers(*(shape[axis] for shape in node.outs))
    file.put_all("Split", [node.bottoms[0], sizes], node.tops, axis=axis)


def _split(file: OnnxFile, node: Node) -> None:
    for top in node.tops:
        file.put("Identity", node.bottoms[0], top=top)


def _reshape(file: OnnxFile, node: Node) -> None:
    file.reshape(node.bottoms[0], node.outs[0], node.tops[0])


def _cut(file: OnnxFile, node: Node, top: str) -> str:
    """Write what the layer cuts off, if anything; return the value."""
    if not (rows := of.cut(node)):
        return file.put("Identity", node.bottoms[0], top=top) if top else node.bottoms[0]
    axes, starts, ends = zip(*rows, strict=True)
    indices = (file.integers(*numbers) for numbers in (starts, ends, axes))
    return file.put("Slice", node.bottoms[0], *indices, top=top)


def _reverse(file: OnnxFile, node: Node) -> None:
    _reversed(file, node.bottoms[0], forks.parameters(node.layer).axis, node.tops[0])


def _reversed(file: OnnxFile, value: str, axis: int, top: str = "") -> str:
    numbers = (file.integers(number) for number in (-1, _BEFORE_FIRST, axis, -1))
    return file.put("Slice", value, *numbers, top=top)


def _interp(file: OnnxFile, node: Node) -> None:
    value = _cut(file, node, "")
    file.put(
        "Resize", value, "", "", file.integers(*node.outs[0]), top=node.tops[0], mode="linear",
        coordinate_transformation_mode="align_corners",
    )  # fmt: skip


def _upsample(file: OnnxFile, node: Node) -> None:
    of.repeats(node)
    file.put(
        "Resize", node.bottoms[0], "", "", file.integers(*node.outs[0]), top=node.tops[0],
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip


def _tile(file: OnnxFile, node: Node) -> None:
    counts = [1] * len(node.ins[0])
    counts[node.axis(node.layer.tile_param.axis)] = node.layer.tile_param.tiles
    file.put("Tile", node.bottoms[0], file.integers(*counts), top=node.tops[0])


def _batch_reindex(file: OnnxFile, node: Node) -> None:
    indices = file.put("Cast", node.bottoms[1], to=_INTEGER)
    file.put("Gather", node.bottoms[0], indices, top=node.tops[0])


def _arranged(file: OnnxFile, node: Node, view: Shape, order: Sequence[int]) -> None:
    """Write the bottom seen as `view`, with its axes in another order, as the top."""
    value = file.put("Transpose", file.reshape(node.bottoms[0], view), perm=order)
    file.reshape(value, node.outs[0], node.tops[0])


def _shuffle_channel(file: OnnxFile, node: Node) -> None:
    images, channels, *places = node.ins[0]
    groups = forks.parameters(node.layer).group
    view = (images, groups, channels // groups, prod(places))
    _arranged(file, node, view, (0, 2, 1, 3))


def _reorg(file: OnnxFile, node: Node) -> None:
    images, channels, height, width = node.ins[0]
    stride = height // node.outs[0][2]
    view = (images, channels // stride**2, height, stride, width, stride)
    _arranged(file, node, view, (0, 3, 5, 1, 2, 4))


def _reduction(file: OnnxFile, node: Node) -> None:
    param = node.layer.reduction_param
    axes = list(range(node.axis(param.axis), len(node.ins[0])))
    kind = {
        caffe.ReductionParameter.SUM: "ReduceSum", caffe.ReductionParameter.ASUM: "ReduceL1",
        caffe.ReductionParameter.SUMSQ: "ReduceSumSquare",
        caffe.ReductionParameter.MEAN: "ReduceMean",
    }[param.operation]  # fmt: skip
    top = node.tops[0] if param.coeff == 1 else ""
    if kind == "ReduceSum":
        value = file.put(kind, node.bottoms[0], file.integers(*axes), top=top, keepdims=0)
    else:
        value = file.put(kind, node.bottoms[0], top=top, axes=axes, keepdims=0)
    if not top:
        file.put("Mul", value, file.number(param.coeff), top=node.tops[0])


def _arg_max(file: OnnxFile, node: Node) -> None:
    param = node.layer.argmax_param
    has_axis = param.HasField("axis")
    axis = node.axis(param.axis) if has_axis else 1
    value = node.bottoms[0] if has_axis else file.put("Flatten", node.bottoms[0], axis=1)
    size = node.ins[0][axis] if has_axis else prod(node.ins[0][1:])
    # Of equal values Caffe takes the last first, TopK the first: so the axis is reversed.
    values, places = file.put_all(
        "TopK", [_reversed(file, value, axis), file.integers(param.top_k)],
        [file.name(), file.name()], axis=axis,
    )  # fmt: skip
    if has_axis and param.out_max_val:
        file.put("Identity", values, top=node.tops[0])
        return
    places = file.put("Sub", file.integers(size - 1), places)
    places = file.put("Cast", places, top=node.tops[0] if has_axis else "", to=_FLOAT)
    if not has_axis:
        both = [places, values] if param.out_max_val else [places]
        value = file.put("Concat", *both, axis=1) if len(both) > 1 else places
        file.reshape(value, node.outs[0], node.tops[0])


def _constants(file: OnnxFile, node: Node) -> None:
    for top, values in zip(node.tops, of.numbers_of(node), strict=True):
        file.put("Identity", file.weight(values), top=top)


Writer = Callable[[OnnxFile, Node], object]
_WRITERS: Final[dict[str, Writer]] = {
    **dict.fromkeys(
        ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Deconvolution"),
        _convolution,
    ),
    **dict.fromkeys(("Scale", "Bias"), _scale_or_bias),
    **dict.fromkeys(("Clip", "ReLU6", "BReLU"), _clip),
    **dict.fromkeys(("HardSigmoid", "HardSwish"), _hard),
    **dict.fromkeys(("Dropout", "Split"), _split),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze"), _reshape),
    **dict.fromkeys(("Permute", "Transpose"), _op("Transpose", perm=of.permutation)),
    **dict.fromkeys(("Crop", "CropCenter"), lambda file, node: _cut(file, node, node.tops[0])),
    **dict.fromkeys(("DummyData", "Parameter"), _constants),
    "AbsVal": _op("Abs"),
    "ArgMax": _arg_max,
    "Axpy": _axpy,
    "BN": _segnet_or_batch_norm,
    "BNLL": _op("Softplus"),
    "BatchNorm": _batch_norm,
    "BatchReindex": _batch_reindex,
    "Concat": _op("Concat", axis=of.joined_axis),
    "ELU": _op("Elu", alpha=lambda node: node.layer.elu_param.alpha),
    "Eltwise": _eltwise,
    "Embed": _embed,
    "Exp": _exp,
    "InnerProduct": _inner_product,
    "Input": lambda *_: None,
    "Interp": _interp,
    "LRN": _lrn,
    "Log": _log,
    "MVN": _mvn,
    "Mish": _mish,
    "Mul": _op("Mul"),
    "Normalize": _normalize,
    "PReLU": _prelu,
    "Pooling": _pooling,
    "Power": _power,
    "ReLU": _relu,
    "Reduction": _reduction,
    "Reorg": _reorg,
    "Reverse": _reverse,
    "ShuffleChannel": _shuffle_channel,
    "Sigmoid": _op("Sigmoid"),
    "Slice": _slice,
    "Softmax": _op("Softmax", axis=lambda node: node.axis(node.layer.softmax_param.axis)),
    "SpatialDropout": lambda file, node: _steps(file, node, [("Mul", of.dropped(node))]),
    "Swish": _swish,
    "TanH": _op("Tanh"),
    "Threshold": _threshold,
    "Tile": _tile,
    "Upsample": _upsample,
}
