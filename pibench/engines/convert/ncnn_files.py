"""Write a graph as ncnn's pair of files: layers as text (.param), float32 weights (.bin).

ncnn has no axis for images: a blob of Caffe with 2, 3 or 4 axes is an array of 1, 2 or 3. A line is
`TYPE NAME BOTTOMS TOPS bottom... top... KEY=VALUE...`; the keys are those of ncnn's src/layer, as
its docs/developer-guide/operators.md has them, and `-233KEY=COUNT,...` an array.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import IO, TYPE_CHECKING, Final

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import forks
from pibench.engines.convert import graph as of
from pibench.engines.convert.graph import Graph, Inexact, Node
from pibench.file_io import write_whole, writing_whole

if TYPE_CHECKING:
    from pathlib import Path

    from pibench.engines.caffe.shapes import Shape
    from pibench.engines.caffe.topology import Source
    from pibench.engines.convert.graph import Array

MAGIC: Final = 7767517
FLOAT32: Final = bytes(4)
"""Precedes weights that ncnn could have in other types too: those of products."""
LONGEST_NAME: Final = 200
"""ncnn reads 255 bytes."""
MOST_AXES: Final = 4

Number = int | float | Sequence[int] | Sequence[float]


class NcnnFiles:
    """The lines so far; weights are written as they come, unless there is no file for them."""

    def __init__(self, graph: Graph, weights: IO[bytes] | None) -> None:
        self._weights = weights
        self.layers: list[tuple[str, str, list[str], list[str], str]] = []
        self._names: dict[tuple[str, str], str] = {}
        self._taken: set[tuple[str, str]] = set()
        self.inputs = {blob: self._name("blob", blob) for blob in graph.inputs}
        self.outputs = {
            blob: self._name("blob", value) for blob, (value, _) in graph.outputs.items()
        }
        self.values = {place: self._name("blob", value) for place, value in graph.values.items()}

    def put(
        self,
        kind: str,
        bottoms: Sequence[str],
        tops: Sequence[str],
        params: dict[int, Number] | None = None,
        *weights: Array | bytes,
    ) -> None:
        """Add a layer, named after its first top; without a file for weights none is needed."""
        if self._weights is None:
            return
        texts = [_param(key, value) for key, value in (params or {}).items()]
        bottoms, tops = ([self._name("blob", name) for name in names] for names in (bottoms, tops))
        layer = self._name("layer", f"{tops[0]}")
        self.layers.append((kind, layer, bottoms, tops, " ".join(texts)))
        for values in weights:
            if isinstance(values, bytes):
                self._weights.write(values)
            else:
                self._weights.writelines(of.pieces(values))

    def then(
        self, kind: str, value: str, node: Node, params: dict[int, Number], suffix: str
    ) -> str:
        """Add a layer with one bottom whose top is an intermediate value; return that."""
        # No blob of a file has a NUL in its name.
        top = f"{node.tops[0]}\0{suffix}"
        self.put(kind, [value], [top], params)
        return top

    def _name(self, what: str, name: str) -> str:
        """Return a name as ncnn reads it, without blanks, and not too long."""
        if (what, name) not in self._names:
            plain = re.sub(r"[^!-~]", "_", name)[:LONGEST_NAME] or "_"
            number = 1
            found = plain
            while (what, found) in self._taken:
                number += 1
                found = f"{plain}_{number}"
            self._taken.add((what, found))
            self._names[what, name] = found
        return self._names[what, name]

    def text(self) -> str:
        """Return the text of the .param file, with a Split after what several layers read."""
        readers = Counter(name for _, _, bottoms, _, _ in self.layers for name in bottoms)
        copies: dict[str, Iterator[str]] = {}
        lines, blobs = [], 0
        for kind, name, bottoms, tops, params in self.layers:
            read = [next(copies[bottom]) if bottom in copies else bottom for bottom in bottoms]
            counts = f"{len(bottoms)} {len(tops)}"
            lines.append(" ".join(filter(None, [kind, name, counts, *read, *tops, params])))
            blobs += len(tops)
            for top in tops:
                if (count := readers[top]) > 1:
                    made = [self._name("blob", f"{top}\0{number}") for number in range(count)]
                    copies[top] = iter(made)
                    blobs += count
                    lines.append(f"Split splitncnn_{top} 1 {count} {top} {' '.join(made)}")
        return f"{MAGIC}\n{len(lines)} {blobs}\n" + "".join(f"{line}\n" for line in lines)


def _param(key: int, value: Number) -> str:
    if isinstance(value, Sequence):
        return f"{-23300 - key}={len(value)},{','.join(map(_number, value))}"
    return f"{key}={_number(value)}"


def _number(value: float) -> str:
    """Return a number as text: ncnn tells a float from an integer by its point or exponent."""
    return repr(array("f", [value])[0]) if isinstance(value, float) else str(int(value))


def ends(graph: Graph) -> tuple[dict[str, str], dict[str, str]]:
    """Return the names of inputs and outputs in the files, by blob."""
    files = NcnnFiles(graph, None)
    return files.inputs, files.outputs


def check(graph: Graph) -> None:
    """Go through the layers without writing anything.

    Raises:
        Inexact: ncnn cannot express a layer exactly; its `node` is the layer.
    """
    of.write_nodes(graph, NcnnFiles(graph, None), _WRITERS)


def values(graph: Graph) -> dict[Source, str]:
    """Return the name in the files of each blob that a layer writes."""
    return NcnnFiles(graph, None).values


def write(graph: Graph, stem: Path) -> tuple[Path, ...]:
    """Write `stem`.param and `stem`.bin, and return their paths.

    Raises:
        Inexact: ncnn cannot express a layer exactly; its `node` is the layer.
    """
    model, weights = (stem.with_name(f"{stem.name}.{end}") for end in ("param", "bin"))
    with writing_whole(weights) as stream:
        files = NcnnFiles(graph, stream)
        of.write_nodes(graph, files, _WRITERS)
        text = files.text()
    return write_whole(model, text), weights


def _checked(writer: Writer) -> Writer:
    """Return the writer with a check that ncnn has the axes of what the layer reads and writes."""

    def write_checked(files: NcnnFiles, node: Node) -> object:
        for shape in (*node.ins, *node.outs):
            _sizes(shape)
        return writer(files, node)

    return write_checked


def _sizes(shape: Shape) -> dict[int, Number]:
    """Return the shape as Input, MemoryData and Reshape have it: width, height, channels."""
    if shape[:1] != (1,):
        raise Inexact(f"with {shape[0]} images, where one is the most" if shape else "of a scalar")
    if not 2 <= len(shape) <= MOST_AXES:
        raise Inexact(f"with a blob of {len(shape)} axes")
    return dict(enumerate(reversed(shape[1:])))


def _axis(axis: int) -> int:
    """Return an axis as ncnn counts it."""
    if axis == 0:
        raise Inexact("along the images")
    return axis - 1


def _needs_image(node: Node) -> None:
    if len(node.ins[0]) != MOST_AXES:
        raise Inexact(f"over {len(node.ins[0])} axes")


# Layers with windows and weights


def _convolution(files: NcnnFiles, node: Node) -> None:
    _needs_image(node)
    window, groups = of.convolution(node)
    weights, *bias = node.weights
    params: dict[int, Number] = {
        0: node.outs[0][1], 1: window.kernel[1], 11: window.kernel[0], 2: window.dilation[1],
        12: window.dilation[0], 3: window.stride[1], 13: window.stride[0], 4: window.pad[1],
        14: window.pad[0], 5: len(bias), 6: weights.size,
    }  # fmt: skip
    kind = "Convolution"
    if node.type == "Deconvolution":
        kind = "Deconvolution"
        # Caffe: inputs x outputs of each group; ncnn: outputs x inputs.
        inputs, outputs = weights.shape[0] // groups, weights.shape[1]
        weights = weights.reshape(groups, inputs, outputs, -1).swapaxes(1, 2)
    if groups > 1:
        kind += "DepthWise"
        params[7] = groups
    for bottom, top in zip(node.bottoms, node.tops, strict=True):
        files.put(kind, [bottom], [top], params, FLOAT32, weights, *bias)


def _pooling(files: NcnnFiles, node: Node) -> None:
    window = of.pooling(node)
    value = node.bottoms[0]
    if window.zeros:
        rows, columns = window.zeros
        value = files.then(
            "Padding", value, node, {0: rows, 1: rows, 2: columns, 3: columns}, "padded"
        )
    is_average = node.layer.pooling_param.pool == caffe.PoolingParameter.AVE
    # With global_pooling (4) ncnn would drop two axes; pad mode 1 takes the pads as they are.
    pads = window.before, window.before if window.counts_pads else window.after
    params: dict[int, Number] = {
        0: int(is_average), 1: window.kernel[1], 11: window.kernel[0], 2: window.stride[1],
        12: window.stride[0], 3: pads[0][1], 13: pads[0][0], 14: pads[1][1], 15: pads[1][0],
        5: 1, 6: int(window.counts_pads),
    }  # fmt: skip
    files.put("Pooling", [value], node.tops, params)


def _inner_product(files: NcnnFiles, node: Node) -> None:
    param = node.layer.inner_product_param
    axis = node.axis(param.axis)
    _axis(axis)
    weights, *bias = node.weights
    if param.transpose:
        weights = weights.T
    outputs, inputs = weights.shape
    rows = prod(node.ins[0][:axis])
    # ncnn takes an array of two axes as rows, any other one as a whole.
    value, wanted, made = node.bottoms[0], node.ins[0], node.outs[0]
    if rows > 1:
        wanted, made = (1, rows, inputs), (1, rows, outputs)
    else:
        wanted, made = (1, inputs), (1, outputs)
    if wanted != node.ins[0] and (rows > 1 or len(node.ins[0]) == 3):
        value = files.then("Reshape", value, node, _sizes(wanted), "rows")
    top = node.tops[0] if made == node.outs[0] else f"{node.tops[0]}@@product"
    params: dict[int, Number] = {0: outputs, 1: len(bias), 2: weights.size}
    files.put("InnerProduct", [value], [top], params, FLOAT32, weights, *bias)
    if made != node.outs[0]:
        files.put("Reshape", [top], node.tops, _sizes(node.outs[0]))


# Normalizations


def _lrn(files: NcnnFiles, node: Node) -> None:
    param = node.layer.lrn_param
    within = param.norm_region == caffe.LRNParameter.WITHIN_CHANNEL
    # LRNLayer::WithinChannelForward does not use k.
    params: dict[int, Number] = {
        0: int(within), 1: param.local_size, 2: param.alpha, 3: param.beta,
        4: 1.0 if within else param.k,
    }  # fmt: skip
    files.put("LRN", node.bottoms, node.tops, params)


def _batch_norm(files: NcnnFiles, node: Node) -> None:
    if node.type == "BN" and len(node.weights) == 2 and forks.parameters(node.layer).bn_mode:
        _scaled(files, node, *node.weights)
        return
    scale, shift, mean, variance, epsilon = of.statistics(node)
    if not (variance + float(epsilon) > 0).all():
        raise Inexact("with a variance of 0 and an eps of 0")
    params: dict[int, Number] = {0: mean.size, 1: float(epsilon)}
    files.put("BatchNorm", node.bottoms, node.tops, params, scale, mean, variance, shift)


def _mvn(files: NcnnFiles, node: Node) -> None:
    _needs_image(node)
    param = node.layer.mvn_param
    params: dict[int, Number] = {
        0: param.normalize_variance, 1: param.across_channels, 2: param.eps
    }  # fmt: skip
    files.put("MVN", node.bottoms, node.tops, params)


def _normalize(files: NcnnFiles, node: Node) -> None:
    _needs_image(node)
    asked = forks.parameters(node.layer)
    params: dict[int, Number] = {
        0: asked.across_spatial, 4: 1, 1: asked.channel_shared, 2: asked.eps,
        3: node.weights[0].size,
    }  # fmt: skip
    files.put("Normalize", node.bottoms, node.tops, params, node.weights[0])


def _scaled(files: NcnnFiles, node: Node, scale: Array, shift: Array | None) -> None:
    """Write a factor and a term for each channel."""
    weights = [scale] if shift is None else [scale, shift]
    params: dict[int, Number] = {0: scale.size, 1: len(weights) - 1}
    files.put("Scale", node.bottoms[:1], node.tops, params, *weights)


def _scale_or_bias(files: NcnnFiles, node: Node) -> None:
    axis, shape = of.operand(node)
    is_bias = node.type == "Bias"
    if len(node.bottoms) > 1:
        _by_second(files, node, axis, shape)
        return
    channels = node.ins[0][1]
    if shape and (axis, shape) != (1, (channels,)):
        raise Inexact("with values that are not one for each channel")
    values = [_for_channels(blob, channels) for blob in node.weights]
    if is_bias:
        values.insert(0, of.filled(values[0], 1))
    _scaled(files, node, values[0], values[1] if len(values) > 1 else None)


def _for_channels(values: Array, channels: int) -> Array:
    """Return one value for each channel, of as many or of a single one."""
    if isinstance(values, of.StandIn) or values.shape == (channels,):
        return values
    import numpy as np  # noqa: PLC0415  (see StandIn)

    return np.broadcast_to(values, (channels,))


def _by_second(files: NcnnFiles, node: Node, axis: int, shape: Shape) -> None:
    """Write a Scale or Bias by another blob: as large as the first, or with one value a channel."""
    top = node.tops[0] if not node.weights else f"{node.tops[0]}@@scaled"
    if shape == node.ins[0]:
        operation = 1 if node.type == "Bias" else 0
        files.put("Eltwise", node.bottoms, [top], {0: operation})
    elif node.type == "Scale" and (axis, shape) == (0, node.ins[0][:2]):
        files.put("Scale", node.bottoms, [top], {0: -233})
    else:
        raise Inexact("by a blob that is neither as large nor one value for each channel")
    if node.weights:
        channels = node.ins[0][1]
        if node.weights[0].shape[-1:] != (channels,) or prod(node.weights[0].shape) != channels:
            raise Inexact("with a bias that is not one for each channel")
        ones = of.filled(node.weights[0], 1)
        files.put("Scale", [top], node.tops, {0: channels, 1: 1}, ones, node.weights[0])


def _axpy(files: NcnnFiles, node: Node) -> None:
    scales, first, second = node.bottoms
    if len(node.ins[0]) > 2:
        scales = files.then("Reshape", scales, node, {0: prod(node.ins[0])}, "scales")
    scaled = f"{node.tops[0]}@@scaled"
    files.put("Scale", [first, scales], [scaled], {0: -233})
    files.put("Eltwise", [scaled, second], node.tops, {0: 1})


# Functions of each element


def _function(kind: str, params: Callable[[Node], dict[int, Number]] | None = None) -> Writer:
    return lambda files, node: files.put(
        kind, node.bottoms, node.tops, params(node) if params else None
    )


def _of_sum(name: str, first: str) -> Callable[[Node], dict[int, Number]]:
    """Return the parameters of a function of scale x value + shift, and of one number more."""

    def params(node: Node) -> dict[int, Number]:
        param = getattr(node.layer, name)
        return {0: getattr(param, first), 1: param.scale, 2: param.shift}

    return params


def _prelu(files: NcnnFiles, node: Node) -> None:
    slopes = node.weights[0]
    files.put("PReLU", node.bottoms, node.tops, {0: slopes.size}, slopes)


def _swish(files: NcnnFiles, node: Node) -> None:
    if node.layer.swish_param.beta != 1:
        raise Inexact("with a beta other than 1")
    files.put("Swish", node.bottoms, node.tops)


# Layers that join, cut and arrange


def _eltwise(files: NcnnFiles, node: Node) -> None:
    params: dict[int, Number] = {0: node.layer.eltwise_param.operation}
    if factors := of.coefficients(node):
        params[1] = factors
    files.put("Eltwise", node.bottoms, node.tops, params)


def _multiply(files: NcnnFiles, node: Node) -> None:
    if len(node.ins) < 2 or node.ins[0] != node.ins[1]:
        raise Inexact("by values of another shape")
    files.put("Eltwise", node.bottoms, node.tops, {0: 0})


def _slice(node: Node) -> dict[int, Number]:
    axis = of.joined_axis(node)
    return {0: [shape[axis] for shape in node.outs], 1: _axis(axis)}


def _split(files: NcnnFiles, node: Node) -> None:
    files.put("Split", node.bottoms, node.tops)


def _crop(node: Node) -> dict[int, Number]:
    rows = of.cut(node)
    if not rows:
        # Without a cut ncnn would wait for a second bottom.
        rows = [(1, 0, node.ins[0][1])]
    axes, starts, ends = zip(*rows, strict=True)
    return {9: starts, 10: ends, 11: [_axis(axis) for axis in axes]}


def _interp(files: NcnnFiles, node: Node) -> None:
    sizes = node.ins[0][2:], node.outs[0][2:]
    if of.cut(node):
        raise Inexact("with pads")
    # From or to a single place, the nearest one; a single row or column ncnn would divide by 0.
    single = (1, 1) in sizes
    if not single and 1 in (*sizes[0], *sizes[1]):
        raise Inexact("from or to a single row or column")
    params: dict[int, Number] = {0: 1 if single else 2, 3: sizes[1][0], 4: sizes[1][1], 6: 1}
    files.put("Interp", node.bottoms[:1], node.tops, params)


def _upsample(files: NcnnFiles, node: Node) -> None:
    if any(count & (count - 1) for count in of.repeats(node)):
        # It divides in single precision.
        raise Inexact("by a factor that is not a power of two")
    height, width = node.outs[0][2:]
    files.put("Interp", node.bottoms, node.tops, {0: 1, 3: height, 4: width})


_ORDERS: Final = {3: ("WH", "HW"), 4: ("WHC", "HWC", "WCH", "CWH", "HCW", "CHW")}
"""The orders of ncnn's Permute by their number: axes from the inner to the outer one."""


def _permute(files: NcnnFiles, node: Node) -> None:
    order = of.permutation(node)
    if order[0] != 0:
        raise Inexact("that moves the images")
    names = {3: "NHW", 4: "NCHW"}.get(len(order))
    if names is None:
        files.put("Split", node.bottoms, node.tops)
        return
    text = "".join(names[axis] for axis in reversed(order[1:]))
    files.put("Permute", node.bottoms, node.tops, {0: _ORDERS[len(order)].index(text)})


def _reduction(files: NcnnFiles, node: Node) -> None:
    param = node.layer.reduction_param
    axes = [_axis(axis) for axis in range(node.axis(param.axis), len(node.ins[0]))]
    params: dict[int, Number] = {
        0: param.operation - 1, 1: 0, 2: param.coeff, 3: axes, 4: 0, 5: 1
    }  # fmt: skip
    files.put("Reduction", node.bottoms, node.tops, params)


def _input(files: NcnnFiles, node: Node) -> None:
    for top, shape in zip(node.tops, node.outs, strict=True):
        files.put("Input", [], [top], _sizes(shape))


def _constants(files: NcnnFiles, node: Node) -> None:
    for top, shape, values in zip(node.tops, node.outs, of.numbers_of(node), strict=True):
        files.put("MemoryData", [], [top], _sizes(shape), values)


Writer = Callable[[NcnnFiles, Node], object]
_WRITERS: Final[dict[str, Writer]] = {
    kind: _checked(writer)
    for kind, writer in {
        **dict.fromkeys(
            ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Deconvolution"),
            _convolution,
        ),
        **dict.fromkeys(("Scale", "Bias"), _scale_or_bias),
        **dict.fromkeys(("BatchNorm", "BN"), _batch_norm),
        **dict.fromkeys(
            ("Clip", "ReLU6", "BReLU"),
            _function("Clip", lambda node: dict(enumerate(of.bounds(node)))),
        ),
        **dict.fromkeys(("Dropout", "Split"), _split),
        **dict.fromkeys(
            ("Flatten", "Reshape", "Squeeze"),
            _function("Reshape", lambda node: _sizes(node.outs[0])),
        ),
        **dict.fromkeys(("Permute", "Transpose"), _permute),
        **dict.fromkeys(
            ("Crop", "CropCenter"),
            lambda files, node: files.put("Crop", node.bottoms[:1], node.tops, _crop(node)),
        ),
        **dict.fromkeys(("DummyData", "Parameter"), _constants),
        "AbsVal": _function("AbsVal"),
        "Axpy": _axpy,
        "BNLL": _function("BNLL"),
        "Concat": _function("Concat", lambda node: {0: _axis(of.joined_axis(node))}),
        "ELU": _function("ELU", lambda node: {0: node.layer.elu_param.alpha}),
        "Eltwise": _eltwise,
        "Exp": _function("Exp", _of_sum("exp_param", "base")),
        "HardSigmoid": _function("HardSigmoid", lambda _: {0: 1 / 6, 1: 0.5}),
        "HardSwish": _function("HardSwish", lambda _: {0: 1 / 6, 1: 0.5}),
        "InnerProduct": _inner_product,
        "Input": _input,
        "Interp": _interp,
        "LRN": _lrn,
        "Log": _function("Log", _of_sum("log_param", "base")),
        "MVN": _mvn,
        "Mish": _function("Mish"),
        "Mul": _multiply,
        "Normalize": _normalize,
        "PReLU": _prelu,
        "Pooling": _pooling,
        "Power": _function("Power", _of_sum("power_param", "power")),
        "ReLU": _function("ReLU", lambda node: {0: node.layer.relu_param.negative_slope}),
        "Reduction": _reduction,
        "ShuffleChannel": _function(
            "ShuffleChannel", lambda node: {0: forks.parameters(node.layer).group}
        ),
        "Sigmoid": _function("Sigmoid"),
        "Slice": _function("Slice", _slice),
        "Softmax": _function(
            "Softmax",
            lambda node: {0: _axis(node.axis(node.layer.softmax_param.axis)), 1: 1},
        ),
        "SpatialDropout": _function("Power", lambda node: {0: 1.0, 1: of.dropped(node)}),
        "Swish": _swish,
        "TanH": _function("TanH"),
        "Threshold": _function("Threshold", lambda node: {0: node.layer.threshold_param.threshold}),
        "Tile": _function(
            "Tile",
            lambda node: {
                0: _axis(node.axis(node.layer.tile_param.axis)),
                1: node.layer.tile_param.tiles,
            },
        ),
        "Upsample": _upsample,
    }.items()
}
