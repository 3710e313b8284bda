"""Model the memory accesses of a layer in set-up, forward and backward; layer types refine it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.plan.process import FLOAT_BYTES, Memory

if TYPE_CHECKING:
    from pibench.plan.graph import Node
    from pibench.plan.process import Process


class Layer:
    """A layer that computes its tops from its bottoms and has no buffers.

    `forward` and `backward` replay the accesses of Forward_cpu and Backward_cpu in the order of
    Caffe's source: `process.write` where all of a buffer is written, `process.read` where it is
    only read, which allocates it too.
    """

    runs_backward = True
    """False for layers whose Backward_cpu aborts (NOT_IMPLEMENTED)."""

    def __init__(self, node: Node, process: Process, *, training: bool) -> None:
        self.node = node
        self.process = process
        self.training = training
        self.bottoms = node.bottoms
        self.tops = node.tops
        self.params = node.params
        self.set_up()

    def own(self, count: int, kind: str = "layer buffer") -> Memory:
        """Create a buffer of `count` floats that belongs to the layer."""
        return Memory(FLOAT_BYTES * count, self.node.name, kind)

    def ones(self, count: int) -> Memory:
        """Create and write a vector of ones: a multiplier that sums by matrix product."""
        memory = self.own(count)
        self.process.write(memory)
        return memory

    def fill_params(self) -> None:
        """Write every parameter, as its filler does."""
        for blob in self.params:
            self.process.write(blob.data)

    def set_up(self) -> None:
        """Replay LayerSetUp and the first Reshape."""
        self.fill_params()

    def forward(self) -> None:
        """Replay Reshape and Forward_cpu: read every bottom, write every top."""
        for blob in self.bottoms:
            self.process.read(blob.data)
        for blob in self.tops:
            self.process.write(blob.data)

    def backward(self) -> None:
        """Replay Backward_cpu of most layers: nothing unless the bottom needs a gradient."""
        process = self.process
        if not self.node.propagate or not self.node.propagate[0]:
            return
        for blob in self.tops:
            process.read(blob.diff)
        process.write(self.bottoms[0].diff)
