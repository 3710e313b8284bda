"""Model activations and dropout: most need nothing beyond their bottom and top."""

from __future__ import annotations

from pibench.plan.layers.base import Layer


class Dropout(Layer):
    """src/caffe/layers/dropout_layer.cpp: a mask of 4-byte integers when training."""

    def set_up(self) -> None:
        """Create the mask, which is allocated at its first use."""
        self.mask = self.own(self.bottoms[0].count)

    def forward(self) -> None:
        """Write the mask and the top; when testing, copy, or do nothing in place."""
        self.process.read(self.bottoms[0].data)
        self.process.read(self.tops[0].data)
        if self.training:
            self.process.write(self.mask)
        self.process.write(self.tops[0].data)


class Swish(Layer):
    """src/caffe/layers/swish_layer.cpp: input and output of its internal sigmoid."""

    def set_up(self) -> None:
        """Create two blobs of the bottom's size."""
        self.inner = [self.own(self.bottoms[0].count) for _ in range(2)]

    def forward(self) -> None:
        """Write both blobs, then the top."""
        self.process.read(self.bottoms[0].data)
        for memory in self.inner:
            self.process.write(memory)
        self.process.write(self.tops[0].data)


class ForwardOnly(Layer):
    """ArgMax and Threshold: their Backward_cpu aborts."""

    runs_backward = False
