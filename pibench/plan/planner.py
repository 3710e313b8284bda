"""Plan one network: its peak, the steps up to it, and the allocations at the peak.

The programs that are measured are replayed: `caffe time`, forward passes in pycaffe, and those of
other engines (`engines`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from pibench.devices import MIB
from pibench.display import Displayed
from pibench.engines.caffe import caffemodel
from pibench.errors import InvalidInputError
from pibench.plan import graph, layers, net, weights
from pibench.plan.malloc import Heap
from pibench.plan.openblas import PackingBuffers
from pibench.plan.process import Process, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.devices import Device
    from pibench.engines.base import Protocol
    from pibench.networks.network import Network
    from pibench.plan.environment import Environment, Program
    from pibench.plan.graph import Node


class Allocation(NamedTuple):
    """What one layer has allocated of one kind at the peak, in bytes."""

    layer: str
    kind: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan(Displayed):
    """The planned run of one network. Sizes in bytes; the peak is the process's RSS."""

    network: Network
    protocol: Protocol
    environment: Environment
    program: Program
    data_bytes: int | None
    """Caffe's own figure of the net that the protocol sets up, "Memory required for data".

    None for another engine.
    """
    process: Process
    """The process at its end."""
    device: Device | None = None
    """The device of the environment, where one was named: pictures show its memory."""

    def __repr__(self) -> str:
        peak, step = self.peak_rss_bytes / MIB, self.peak_step
        return (
            f"<{self.network.name}: planned peak {peak:.0f} MiB at {step.phase} {step.layer}, "
            f"{self.protocol}>"
        )

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
        sizes["", "program"] += self.program.program_bytes
        sizes["", "BLAS buffers"] += process.buffers_bytes
        by_size = sorted(sizes.items(), key=itemgetter(1), reverse=True)
        return [Allocation(layer, kind, size) for (layer, kind), size in by_size if size]


def plan(
    network: Network,
    *,
    protocol: Protocol,
    environment: Environment,
    backward: bool = True,
    most_bytes: float = math.inf,
) -> Plan:
    """Replay `protocol` with `network` in `environment`; without `backward`, no backward pass.

    With `most_bytes` the replay of a network that takes more ends there, and is an error.

    Raises:
        InvalidInputError: Caffe would abort on the network, or the environment's engine computes
            something else, or has no plan. TooMuchError: its peak is above `most_bytes`.
    """
    if not environment.is_caffe:
        return _other_engine(network, protocol, environment, most_bytes)
    program = environment.program(protocol)
    process = Process(
        program.program_bytes,
        Heap(
            largest_unmapped_bytes=max(
                program.largest_unmapped_bytes, environment.parameters.unmapped_bytes
            ),
        ),
        PackingBuffers(
            environment.kernel,
            environment.threads,
            environment.max_threads,
            job_table=environment.parameters.job_table,
        ),
        most_bytes,
    )
    proto = network.net
    definition_bytes = proto.ByteSize()
    shapes = network.shapes_under(protocol)
    nodes = graph.take(shapes, force_backward=proto.force_backward)
    if protocol == "caffe-time":
        _check(network, nodes, backward=backward)
        _caffe_time(process, nodes, definition_bytes, backward=backward)
        process.end(program.exit_bytes if environment.parameters.counts_exit else 0)
    else:
        _check(network, nodes, backward=False)
        # The network's name in the user's weights file, else in the seeded one.
        weights_name = caffemodel.seeded_name(proto.name, 0)
        _inference(process, nodes, definition_bytes, weights_name, program.loading_bytes)
    planned = Plan(
        network=network,
        protocol=protocol,
        environment=environment,
        program=program,
        data_bytes=graph.data_bytes(nodes),
        process=process,
    )
    graph.give_back(shapes, nodes)
    return planned


def moved(planned: Plan, environment: Environment) -> Plan:
    """Return the plan of the same run, of all of it, in another environment.

    Where nothing but the core differs, only what that changes is replayed.

    Raises:
        InvalidInputError: As for `plan`.
    """
    like = replace(environment, core=planned.environment.core)
    if not environment.is_caffe or like != planned.environment:
        return plan(planned.network, protocol=planned.protocol, environment=environment)
    process = planned.process.with_kernel(environment.kernel)
    return replace(planned, environment=environment, process=process)


def _other_engine(
    network: Network, protocol: Protocol, environment: Environment, most_bytes: float
) -> Plan:
    """Replay a forward pass of the environment's engine."""
    from pibench.plan import engines  # noqa: PLC0415  (start-up time)

    engine = engines.checked(network, protocol, environment)
    program = environment.program(protocol)
    heap = Heap(largest_unmapped_bytes=program.largest_unmapped_bytes)
    process = Process(program.program_bytes, heap, None, most_bytes)
    engines.replay(process, network, engine, environment.threads, program.loading_bytes)
    return Plan(
        network=network,
        protocol=protocol,
        environment=environment,
        program=program,
        data_bytes=None,
        process=process,
    )


def _caffe_time(
    process: Process, nodes: Sequence[Node], definition_bytes: int, *, backward: bool
) -> None:
    """Replay time() of tools/caffe.cpp: a pass of the Net, then one of each layer by itself.

    The Net's own backward pass skips layers that no loss needs. The second pass calls every layer:
    in a network without a loss only this fills the gradients of the weights.
    """
    made = _net(process, nodes, definition_bytes, training=True)
    _forward(process, made)
    if not backward:
        return
    flowing = [layer for layer in reversed(made) if layer.node.needs_backward]
    _backward(process, flowing)
    # Without gradients in between, a second pass finds the state that the first one left.
    _forward(process, made if flowing else _with_scratch(made))
    _backward(process, made[::-1])


def _inference(
    process: Process,
    nodes: Sequence[Node],
    definition_bytes: int,
    weights_name: str,
    loading_bytes: int,
) -> None:
    """Replay run_inference of the probe: weights, random inputs, several forward passes.

    `weights_name` is the network's name in the weights file, `loading_bytes` what the program
    touches from there on. It ends at once, and frees nothing.
    """
    made = _net(process, nodes, definition_bytes, training=False)
    process.touch(loading_bytes, "program")
    weights.load(process, nodes, weights_name)
    for layer in made:
        if layer.node.type == "Input":
            # Inputs are generated in pieces of negligible size.
            for top in layer.tops:
                process.read(top.data)
                process.write(top.data)
            process.end_step("inputs", layer.node.name)
    # Values are described in pieces of negligible size (pibench/probe/values.py).
    _forward(process, made)
    _forward(process, _with_scratch(made))


def _with_scratch(made: Sequence[layers.Layer]) -> list[layers.Layer]:
    """Return the layers that a second pass may give other memory than the first one."""
    return [layer for layer in made if layer.has_scratch]


def _forward(process: Process, made: Sequence[layers.Layer]) -> None:
    for layer in made:
        layer.forward()
        process.end_step("forward", layer.node.name)


def _backward(process: Process, made: Sequence[layers.Layer]) -> None:
    for layer in made:
        layer.backward()
        process.end_step("backward", layer.node.name)


def _net(
    process: Process, nodes: Sequence[Node], definition_bytes: int, *, training: bool
) -> list[layers.Layer]:
    """Set the net up, a step for each layer."""
    made: list[layers.Layer] = []
    for layer in net.set_up(process, nodes, definition_bytes, layers.make, training=training):
        made.append(layer)
        process.end_step("set-up", layer.node.name)
    return made


def _check(network: Network, nodes: Sequence[Node], *, backward: bool) -> None:
    for node in nodes:
        if reason := layers.refusal(node, backward=backward):
            hint = (
                "forward only: --protocol inference" if "backward" in reason else "use MAX or AVE"
            )
            raise InvalidInputError.at(network.place, f"layer '{node.name}'", reason, hint=hint)
