"""Plan one network: its peak, the steps up to it, and the allocations at the peak.

The two programs that are measured are replayed: `caffe time`, and forward passes in pycaffe.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from pibench.engines.caffe import caffemodel
from pibench.errors import InvalidInputError
from pibench.plan import environment as environments
from pibench.plan import graph, layers, weights
from pibench.plan.malloc import Heap
from pibench.plan.openblas import PackingBuffers
from pibench.plan.process import Memory, Process, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.networks.network import Network
    from pibench.plan.environment import Environment, Program
    from pibench.plan.graph import Node
    from pibench.plan.process import Blob
    from pibench.records.schema import Protocol


_FIRST_STRING_BYTES = 30
"""Size that libstdc++'s string first grows to; every further step doubles it."""


class Allocation(NamedTuple):
    """What one layer has allocated of one kind at the peak, in bytes."""

    layer: str
    kind: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The planned run of one network. Sizes in bytes; the peak is the process's RSS."""

    network: Network
    protocol: Protocol
    environment: Environment
    program: Program
    process: Process
    """The process at its end."""

    @property
    def peak_rss_bytes(self) -> int:
        """Return the most that was resident at any time."""
        return self.process.peak_bytes

    @property
    def baseline_rss_bytes(self) -> int:
        """Return the peak of the program with no network."""
        return self.program.baseline_bytes

    @property
    def band_bytes(self) -> int:
        """Return half the width of the band around the peak that contains the measured peak.

        It is the largest error of the model that was observed, as a fraction of the peak.
        """
        return int(self.program.worst_error * self.peak_rss_bytes)

    @property
    def steps(self) -> Sequence[Step]:
        """Return the steps of the program in order."""
        return self.process.steps

    @property
    def peak_step(self) -> Step:
        """Return the step that has the peak."""
        return self.process.steps[self.process.peak_step]

    @cached_property
    def allocations(self) -> Sequence[Allocation]:
        """Return what is resident at the peak by layer and kind, largest first."""
        sizes: dict[tuple[str, str], int] = defaultdict(int)
        process, peak = self.process, self.process.peak_step
        for memory in process.memories:
            block = memory.block
            if block is not None and memory.born <= peak <= memory.died:
                size = block.chunk_bytes if block.is_written else block.resident_bytes
                sizes[memory.layer, memory.kind] += size
        sizes["", "program"] += process.program_bytes
        sizes["", "BLAS buffers"] += process.blas.resident_bytes
        found = [Allocation(layer, kind, size) for (layer, kind), size in sizes.items() if size]
        return sorted(found, key=lambda allocation: -allocation.size_bytes)


def plan(
    network: Network, *, protocol: Protocol, environment: Environment, backward: bool = True
) -> Plan:
    """Replay `protocol` with `network` in `environment`; without `backward`, no backward pass.

    Raises:
        InvalidInputError: Caffe would abort on the network.
    """
    program = environment.program(protocol)
    process = Process(
        program.program_bytes,
        Heap(largest_unmapped_bytes=program.largest_unmapped_bytes),
        PackingBuffers(environment.kernel, environment.threads, environment.max_threads),
    )
    net = network.net
    definition_bytes = net.ByteSize()
    if protocol == "caffe-time":
        nodes = graph.build(network.shapes_under(protocol), force_backward=net.force_backward)
        _check(network, nodes, backward=backward)
        _caffe_time(process, nodes, definition_bytes, backward=backward)
    else:
        nodes = graph.build(network.shapes_under(protocol), force_backward=net.force_backward)
        _check(network, nodes, backward=False)
        # The network's name in the user's weights file, else in the seeded one.
        weights_name = caffemodel.seeded_name(net.name, 0)
        _inference(process, nodes, definition_bytes, weights_name)
    process.end(program.exit_bytes)
    return Plan(
        network=network,
        protocol=protocol,
        environment=environment,
        program=program,
        process=process,
    )


def _caffe_time(
    process: Process, nodes: Sequence[Node], definition_bytes: int, *, backward: bool
) -> None:
    """Replay time() of tools/caffe.cpp: a pass of the Net, then one of each layer by itself.

    The Net's own backward pass skips layers that no loss needs. The second pass calls every layer:
    in a network without a loss only this fills the gradients of the weights.
    """
    net = _net(process, nodes, definition_bytes, training=True)
    _forward(process, net)
    if not backward:
        return
    flowing = [layer for layer in reversed(net) if layer.node.needs_backward]
    _backward(process, flowing)
    if flowing:
        # Without gradients in between, a second pass finds the state that the first one left.
        _forward(process, net)
    _backward(process, net[::-1])


def _inference(
    process: Process, nodes: Sequence[Node], definition_bytes: int, weights_name: str
) -> None:
    """Replay run_inference of the probe: weights, random inputs, forward passes.

    `weights_name` is the network's name in the weights file.
    """
    net = _net(process, nodes, definition_bytes, training=False)
    weights.load(process, nodes, weights_name)
    for layer in net:
        if layer.node.type == "Input":
            # Inputs are generated in pieces of negligible size.
            for top in layer.tops:
                process.read(top.data)
                process.write(top.data)
            process.end_step("inputs", layer.node.name)
    # Values are described in pieces of negligible size (pibench/probe/values.py).
    _forward(process, net)


def _forward(process: Process, net: Sequence[layers.Layer]) -> None:
    for layer in net:
        layer.forward()
        process.end_step("forward", layer.node.name)


def _backward(process: Process, net: Sequence[layers.Layer]) -> None:
    for layer in net:
        layer.backward()
        process.end_step("backward", layer.node.name)


def _net(
    process: Process, nodes: Sequence[Node], definition_bytes: int, *, training: bool
) -> list[layers.Layer]:
    """Replay Net::Init: the definition is logged, layers are set up, shared parameters joined."""
    _log_definition(process, definition_bytes)
    objects_bytes = environments.layer_object_bytes()
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


def _check(network: Network, nodes: Sequence[Node], *, backward: bool) -> None:
    for node in nodes:
        if reason := layers.refusal(node, backward=backward):
            hint = (
                "forward only: --protocol inference" if "backward" in reason else "use MAX or AVE"
            )
            place = network.source if network.entry is None else network.name
            raise InvalidInputError.at(place, f"layer '{node.name}'", reason, hint=hint)
