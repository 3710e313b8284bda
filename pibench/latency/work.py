"""Count the work of a forward pass, layer by layer, from shapes.

Follows the Forward_cpu functions of Caffe 1.0 (src/caffe/layers/) and OpenBLAS's handling of their
matrix products. Counts are exact where the code is a loop over elements; `steps.toml` gives the
cost of each part and its source.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import prod
from typing import TYPE_CHECKING

from pibench.latency import layers
from pibench.latency.layers import FLOAT_BYTES, Effort

if TYPE_CHECKING:
    from pibench.engines.caffe.shapes import Shape
    from pibench.networks.network import Network
    from pibench.records.schema import Protocol


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
class Steps:
    """The constants of steps.toml, in element accesses unless stated otherwise.

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
    known = steps()
    counted = []
    for layer, bottoms, tops, weights in zip(
        shapes.layers, shapes.bottoms, shapes.tops, shapes.weights, strict=True
    ):
        effort = layers.effort(
            layers.Site(layer=layer, bottoms=bottoms, tops=tops, weights=weights, training=training)
        )
        counted.append(_work(layer.name, layer.type, effort, known, (*bottoms, *tops, *weights)))
    return counted


def _work(
    name: str, kind: str, effort: Effort, known: Steps, blobs: tuple[Shape, ...]
) -> LayerWork:
    tile_macs = packed = calls = 0
    for product in effort.products:
        tile_macs += product.times * _tiled(product, known)
        packed += product.times * (product.rows + product.columns) * product.depth
        calls += product.times
    if not effort.runs:
        return LayerWork(
            name=name, type=kind, macs=0, tile_macs=0, accesses=0.0, calls=0, moved_bytes=0
        )
    accesses = (
        effort.passes
        + known.packed_element * packed
        + known.im2col_element * effort.im2col
        + known.window_element * effort.windows
        + known.exp * effort.exps
        + known.pow * effort.pows
        + known.random * effort.randoms
    )
    return LayerWork(
        name=name,
        type=kind,
        macs=sum(product.macs for product in effort.products),
        tile_macs=tile_macs,
        accesses=accesses,
        calls=calls + 1,
        moved_bytes=FLOAT_BYTES * sum(prod(shape) for shape in blobs),
        pows=effort.pows,
    )


def _tiled(product: layers.Product, known: Steps) -> int:
    """Return a product's multiply-accumulates with rows and columns rounded up to whole tiles."""
    rows = -(-product.rows // known.tile_rows) * known.tile_rows
    columns = -(-product.columns // known.tile_columns) * known.tile_columns
    return rows * columns * product.depth


@cache
def steps() -> Steps:
    """Return the content of steps.toml."""
    file = resources.files(__package__) / "steps.toml"
    return Steps(**tomllib.loads(file.read_text(encoding="utf-8")))
