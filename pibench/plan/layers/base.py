"""Model the memory accesses of a layer in set-up, forward and backward; layer types refine it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pibench.plan.process import FLOAT_BYTES, Memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.plan.graph import Node
    from pibench.plan.process import Blob, Process


class Maker(Protocol):
    """Sets up the layer of a node, of whichever type it is."""

    def __call__(self, node: Node, process: Process, *, training: bool) -> Layer:
        """Return the layer, set up in `process`."""


class Layer:
    """A layer that computes its tops from its bottoms and has no buffers.

    `forward` and `backward` replay the accesses of Forward_cpu and Backward_cpu in the order of
    Caffe's source: `process.write` where all of a buffer is written, `process.read` where it is
    only read, which allocates it too.
    """

    runs_backward = True
    """False for layers whose Backward_cpu aborts (NOT_IMPLEMENTED)."""
    has_scratch = False
    """Whether memory of a pass is freed at its end.

    malloc maps the first one, and has later ones of that size in the heap.
    """
    no_gradient_to: int | None = None
    """The bottom whose gradient Backward_cpu aborts on, where it is needed."""

    def __init__(self, node: Node, process: Process, make: Maker, *, training: bool) -> None:
        self.node = node
        self.process = process
        # Only a layer with a net of its own makes others.
        self.make = make
        self.training = training
        self.bottoms = node.bottoms
        self.tops = node.tops
        self.params = node.params
        self.in_place = self.bottoms[:1] == self.tops[:1]
        self.set_up()

    def own(self, count: int, kind: str = "layer buffer") -> Memory:
        """Create a buffer of `count` floats that belongs to the layer."""
        return Memory(FLOAT_BYTES * count, self.node.name, kind)

    def written(self, count: int, kind: str = "layer buffer") -> Memory:
        """Create and write a buffer, such as a vector of ones that sums by matrix product."""
        memory = self.own(count, kind)
        self.process.write(memory)
        return memory

    def fill_params(self) -> None:
        """Write every parameter, as its filler does."""
        for blob in self.params:
            self.process.write(blob.data)

    def read_bottoms(self) -> None:
        """Read the data of every bottom."""
        for blob in self.bottoms:
            self.process.read(blob.data)

    def write_gradients(self, bottoms: Sequence[Blob] | None = None) -> None:
        """Write the gradient of each of `bottoms` (default: of all) that needs one."""
        for blob, needed in zip(bottoms or self.bottoms, self.node.propagate, strict=False):
            if needed:
                self.process.write(blob.diff)

    def set_up(self) -> None:
        """Replay LayerSetUp and the first Reshape."""
        self.fill_params()

    def forward(self) -> None:
        """Replay Reshape and Forward_cpu: read every bottom, write every top."""
        self.read_bottoms()
        for blob in self.tops:
            self.process.write(blob.data)

    def backward(self) -> None:
        """Replay Backward_cpu of most layers: nothing unless the bottom needs a gradient."""
        if not self.node.propagate or not self.node.propagate[0]:
            return
        for blob in self.tops:
            self.process.read(blob.diff)
        self.process.write(self.bottoms[0].diff)

    def always_backward(self) -> None:
        """Replay a Backward_cpu that writes the bottom's gradient, needed or not."""
        self.process.read(self.tops[0].diff)
        self.process.write(self.bottoms[0].diff)


class ForwardOnly(Layer):
    """ArgMax and Threshold: their Backward_cpu aborts."""

    runs_backward = False


class Dropout(Layer):
    """src/caffe/layers/dropout_layer.cpp: a mask of 4-byte integers when training."""

    def set_up(self) -> None:
        self.mask = self.own(self.bottoms[0].count)

    def forward(self) -> None:
        """Write the mask and the top; when testing, copy, or do nothing in place."""
        self.process.read(self.bottoms[0].data)
        self.process.read(self.tops[0].data)
        if self.training:
            self.process.write(self.mask)
        self.process.write(self.tops[0].data)


class Composite(Layer):
    """A layer of inner layers, whose blobs are written in both directions."""

    inner: Sequence[Memory] = ()
    inner_diffs: Sequence[Memory] = ()

    def forward(self) -> None:
        """Write the inner blobs between bottom and top."""
        self.process.read(self.bottoms[0].data)
        for memory in self.inner:
            self.process.write(memory)
        self.process.write(self.tops[0].data)

    def backward(self) -> None:
        """Write the gradients of all inner blobs, only if the bottom needs one."""
        if not self.node.propagate[0]:
            return
        self.process.read(self.tops[0].diff)
        for memory in self.inner_diffs:
            self.process.write(memory)
        self.process.write(self.bottoms[0].diff)


class Swish(Composite):
    """src/caffe/layers/swish_layer.cpp: input and output of its internal sigmoid."""

    def set_up(self) -> None:
        self.inner = [self.own(self.bottoms[0].count) for _ in range(2)]
