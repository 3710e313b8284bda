"""Count the work of a forward pass, layer by layer, from shapes.

Each layer type has a function that counts what its Forward_cpu of Caffe 1.0 does
(src/caffe/layers/): matrix products, which OpenBLAS computes, and passes over elements. A pass that
reads a blob and writes one is two accesses per element. Counts are exact where the code is a loop
over elements; `cost_model.toml` gives the cost of each part and its source.

`counted_work` replaces this work by the counts of real Caffe. The board's time has the same two
kinds of work. Multiply-accumulates are the counted ones, plus those that fill up register tiles;
the latter follow the BLAS of the board's years and not the counted one. Accesses come from the
cache model. Outside products every line that L1 missed is 16 numbers moved, and plain instructions
take their time; in products, which work out of L2, only lines that L2 missed count.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import resources
from math import prod
from operator import mul
from typing import TYPE_CHECKING, Final, NamedTuple

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import shapes
from pibench.engines.caffe.shapes.recurrent import unrolled
from pibench.engines.caffe.shapes.windows import window
from pibench.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.counting import Counts, NetworkCounts
    from pibench.engines.base import Protocol
    from pibench.engines.caffe.shapes import Shape
    from pibench.networks.network import Network

FLOAT_BYTES: Final = 4
NUMBERS_PER_LINE: Final = 16
"""Single-precision numbers in a cache line of 64 bytes."""


class Product(NamedTuple):
    """A matrix C of `rows` x `columns` from a product over `depth`, computed `times` times.

    `adds` if the product is added to what C holds. `transposed` if both operands have the depth
    side by side in memory, as the weights of an InnerProduct have it.
    """

    rows: int
    columns: int
    depth: int
    times: int = 1
    adds: bool = False
    transposed: bool = False

    @property
    def macs(self) -> int:
        """Return the number of multiply-accumulates."""
        return self.rows * self.columns * self.depth * self.times


class Vectors(NamedTuple):
    """Figures of the functions on whole vectors that Caffe calls, one each: elements, or cycles.

    `copied` and `filled` are the C library's memcpy and memset (caffe_copy, caffe_set),
    `multiplied`, `squared` and `divided` Caffe's own loops (vsMul, vsSqr, vsDiv). The others are
    BLAS: `blas_copied` is scopy, `scaled` sscal, `added` saxpy, `summed` a row of sgemv.
    """

    copied: float = 0
    filled: float = 0
    multiplied: float = 0
    squared: float = 0
    divided: float = 0
    blas_copied: float = 0
    scaled: float = 0
    added: float = 0
    summed: float = 0


NO_VECTORS: Final = Vectors()
VECTOR_ACCESSES: Final = Vectors(
    copied=2, filled=1, multiplied=3, squared=2, divided=3,
    blas_copied=2, scaled=0, added=3, summed=1,
)  # fmt: skip
"""Reads and writes of an element that may miss the cache: sscal finds what scopy just wrote."""


class LayerCost(NamedTuple):
    """The parts of a layer's work, in elements; `passes` are reads and writes of blobs.

    `updates` are products over a depth of 1, which spread a number for each row over the row: a
    bias, a mean, a deviation. `vectors` are elements of functions on whole vectors, `vector_calls`
    calls of BLAS for vectors that are short, `scaled_by_1` elements of sscal with a factor of 1.
    `relus` are elements of passes that a ReLU compares.
    `entries` is how many layers are entered: itself, or those that it runs inside.
    """

    products: tuple[Product, ...] = ()
    updates: tuple[Product, ...] = ()
    vectors: Vectors = NO_VECTORS
    vector_calls: int = 0
    scaled_by_1: int = 0
    passes: int = 0
    im2col: int = 0
    windows: int = 0
    exps: int = 0
    pows: int = 0
    randoms: int = 0
    relus: int = 0
    runs: bool = True
    entries: int = 1

    @property
    def accesses(self) -> int:
        """Return the reads and writes of blobs outside products, in passes of any kind."""
        of_vectors = of_updates = 0
        if self.vectors is not NO_VECTORS:
            of_vectors = int(sum(map(mul, map(int, self.vectors), VECTOR_ACCESSES)))
        for one in self.updates:
            of_updates += one.macs * (2 if one.adds else 1)
        return self.passes + of_vectors + of_updates


NO_WORK: Final = LayerCost(runs=False)


@dataclass(eq=False)
class LayerContext:
    """One layer in its network: its shapes, and whether it runs in the training phase."""

    layer: caffe.LayerParameter
    bottoms: tuple[Shape, ...]
    tops: tuple[Shape, ...]
    weights: tuple[Shape, ...]
    training: bool

    @cached_property
    def made(self) -> int:
        """Return the number of elements of all tops."""
        return sum(map(prod, self.tops))

    @cached_property
    def read(self) -> int:
        """Return the number of elements of all bottoms."""
        return sum(map(prod, self.bottoms))

    @property
    def in_place(self) -> bool:
        """Return whether the first top is the first bottom."""
        return list(self.layer.bottom[:1]) == list(self.layer.top[:1])


def layer_cost(context: LayerContext) -> LayerCost:
    """Return the work of one layer; other types than the table's read bottoms and write tops."""
    return _COSTS.get(context.layer.type, _elementwise)(context)


def _elementwise(context: LayerContext) -> LayerCost:
    return LayerCost(passes=context.read + context.made)


def _relu(context: LayerContext) -> LayerCost:
    return LayerCost(passes=context.read + context.made, relus=context.made)


def _nothing(_: LayerContext) -> LayerCost:
    """Return no work: blobs share memory, or nothing is done while the network runs."""
    return LayerCost(runs=False)


def _convolution(context: LayerContext) -> LayerCost:
    """Count forward_cpu_gemm: im2col and a product per group and image, the bias a product."""
    parameter = context.layer.convolution_param
    images, top = _images(context.tops[0], parameter.axis)
    outputs, area = top[0], prod(top[1:])
    depth = prod(context.weights[0][1:])
    group, count = parameter.group, images * len(context.tops)
    found = window(parameter, len(top) - 1)
    as_it_is = set(found.kernel) == set(found.stride) == {1} and set(found.pad) == {0}
    im2col = 0 if as_it_is else depth * group * area * count
    bias = (Product(outputs, area, 1, count, adds=True),) if len(context.weights) > 1 else ()
    return LayerCost(
        products=(Product(outputs // group, area, depth, group * count),),
        updates=bias,
        im2col=im2col,
    )


def _depthwise(context: LayerContext) -> LayerCost:
    """Count a convolution with a group for each channel, which its file does not state."""
    grouped = caffe.LayerParameter()
    grouped.CopyFrom(context.layer)
    axis = grouped.convolution_param.axis
    grouped.convolution_param.group = context.bottoms[0][axis]
    return _convolution(replace(context, layer=grouped))


def _deconvolution(context: LayerContext) -> LayerCost:
    """Count a transposed convolution: a product per group into columns, which col2im adds up."""
    parameter = context.layer.convolution_param
    images, bottom = _images(context.bottoms[0], parameter.axis)
    inputs, area = bottom[0], prod(bottom[1:])
    group, count = parameter.group, images * len(context.tops)
    depth = prod(context.weights[0][1:])
    outputs = _images(context.tops[0], parameter.axis)[1][0]
    bias = Product(outputs, context.made // max(1, count * outputs), 1, count, adds=True)
    return LayerCost(
        products=(Product(depth, area, inputs // group, group * count),),
        updates=(bias,) if len(context.weights) > 1 else (),
        passes=context.made,
        im2col=depth * group * area * count,
    )


def _images(shape: Shape, axis: int) -> tuple[int, Shape]:
    """Return the number of images in a blob, and the shape of one."""
    at = axis % len(shape)
    return prod(shape[:at]), shape[at:]


def _inner_product(context: LayerContext) -> LayerCost:
    """Count one product over all images, and one more for the bias, over a depth of 1."""
    outputs = context.weights[0][1 if context.layer.inner_product_param.transpose else 0]
    images = context.made // outputs
    depth = prod(context.weights[0]) // outputs
    transposed = not context.layer.inner_product_param.transpose
    return LayerCost(
        products=(Product(images, outputs, depth, transposed=transposed),),
        updates=(Product(images, outputs, 1, adds=True),) if len(context.weights) > 1 else (),
    )


def _pooling(context: LayerContext) -> LayerCost:
    """Count the initial fill of the top (and its mask), then the elements of each window."""
    parameter = context.layer.pooling_param
    bottom = context.bottoms[0]
    if parameter.global_pooling:
        size = prod(bottom[2:])
    elif parameter.HasField("kernel_size"):
        size = parameter.kernel_size**2
    else:
        size = parameter.kernel_h * parameter.kernel_w
    fills = 1 + (parameter.pool == caffe.PoolingParameter.MAX)
    return LayerCost(passes=fills * context.made, windows=size * context.made)


def _lrn(context: LayerContext) -> LayerCost:
    """Count, across channels, squares, a running sum per channel, a power and a product.

    Within a channel the layer consists of inner layers: a pooling replaces the running sum.
    """
    parameter = context.layer.lrn_param
    within = parameter.norm_region == caffe.LRNParameter.WITHIN_CHANNEL
    elements = context.made
    windows = elements * parameter.local_size**2 if within else 0
    return LayerCost(passes=13 * elements, windows=windows, pows=elements)


def _batch_norm(context: LayerContext) -> LayerCost:
    """Count the subtraction of the mean (a product of depth 1) and the division by deviations.

    Deviations are spread over the image first, and a copy of the result is stored.

    Where statistics are computed, the blob is also summed, squared and summed again.
    """
    parameter = context.layer.batch_norm_param
    stored = not context.training
    if parameter.HasField("use_global_stats"):
        stored = parameter.use_global_stats
    bottom, made = context.bottoms[0], context.made
    rows = prod(bottom[:2])
    subtracted = Product(rows, made // max(1, rows), 1, adds=True)
    return LayerCost(
        updates=(subtracted, subtracted._replace(adds=False)),
        vectors=Vectors(
            copied=made if context.in_place else 2 * made,
            divided=made,
            squared=0 if stored else made,
            summed=0 if stored else 2 * made,
        ),
    )


def _scale(context: LayerContext) -> LayerCost:
    """Count a copy and a product of BLAS per channel, and a product of depth 1 for the bias.

    In place the bottom is copied first, for the backward pass. `caffe time` leaves factors as the
    layer is filled, mostly with 1.
    """
    parameter, bottom, made = context.layer.scale_param, context.bottoms[0], context.made
    factors = context.bottoms[1] if len(context.bottoms) > 1 else context.weights[0]
    axis = parameter.axis % len(bottom) if factors else 0
    images, scaled = prod(bottom[:axis]), prod(factors)
    inner = made // max(1, images * scaled)
    one = len(context.bottoms) == 1 and context.training and _fills_ones(parameter)
    bias = Product(scaled, inner, 1, images, adds=True)
    return LayerCost(
        updates=(bias,) if parameter.bias_term else (),
        vectors=Vectors(
            copied=made if context.in_place else 0,
            blas_copied=made,
            scaled=0 if one else made,
        ),
        vector_calls=2 * images * scaled,
        scaled_by_1=made if one else 0,
    )


def _fills_ones(parameter: caffe.ScaleParameter) -> bool:
    filler = parameter.filler
    return not parameter.HasField("filler") or (filler.type == "constant" and filler.value == 1)


def _eltwise(context: LayerContext) -> LayerCost:
    """Count a sum, which fills its top with 0 and adds each bottom, or pairwise operations."""
    bottoms, made = len(context.bottoms), context.made
    operation = context.layer.eltwise_param.operation
    if operation == caffe.EltwiseParameter.SUM:
        return LayerCost(vectors=Vectors(filled=made, added=bottoms * made))
    if operation == caffe.EltwiseParameter.PROD:
        return LayerCost(vectors=Vectors(multiplied=(bottoms - 1) * made))
    return LayerCost(passes=3 * (bottoms - 1) * made)


def _copied(context: LayerContext) -> LayerCost:
    """Count a copy of what the layer makes."""
    return LayerCost(vectors=Vectors(copied=context.made))


def _dropout(context: LayerContext) -> LayerCost:
    """Count a random number and a product per element in training, else a copy, if not in place."""
    if context.training:
        return LayerCost(passes=4 * context.made, randoms=context.made)
    return LayerCost(runs=False) if context.in_place else _copied(context)


def _exponential(context: LayerContext) -> LayerCost:
    """Count a function of math.h per element: Sigmoid, TanH, ELU, Exp, Log and similar types."""
    return LayerCost(passes=context.read + context.made, exps=context.made)


def _power(context: LayerContext) -> LayerCost:
    return LayerCost(passes=2 * (context.read + context.made), pows=context.made)


def _softmax(context: LayerContext) -> LayerCost:
    """Count the copy, the maximum and its subtraction, exponentials, their sum, the division."""
    elements = prod(context.bottoms[0])
    return LayerCost(passes=12 * elements, exps=elements)


def _lstm_unit(context: LayerContext) -> LayerCost:
    """Count three sigmoids and two hyperbolic tangents per element of the cell."""
    return LayerCost(passes=context.read + context.made, exps=5 * prod(context.tops[0]))


def _fork_lstm(context: LayerContext) -> LayerCost:
    """Count the product of all steps, one for each step, and the functions of gates and cells.

    Gates are accessed eight times: for the bias, the hidden state, and their functions.
    """
    steps, sequences, inputs = context.bottoms[0][:3]
    gates, hidden = context.weights[1]
    rows = steps * sequences
    return LayerCost(
        products=(
            Product(rows, gates, inputs),
            Product(sequences, gates, hidden, steps),
        ),
        passes=rows * (8 * gates + 4 * hidden),
        exps=5 * rows * hidden,
    )


def _recurrent(context: LayerContext) -> LayerCost:
    """Count the layers of the unrolled network, without the loss at its end."""
    inner = shapes.infer(unrolled(context.layer, list(context.bottoms)))
    costs = [
        layer_cost(LayerContext(*of_layer, context.training))
        for of_layer in zip(
            inner.layers[:-1], inner.bottoms, inner.tops, inner.weights, strict=False
        )
    ]
    costs = [cost for cost in costs if cost.runs]
    return LayerCost(
        products=tuple(product for cost in costs for product in cost.products),
        updates=tuple(update for cost in costs for update in cost.updates),
        vectors=Vectors(*map(sum, zip(*(cost.vectors for cost in costs), strict=True))),
        vector_calls=sum(cost.vector_calls for cost in costs),
        scaled_by_1=sum(cost.scaled_by_1 for cost in costs),
        passes=sum(cost.passes for cost in costs),
        exps=sum(cost.exps for cost in costs),
        entries=len(costs),
    )


_COSTS: Final[dict[str, Callable[[LayerContext], LayerCost]]] = {
    **dict.fromkeys(
        ("Input", "DummyData", "Data", "Split", "Flatten", "Reshape", "Silence"), _nothing
    ),
    "ReLU": _relu,
    **dict.fromkeys(("Sigmoid", "TanH", "ELU", "Exp", "Log", "BNLL", "Swish"), _exponential),
    **dict.fromkeys(("Softmax", "SoftmaxWithLoss"), _softmax),
    **dict.fromkeys(("Convolution", "DepthwiseConvolution"), _convolution),
    "ConvolutionDepthwise": _depthwise,
    "Deconvolution": _deconvolution,
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "LRN": _lrn,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Eltwise": _eltwise,
    **dict.fromkeys(("Concat", "Slice"), _copied),
    "Dropout": _dropout,
    "Power": _power,
    "LSTM": _recurrent,
    "Lstm": _fork_lstm,
    "LSTMUnit": _lstm_unit,
    "RNN": _recurrent,
}


@dataclass(frozen=True, kw_only=True)
class LayerWork:
    """The work of one layer in a forward pass.

    `macs` are the multiply-accumulates that the layer is defined by, `tile_macs` those that whole
    register tiles take, `accesses` element accesses outside the products' inner loop, `calls`
    entries of the layer and of BLAS, `pows` calls of powf. `moved_bytes` is the least traffic with
    memory: bottoms, parameters and tops, once each. `cost` has the parts that these sum up.
    """

    name: str
    type: str
    macs: int = 0
    tile_macs: int = 0
    accesses: float = 0.0
    calls: int = 0
    moved_bytes: int = 0
    pows: int = 0
    cost: LayerCost = NO_WORK
    largest_blob_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """The constants of cost_model.toml, in element accesses unless stated otherwise.

    `pow_instructions` are instructions of one powf, `instructions_per_access` of one access.
    """

    tile_rows: int
    tile_columns: int
    packed_element: float
    im2col_element: float
    window_element: float
    call: float
    exp: float
    pow: float
    random: float
    instructions_per_access: float
    pow_instructions: float


def count(network: Network, protocol: Protocol = "caffe-time") -> list[LayerWork]:
    """Return the work of each layer that `protocol` runs, in order.

    `caffe time` sets a network up in the training phase, where BatchNorm computes statistics and
    Dropout draws numbers.

    Raises:
        InvalidInputError: Caffe would reject the network in that phase.
    """
    training = protocol == "caffe-time"
    shapes = network.shapes_under(protocol)
    known = cost_model()
    counted = []
    for layer, bottoms, tops, weights in zip(
        shapes.layers, shapes.bottoms, shapes.tops, shapes.weights, strict=True
    ):
        context = LayerContext(layer, bottoms, tops, weights, training)
        counted.append(_work(context, layer_cost(context), known))
    return counted


def _work(context: LayerContext, cost: LayerCost, known: CostModel) -> LayerWork:
    name, kind = context.layer.name, context.layer.type
    if not cost.runs:
        return LayerWork(name=name, type=kind)
    tile_macs = packed = calls = 0
    for product in cost.products:
        tile_macs += product.times * _tiled(product, known)
        packed += product.times * (product.rows + product.columns) * product.depth
        calls += product.times
    accesses = (
        cost.accesses
        + known.packed_element * packed
        + known.im2col_element * cost.im2col
        + known.window_element * cost.windows
        + known.exp * cost.exps
        + known.pow * cost.pows
        + known.random * cost.randoms
    )
    return LayerWork(
        name=name,
        type=kind,
        macs=sum(product.macs for product in cost.products),
        tile_macs=tile_macs,
        accesses=accesses,
        calls=calls + cost.entries,
        moved_bytes=FLOAT_BYTES * (context.read + context.made + sum(map(prod, context.weights))),
        pows=cost.pows,
        cost=cost,
        largest_blob_bytes=FLOAT_BYTES
        * max(map(prod, (*context.bottoms, *context.tops)), default=0),
    )


def _tiled(product: Product, known: CostModel) -> int:
    """Return a product's multiply-accumulates with rows and columns rounded up to whole tiles."""
    rows = -(-product.rows // known.tile_rows) * known.tile_rows
    columns = -(-product.columns // known.tile_columns) * known.tile_columns
    return rows * columns * product.depth


@cache
def cost_model() -> CostModel:
    """Return the content of cost_model.toml."""
    file = resources.files(__package__) / "cost_model.toml"
    return CostModel(**tomllib.loads(file.read_text(encoding="utf-8")))


def counted_work(shaped: Sequence[LayerWork], counted: NetworkCounts) -> list[LayerWork]:
    """Return `shaped` with the counts filled in; fields that are not counted, such as names, stay.

    Raises:
        HostError: The counts lack misses, or are of another network.
    """
    known = {layer.name: layer.counts for layer in counted.layers if layer.type != "Split"}
    if not all(one.name in known for one in shaped):
        raise HostError(
            f"the counts of {counted.network} do not match the layers of the network",
            hint="remove the folder counts of the cache, and count again",
        )
    return [_with_counts(one, known[one.name]) if one.calls else one for one in shaped]


def _with_counts(shaped: LayerWork, counts: Counts) -> LayerWork:
    if counts.l1_misses is None or counts.l2_misses is None:
        raise HostError(
            "these counts were made without the cache model",
            hint="count with it: pibench count --cache-model",
        )
    known = cost_model()
    if shaped.macs:
        return replace(
            shaped,
            tile_macs=counts.macs + shaped.tile_macs - shaped.macs,
            accesses=float(NUMBERS_PER_LINE * counts.l2_misses),
        )
    moved = NUMBERS_PER_LINE * counts.l1_misses
    # The board's C library is older than the counted one and its powf slower: the board's is used.
    others = max(0.0, counts.instructions - known.pow_instructions * shaped.pows)
    executed = others / known.instructions_per_access + known.pow * shaped.pows
    return replace(shaped, accesses=moved + executed)
