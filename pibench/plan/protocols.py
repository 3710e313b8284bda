"""Replay the two programs that are measured: `caffe time` and forward passes in pycaffe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.plan import environment, layers, weights
from pibench.plan.process import Memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.plan.graph import Node
    from pibench.plan.process import Blob, Process

_FIRST_STRING_BYTES = 30
"""Size that libstdc++'s string first grows to; every further step doubles it."""


def caffe_time(process: Process, nodes: Sequence[Node], definition_bytes: int) -> None:
    """Replay time() of tools/caffe.cpp: a pass of the Net, then one of each layer by itself.

    The Net's own backward pass skips layers that no loss needs. The second pass calls every layer:
    in a network without a loss only this fills the gradients of the weights.
    """
    net = _net(process, nodes, definition_bytes, training=True)
    _forward(process, net)
    flowing = [layer for layer in reversed(net) if layer.node.needs_backward]
    for layer in flowing:
        layer.backward()
        process.end_step("backward", layer.node.name)
    if flowing:
        # Without gradients in between, a second pass finds the state that the first one left.
        _forward(process, net)
    for layer in reversed(net):
        layer.backward()
        process.end_step("backward", layer.node.name)


def inference(
    process: Process, nodes: Sequence[Node], definition_bytes: int, weights_name: str
) -> None:
    """Replay run_inference of the probe: weights, random inputs, forward passes.

    `weights_name` is the network's name in the weights file.
    """
    net = _net(process, nodes, definition_bytes, training=False)
    weights.load(process, nodes, weights_name)
    for layer in net:
        if layer.node.type == "Input":
            _fill_inputs(process, layer)
    # Values are described in pieces of negligible size (pibench/probe/values.py).
    _forward(process, net)


def _forward(process: Process, net: Sequence[layers.Layer]) -> None:
    for layer in net:
        layer.forward()
        process.end_step("forward", layer.node.name)


def _net(
    process: Process, nodes: Sequence[Node], definition_bytes: int, *, training: bool
) -> list[layers.Layer]:
    """Replay Net::Init: the definition is logged, layers are set up, shared parameters joined."""
    _log_definition(process, definition_bytes)
    objects_bytes = environment.layer_object_bytes()
    net: list[layers.Layer] = []
    for node in nodes:
        process.write(Memory(objects_bytes, node.name, "small objects"))
        net.append(layers.make(node, process, training=training))
        for blob, loss in zip(node.tops, node.losses, strict=True):
            if loss:
                # Layer::SetLossWeights
                process.write(blob.diff)
        process.end_step("set-up", node.name)
    _share_parameters(process, nodes)
    return net


def _log_definition(process: Process, definition_bytes: int) -> None:
    """Replay DebugString of the whole net: a string that grows, and is dropped."""
    heap = process.heap
    text_bytes = int(definition_bytes * environment.text_per_byte())
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
        for blob, spec in zip(node.params, node.proto.param, strict=False):
            owner = owners.setdefault(spec.name, blob) if spec.name else blob
            if owner is not blob:
                process.free(blob.data)
                blob.data, blob.diff = owner.data, owner.diff


def _fill_inputs(process: Process, layer: layers.Layer) -> None:
    """Fill the inputs, which are generated in pieces of negligible size."""
    for top in layer.tops:
        process.read(top.data)
        process.write(top.data)
    process.end_step("inputs", layer.node.name)
