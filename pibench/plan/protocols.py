"""The two programs that are measured, replayed: `caffe time` and forward passes in pycaffe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.plan import layers, weights
from pibench.plan.process import Memory, Process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.plan.graph import Node

_FIRST_STRING_BYTES = 30


def caffe_time(process: Process, nodes: Sequence[Node], text_bytes: int, per_layer: int) -> None:
    set_up = _net(process, nodes, text_bytes, per_layer, training=True)
    for layer in set_up:
        layer.forward()
        process.end_step("forward", layer.node.name)
    for layer in reversed(set_up):
        if layer.node.needs_backward:
            layer.backward()
            process.end_step("backward", layer.node.name)
    for layer in set_up:
        layer.forward()
    for layer in reversed(set_up):
        layer.backward()
        process.end_step("backward", layer.node.name)


def _net(process: Process, nodes: Sequence[Node], text_bytes: int, per_layer: int, *, training: bool) -> list[layers.Layer]:
    _describe(process, text_bytes)
    made = []
    for node in nodes:
        objects = Memory(per_layer, node.name, "objects")
        process.write(objects)
        layer = layers.make(node, process, training=training)
        made.append(layer)
        for blob, loss in zip(node.tops, node.losses, strict=True):
            if loss:
                process.write(blob.diff)
        process.end_step("set-up", node.name)
    _share(process, nodes)
    return made


def _describe(process: Process, text_bytes: int) -> None:
    heap = process.heap
    size = _FIRST_STRING_BYTES
    last = None
    while size < text_bytes:
        size *= 2
        block = heap.malloc(size + 1)
        heap.write_start(block, min(size, text_bytes))
        if last is not None:
            heap.free(last)
        last = block
    if last is not None:
        heap.free(last)


def _share(process: Process, nodes: Sequence[Node]) -> None:
    owners = {}
    for node in nodes:
        for index, blob in enumerate(node.params):
            name = node.proto.param[index].name if index < len(node.proto.param) else ""
            if not name:
                continue
            owner = owners.setdefault(name, blob)
            if owner is not blob:
                process.free(blob.data)
                blob.data, blob.diff = owner.data, owner.diff


def inference(process: Process, nodes: Sequence[Node], text_bytes: int, per_layer: int, file_name: str) -> None:
    set_up = _net(process, nodes, text_bytes, per_layer, training=False)
    weights.load(process, nodes, file_name)
    for layer in set_up:
        if layer.node.type == "Input":
            for top in layer.tops:
                process.read(top.data)
                numbers = process.scratch(2 * top.count, "input")
                process.write(top.data)
                process.free(numbers)
    process.end_step("input", "")
    for layer in set_up:
        layer.forward()
        process.end_step("forward", layer.node.name)
    read = {id(blob) for node in nodes for blob in node.bottoms}
    for node in nodes:
        for blob in node.tops:
            if id(blob) not in read:
                values = process.scratch(blob.count, "outputs")
                doubles = process.scratch(2 * blob.count, "outputs")
                process.free(values)
                raw = process.scratch(blob.count, "outputs")
                process.free(raw)
                process.free(doubles)
    process.end_step("outputs", "")
