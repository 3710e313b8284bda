"""Plan one network: its peak, the steps up to it, and the allocations at the peak."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pibench.engines.caffe import caffemodel
from pibench.errors import InvalidInputError
from pibench.plan import graph, layers, protocols
from pibench.plan.malloc import Heap
from pibench.plan.openblas import PackingBuffers
from pibench.plan.process import Process, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.networks.network import Network
    from pibench.plan.environment import Environment
    from pibench.records.schema import Protocol


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one layer has allocated of one kind at the peak, in bytes."""

    layer: str
    kind: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The planned run of one network. Sizes in bytes; the peak is the process's RSS.

    `error_share` is the largest error of the model that was observed, as a fraction of the peak.
    `steps` are in order, and `peak_step` is one of them. `allocations` are sorted, largest first.
    """

    network: Network
    protocol: Protocol
    environment: Environment
    peak_rss_bytes: int
    baseline_rss_bytes: int
    error_share: float
    steps: Sequence[Step]
    peak_step: Step
    allocations: Sequence[Allocation]

    @property
    def band_bytes(self) -> int:
        """Return half the width of the band around the peak that contains the measured peak."""
        return int(self.error_share * self.peak_rss_bytes)


def plan(network: Network, *, protocol: Protocol, environment: Environment) -> Plan:
    """Replay `protocol` with `network` in `environment`.

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
        nodes = graph.build(network.training_shapes, force_backward=net.force_backward)
        _check(network, nodes, backward=True)
        protocols.caffe_time(process, nodes, definition_bytes)
    else:
        nodes = graph.build(network.shapes, force_backward=net.force_backward)
        _check(network, nodes, backward=False)
        protocols.inference(process, nodes, definition_bytes, _weights_name(network))
    process.end(program.exit_bytes)
    return Plan(
        network=network,
        protocol=protocol,
        environment=environment,
        peak_rss_bytes=process.peak_bytes,
        baseline_rss_bytes=program.baseline_bytes,
        error_share=program.worst_error,
        steps=process.steps,
        peak_step=process.steps[process.peak_step],
        allocations=_allocations(process),
    )


def _weights_name(network: Network) -> str:
    """Return the network's name in the user's weights file, else in the seeded one."""
    return caffemodel.seeded_name(network.net.name, 0)


def _check(network: Network, nodes: Sequence[graph.Node], *, backward: bool) -> None:
    for node in nodes:
        if reason := layers.refusal(node, backward=backward):
            hint = (
                "forward only: --protocol inference" if "backward" in reason else "use MAX or AVE"
            )
            place = network.source if network.entry is None else network.name
            raise InvalidInputError.at(place, f"layer '{node.name}'", reason, hint=hint)


def _allocations(process: Process) -> list[Allocation]:
    """Return the resident bytes at the peak by layer and kind; program and BLAS too."""
    sizes: dict[tuple[str, str], int] = defaultdict(int)
    peak = process.peak_step
    for memory in process.memories:
        if memory.born <= peak and (memory.died is None or memory.died >= peak):
            block = memory.block
            if block is not None:
                size = block.chunk_bytes if block.is_written else block.resident_bytes
                sizes[memory.layer, memory.kind] += size
    sizes["", "program"] += process.program_bytes
    sizes["", "BLAS buffers"] += process.blas.resident_bytes
    found = [Allocation(layer, kind, size) for (layer, kind), size in sizes.items() if size]
    return sorted(found, key=lambda allocation: -allocation.size_bytes)
