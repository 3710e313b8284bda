"""Rewrite a network as formats have it: each value written once, and what Caffe computes of it.

Layers in place get values of their own, layers that do nothing in the test phase vanish, and each
layer gets the values of its parameters. What both formats need to know of a layer is derived here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count
from math import prod
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import caffemodel, forks, topology
from pibench.engines.caffe.shapes import Shape, elements, times, windows
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pibench.engines.caffe.shapes import Shapes

    Array: TypeAlias = NDArray[np.float32]

File = TypeVar("File")

_NOTHING: Final = frozenset({"Dropout", "Split"})
"""Types whose tops are their bottom."""


class Inexact(Exception):
    """A format has nothing that computes the same as a layer; the text completes "TYPE ..."."""

    node: Node


@dataclass(frozen=True)
class Node:
    """A layer: names and shapes of the values that it reads and writes, and its parameters."""

    layer: caffe.LayerParameter
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    ins: tuple[Shape, ...]
    outs: tuple[Shape, ...]
    weights: tuple[Array, ...] = ()

    @property
    def type(self) -> str:
        """The layer's type."""
        return str(self.layer.type)

    def axis(self, index: int) -> int:
        """Return an axis of the first bottom, which may be negative, as a plain index."""
        return index % len(self.ins[0])


class StandIn:
    """A parameter of which only the shape matters: an array of ones, without NumPy.

    A plan checks each network, and to import NumPy takes longer than to plan one.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.size = prod(shape)

    @property
    def T(self) -> StandIn:  # noqa: N802  (NumPy's name for it)
        """The transpose."""
        return StandIn(self.shape[::-1])

    def reshape(self, *shape: int) -> StandIn:
        """Return it in another shape; one axis may be -1."""
        known = -prod(shape) if -1 in shape else 1
        return StandIn(tuple(self.size // known if axis == -1 else axis for axis in shape))

    def swapaxes(self, first: int, second: int) -> StandIn:
        """Return it with two axes exchanged."""
        axes = list(self.shape)
        axes[first], axes[second] = axes[second], axes[first]
        return StandIn(tuple(axes))

    def __getitem__(self, _: int) -> float:
        return 1.0

    def __mul__(self, _: object) -> StandIn:
        return self

    def __add__(self, _: object) -> StandIn:
        return self

    def __gt__(self, _: object) -> StandIn:
        return self

    def all(self) -> bool:
        """Return whether all of its values are other than 0."""
        return True


@dataclass
class Graph:
    """The nodes in order, those of type Input too, and the network's ends."""

    nodes: list[Node] = field(default_factory=list)
    inputs: dict[str, Shape] = field(default_factory=dict)
    """The shapes of the inputs, by blob and value: they have one name."""
    outputs: dict[str, tuple[str, Shape]] = field(default_factory=dict)
    """Value and shape by blob, sorted as Caffe's outputs are."""
    values: dict[topology.Source, str] = field(default_factory=dict)
    """The value of each blob that a layer writes."""

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each value that a node writes."""
        tops = ((node.tops, node.outs) for node in self.nodes)
        return {value: shape for pair in tops for value, shape in zip(*pair, strict=True)}


def build(found: Shapes, weights: Path | None, *, stand_ins: bool = False) -> Graph:
    """Return the graph of a network with the parameters in `weights`, or without any.

    With `stand_ins` parameters have their shapes, and no values.

    Raises:
        InvalidInputError: The file lacks parameters of the network.
    """
    graph = Graph()
    names = _value_names(found)
    read = {source for sources in found.sources for source in sources}
    parameters: Sequence[tuple[Array, ...]] = [()] * len(found.layers)
    if weights:
        parameters = _parameters(found, weights)
    elif stand_ins:
        parameters = [
            tuple(cast("Array", StandIn(shape)) for shape in shapes) for shapes in found.weights
        ]
    same: dict[str, str] = {}
    outputs: dict[str, tuple[str, Shape]] = {}
    for position, layer in enumerate(found.layers):
        tops = tuple(names[position, index] for index in range(len(layer.top)))
        read_here = [names[source] for source in found.sources[position]]
        bottoms = tuple(same.get(name, name) for name in read_here)
        unread = [index for index in range(len(tops)) if (position, index) not in read]
        for index in unread:
            outputs[layer.top[index]] = tops[index], found.tops[position][index]
        if layer.type == "Input":
            graph.inputs |= zip(tops, found.tops[position], strict=True)
        node = Node(
            layer, bottoms, tops, found.bottoms[position], found.tops[position],
            parameters[position],
        )  # fmt: skip
        if layer.type == "Silence":
            continue
        is_nothing = layer.type in _NOTHING and not unread
        if is_nothing:
            same |= dict.fromkeys(tops, bottoms[0])
        for index, top in enumerate(tops):
            graph.values[position, index] = same.get(top, top)
        if not is_nothing:
            graph.nodes.append(node)
    graph.outputs = dict(sorted(outputs.items()))
    return graph


def write_nodes(
    graph: Graph, file: File, writers: Mapping[str, Callable[[File, Node], object]]
) -> None:
    """Write each node by the function of its type.

    Raises:
        Inexact: A layer cannot be written; `node` is it.
    """
    for node in graph.nodes:
        try:
            if node.type not in writers:
                raise Inexact("")
            writers[node.type](file, node)
        except Inexact as inexact:
            inexact.node = node
            raise


def _value_names(found: Shapes) -> dict[topology.Source, str]:
    """Name each written value by its blob: of several in one blob, an input has the name as it is.

    Where none is an input, the last one has it: that is what Caffe has in the blob in the end.
    """
    written: defaultdict[str, list[topology.Source]] = defaultdict(list)
    for position, layer in enumerate(found.layers):
        for index, name in enumerate(layer.top):
            written[name].append((position, index))
    names = {}
    taken = set(written)
    for blob, sources in written.items():
        first = found.layers[sources[0][0]].type == "Input"
        plain = sources.pop(0 if first else -1)
        names[plain] = blob
        numbers = count(1)
        for source in sources:
            name = next(n for n in (f"{blob}@{number}" for number in numbers) if n not in taken)
            taken.add(name)
            names[source] = name
    return names


def _parameters(found: Shapes, path: Path) -> list[tuple[Array, ...]]:
    """Return the values of each layer's parameters, as Caffe copies them from the file by name."""
    keys: list[list[object]] = []
    position_of: dict[str, int] = {}
    for position, layer in enumerate(found.layers):
        specs = [spec.name for spec in layer.param]
        keys.append(
            [
                specs[index] if index < len(specs) and specs[index] else (position, index)
                for index in range(len(found.weights[position]))
            ]
        )
        position_of.setdefault(layer.name, position)
    values: dict[object, Array] = {}
    for name, blobs in caffemodel.mapped_values(path):
        if name in position_of:
            # A parameter with a name is one for several layers: the last copy remains.
            values |= zip(keys[position_of[name]], blobs, strict=False)
    result = []
    for position, layer in enumerate(found.layers):
        blobs = []
        for key, shape in zip(keys[position], found.weights[position], strict=True):
            if key not in values or values[key].size != elements(shape):
                raise InvalidInputError.at(
                    path, topology.place(layer), f"the file has no parameter of {times(shape)}",
                    hint="give the weights that belong to this network",
                )  # fmt: skip
            blobs.append(values[key].reshape(shape).astype("float32", copy=False))
        result.append(tuple(blobs))
    return result


# What a layer computes


def numbers_of(node: Node) -> list[Array]:
    """Return the constant tops of a DummyData or Parameter.

    Raises:
        Inexact: They are drawn at random.
    """
    if node.type == "Parameter":
        return [node.weights[0]]
    fillers = list(node.layer.dummy_data_param.data_filler) or [caffe.FillerParameter()]
    fillers *= len(node.outs) if len(fillers) == 1 else 1
    if any(filler.type != "constant" for filler in fillers):
        raise Inexact("with random values")
    import numpy as np  # noqa: PLC0415  (see StandIn)

    return [
        np.full(shape, filler.value, np.float32)
        for shape, filler in zip(node.outs, fillers, strict=True)
    ]


@dataclass(frozen=True)
class Window:
    """A sliding window over height and width, with the pads after the input that Caffe implies."""

    kernel: Shape
    stride: Shape
    before: Shape
    after: Shape
    counts_pads: bool = False
    """An average's divisor includes the pads."""
    zeros: Shape | None = None
    """Zeros to put on both sides first, where the divisor counts these and not those `after`.

    Then `before` is 0, and `after` counts from them on.
    """


def pooling(node: Node) -> Window:
    """Return the window of a Pooling (PoolingLayer::Reshape, Forward_cpu).

    Sizes are rounded up: the last window may reach behind the pad. An average is divided by the
    places within input and pad, not by those behind.

    Raises:
        Inexact: The layer writes its mask, draws at random, or has a window outside of the input.
    """
    pool = node.layer.pooling_param
    if len(node.tops) > 1:
        raise Inexact("with its mask as second top")
    if pool.pool == caffe.PoolingParameter.STOCHASTIC:
        raise Inexact("of kind STOCHASTIC")
    kernel, stride, pad = windows.pooling_window(pool, node.ins[0])
    sizes, counts = node.ins[0][2:], node.outs[0][2:]
    rows = list(zip(sizes, counts, kernel, stride, pad, strict=True))
    if any((n - 1) * s - p >= size for size, n, _, s, p in rows):
        raise Inexact("with a window behind the input")
    after = tuple((n - 1) * s + k - p - size for size, n, k, s, p in rows)
    plain = tuple(max(end, 0) for end in after)
    if pool.pool == caffe.PoolingParameter.MAX or not any(pad):
        return Window(kernel, stride, pad, plain)
    if all(end <= p for end, p in zip(after, pad, strict=True)):
        return Window(kernel, stride, pad, plain, counts_pads=True)
    beyond = tuple(max(end - p, 0) for end, p in zip(after, pad, strict=True))
    return Window(kernel, stride, (0,) * len(pad), beyond, zeros=pad)


def convolution(node: Node) -> tuple[windows.Window, int]:
    """Return window and groups of a (de)convolution over all axes after the channels.

    Raises:
        Inexact: The channels are on another axis, or the kernel is larger than its padded input.
    """
    conv = node.layer.convolution_param
    if node.axis(conv.axis) != 1:
        raise Inexact(f"with channels on axis {conv.axis}")
    found = windows.window(conv, len(node.ins[0]) - 2)
    padded = [size + 2 * pad for size, pad in zip(node.ins[0][2:], found.pad, strict=True)]
    # Caffe's division rounds towards 0, and makes one place of nothing.
    if node.type != "Deconvolution" and any(
        size < extent for size, extent in zip(padded, found.extent, strict=True)
    ):
        raise Inexact("with a kernel larger than its input")
    groups = node.ins[0][1] if node.type == "ConvolutionDepthwise" else conv.group
    return found, groups


def statistics(node: Node) -> tuple[Array, Array, Array, Array, float]:
    """Return scale, shift, mean, variance and epsilon of a BatchNorm, or of the forks' BN.

    Raises:
        Inexact: The layer normalizes by its own input.
    """
    if node.type == "BN":
        if len(node.weights) < 4:
            raise Inexact("that normalizes by its own input")
        scale, shift, mean, variance = (blob.reshape(-1) for blob in node.weights)
        return scale, shift, mean, variance, forks.parameters(node.layer).eps
    param = node.layer.batch_norm_param
    if param.HasField("use_global_stats") and not param.use_global_stats:
        raise Inexact("that normalizes by its own input")
    mean, variance, factor = node.weights
    part = 1 / factor[0] if factor[0] else 0
    return filled(mean, 1), filled(mean, 0), mean * part, variance * part, param.eps


def filled(like: Array, value: float) -> Array:
    """Return an array of one value with the shape of another."""
    if isinstance(like, StandIn):
        return like
    import numpy as np  # noqa: PLC0415  (see StandIn)

    return np.full_like(like, value)


def operand(node: Node) -> tuple[int, Shape]:
    """Return the first axis and the shape of what a Scale or Bias applies."""
    param = node.layer.scale_param if node.type == "Scale" else node.layer.bias_param
    if len(node.ins) == 1:
        start = node.axis(param.axis)
        end = len(node.ins[0]) if param.num_axes == -1 else start + param.num_axes
        return start, node.ins[0][start:end]
    return (node.axis(param.axis) if node.ins[1] else 0), node.ins[1]


def coefficients(node: Node) -> list[float]:
    """Return an Eltwise's factors; none if they are all 1, or if it is not a sum."""
    param = node.layer.eltwise_param
    factors = list(param.coeff)
    is_sum = param.operation == caffe.EltwiseParameter.SUM
    return factors if is_sum and any(factor != 1 for factor in factors) else []


def joined_axis(node: Node) -> int:
    """Return the axis of a Concat or Slice, in its older or its current field."""
    if node.type == "Concat":
        concat = node.layer.concat_param
        return node.axis(concat.concat_dim if concat.HasField("concat_dim") else concat.axis)
    param = node.layer.slice_param
    return node.axis(param.slice_dim if param.HasField("slice_dim") else param.axis)


def cut(node: Node) -> list[tuple[int, int, int]]:
    """Return axis, start and end of each axis that a Crop, CropCenter or Interp cuts."""
    sizes = node.ins[0]
    starts = [0] * len(sizes)
    ends = list(node.outs[0])
    if node.type == "Crop":
        axis = node.axis(node.layer.crop_param.axis)
        offsets = list(node.layer.crop_param.offset) or [0]
        starts[axis:] = offsets * (len(sizes) - axis) if len(offsets) == 1 else offsets
        ends = [start + size for start, size in zip(starts, node.outs[0], strict=True)]
    elif node.type == "CropCenter":
        starts = list(forks.parameters(node.layer).crop_size)
        ends = [start + size for start, size in zip(starts, node.outs[0], strict=True)]
    else:
        asked = forks.parameters(node.layer)
        starts[2:] = [-asked.pad_beg] * 2
        ends = [*sizes[:2], *(size + asked.pad_end for size in sizes[2:])]
    rows = zip(count(), starts, ends, sizes)
    return [(axis, start, end) for axis, start, end, size in rows if (start, end) != (0, size)]


def permutation(node: Node) -> list[int]:
    """Return the axes of a Permute or Transpose in the order of its top."""
    asked = forks.parameters(node.layer)
    order = list(asked.dim if node.type == "Transpose" else asked.order)
    return order + [axis for axis in range(len(node.ins[0])) if axis not in order]


def repeats(node: Node) -> Shape:
    """Return how often an Upsample repeats rows and columns.

    Raises:
        Inexact: It has a mask, or some are repeated more often than others.
    """
    if len(node.ins) > 1:
        raise Inexact("with a mask")
    sizes = list(zip(node.outs[0][2:], node.ins[0][2:], strict=True))
    if any(after % before for after, before in sizes):
        raise Inexact("to a size that is not a multiple")
    return tuple(after // before for after, before in sizes)


def dropped(node: Node) -> float:
    """Return the factor of a SpatialDropout, which its fork applies in the test phase too.

    Raises:
        Inexact: It draws at random.
    """
    asked = forks.parameters(node.layer)
    if asked.train or asked.p == 1:
        raise Inexact("that draws at random" if asked.train else "of everything")
    return float(1 / (1 - asked.p))


def bounds(node: Node) -> tuple[float, float]:
    """Return the least and the largest output of a Clip, ReLU6 or BReLU."""
    if node.type == "Clip":
        return node.layer.clip_param.min, node.layer.clip_param.max
    asked = forks.parameters(node.layer)
    return (0.0, asked.threshold) if node.type == "ReLU6" else (asked.minval, asked.maxval)


def pieces(values: Array) -> Iterator[bytes]:
    """Yield the values as little-endian bytes, in pieces."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, 1 << 20):
        yield flat[start : start + (1 << 20)].astype("<f4").tobytes()
