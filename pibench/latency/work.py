"""Count the work of a forward pass, layer by layer, from shapes.

Follows the Forward_cpu functions of Caffe 1.0 (src/caffe/layers/) and OpenBLAS's handling of their
matrix products. Counts are exact where the code is a loop over elements; `cost_model.toml` gives
the cost of each part and its source.

`counted_work` replaces this work by the counts of real Caffe. The board's time has the same two
kinds of work. Multiply-accumulates are the counted ones, plus those that fill up register tiles;
the latter follow the BLAS of the board's years and not the counted one. Accesses come from the
cache model. Outside products every line that L1 missed is 16 numbers moved, and plain instructions
take their time; in products, which work out of L2, only lines that L2 missed count.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from math import prod
from typing import TYPE_CHECKING, Final

from pibench.errors import HostError
from pibench.latency import layers
from pibench.latency.layers import FLOAT_BYTES, LayerCost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.counting import Counts, NetworkCounts
    from pibench.engines.caffe.shapes import Shape
    from pibench.networks.network import Network
    from pibench.records.schema import Protocol

NUMBERS_PER_LINE: Final = 16
"""Single-precision numbers in a cache line of 64 bytes."""


@dataclass(frozen=True, kw_only=True)
class LayerWork:
    """The work of one layer in a forward pass.

    `macs` are the multiply-accumulates that the layer is defined by, `tile_macs` those that whole
    register tiles take, `accesses` element accesses outside the products' inner loop, `calls`
    entries of the layer and of BLAS, `pows` calls of powf. `moved_bytes` is the least traffic with
    memory: bottoms, parameters and tops, once each.
    """

    name: str
    type: str
    macs: int
    tile_macs: int
    accesses: float
    calls: int
    moved_bytes: int
    pows: int = 0


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
    shapes = network.training_shapes if training else network.shapes
    known = cost_model()
    counted = []
    for layer, bottoms, tops, weights in zip(
        shapes.layers, shapes.bottoms, shapes.tops, shapes.weights, strict=True
    ):
        cost = layers.layer_cost(
            layers.LayerContext(
                layer=layer, bottoms=bottoms, tops=tops, weights=weights, training=training
            )
        )
        counted.append(_work(layer.name, layer.type, cost, known, (*bottoms, *tops, *weights)))
    return counted


def _work(
    name: str, kind: str, cost: LayerCost, known: CostModel, blobs: tuple[Shape, ...]
) -> LayerWork:
    tile_macs = packed = calls = 0
    for product in cost.products:
        tile_macs += product.times * _tiled(product, known)
        packed += product.times * (product.rows + product.columns) * product.depth
        calls += product.times
    if not cost.runs:
        return LayerWork(
            name=name, type=kind, macs=0, tile_macs=0, accesses=0.0, calls=0, moved_bytes=0
        )
    accesses = (
        cost.passes
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
        calls=calls + 1,
        moved_bytes=FLOAT_BYTES * sum(prod(shape) for shape in blobs),
        pows=cost.pows,
    )


def _tiled(product: layers.Product, known: CostModel) -> int:
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
