"""Replay what Caffe's Net does as it starts: log its definition, set up layers, share parameters.

A recurrent layer has such a net of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.plan import environment as environments
from pibench.plan.process import UNROLLED_OBJECTS, Memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pibench.plan.graph import Node
    from pibench.plan.layers.base import Layer, Maker
    from pibench.plan.process import Blob, Process

_FIRST_STRING_BYTES = 30
"""Size that libstdc++'s string first grows to; every further step doubles it."""


def set_up(
    process: Process,
    nodes: Sequence[Node],
    definition_bytes: int,
    make: Maker,
    *,
    training: bool,
    unrolled: bool = False,
) -> Iterator[Layer]:
    """Replay Net::Init, and yield each layer once it is set up.

    `make` sets a layer up. `unrolled` is whether the net is inside a recurrent layer.
    """
    _log_definition(process, definition_bytes)
    objects_bytes = environments.layer_object_bytes(unrolled=unrolled)
    objects = UNROLLED_OBJECTS if unrolled else "small objects"
    for node in nodes:
        process.write(Memory(objects_bytes, node.name, objects))
        layer = make(node, process, training=training)
        for blob, loss in zip(node.tops, node.losses, strict=True):
            if loss:
                # Layer::SetLossWeights
                process.write(blob.diff)
        yield layer
    _share_parameters(process, nodes)


def _log_definition(process: Process, definition_bytes: int) -> None:
    """Replay DebugString of the whole net: a string that grows, and is dropped."""
    heap = process.heap
    text_bytes = int(definition_bytes * environments.text_per_byte())
    size = _FIRST_STRING_BYTES
    string = heap.malloc(size + 1)
    while size < text_bytes:
        size *= 2
        longer = heap.malloc(size + 1)
        heap.write_start(longer, min(size, text_bytes))
        heap.free(string)
        string = longer
    heap.free(string)


def _share_parameters(process: Process, nodes: Sequence[Node]) -> None:
    """Replay Net::ShareWeights: parameters with one name become one, the others are freed."""
    owners: dict[str, Blob] = {}
    for node in nodes:
        if not node.params:
            continue
        for blob, spec in zip(node.params, node.proto.param, strict=False):
            owner = owners.setdefault(spec.name, blob) if spec.name else blob
            if owner is not blob:
                process.free(blob.data)
                blob.data, blob.diff = owner.data, owner.diff
