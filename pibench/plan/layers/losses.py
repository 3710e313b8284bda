"""Model losses and accuracy."""

from __future__ import annotations

import math

from pibench.plan.layers.base import Layer
from pibench.plan.process import Blob


class Loss(Layer):
    """A loss without buffers: it reads its bottoms and writes a number."""

    def forward(self) -> None:
        """Read all bottoms."""
        for blob in self.bottoms:
            self.process.read(blob.data)
        self.process.write(self.tops[0].data)

    def backward(self) -> None:
        """Write the gradient of the scores."""
        if self.node.propagate[0]:
            self.process.write(self.bottoms[0].diff)


class SoftmaxWithLoss(Loss):
    """src/caffe/layers/softmax_loss_layer.cpp, infogain_loss_layer.cpp: probabilities."""

    def set_up(self) -> None:
        """Create the inner softmax and its output."""
        shape = self.bottoms[0].shape
        axis = self.axis() % len(shape)
        self.probabilities = Blob("", shape, self.node.name, "layer buffer")
        self.multiplier = self.ones(shape[axis])
        self.inner = math.prod(shape[axis + 1 :])
        self.classes = shape[axis]
        self.scale = self.own(math.prod(shape[:axis]) * self.inner)

    def axis(self) -> int:
        """Return the axis of the classes."""
        return int(self.node.proto.softmax_param.axis)

    def forward(self) -> None:
        """Compute the probabilities; a second top shares them."""
        process = self.process
        process.read(self.bottoms[0].data)
        process.write(self.probabilities.data)
        process.write(self.scale)
        process.product(self.classes, self.inner, 1)
        super().forward()
        if len(self.tops) > 1:
            self.tops[1].data = self.probabilities.data


class InfogainLoss(SoftmaxWithLoss):
    """The layer's own parameter sets the axis of the classes."""

    def axis(self) -> int:
        """Return the axis of the classes."""
        return int(self.node.proto.infogain_loss_param.axis)


class SigmoidCrossEntropyLoss(Loss):
    """src/caffe/layers/sigmoid_cross_entropy_loss_layer.cpp: the sigmoid's output."""

    def set_up(self) -> None:
        """Create a blob of the scores' size."""
        self.sigmoid = self.own(self.bottoms[0].count)

    def forward(self) -> None:
        """Run the sigmoid first."""
        self.process.read(self.bottoms[0].data)
        self.process.write(self.sigmoid)
        super().forward()
        if len(self.tops) > 1:
            self.process.write(self.tops[1].data)


class EuclideanLoss(Loss):
    """src/caffe/layers/euclidean_loss_layer.cpp: the difference; gradients for both bottoms."""

    def set_up(self) -> None:
        """Create a blob of the bottoms' size."""
        self.difference = self.own(self.bottoms[0].count)

    def forward(self) -> None:
        """Subtract."""
        for blob in self.bottoms:
            self.process.read(blob.data)
        self.process.write(self.difference)
        super().forward()

    def backward(self) -> None:
        """Write the gradient of each bottom that needs one."""
        for blob, asked in zip(self.bottoms, self.node.propagate, strict=True):
            if asked:
                self.process.write(blob.diff)


class HingeLoss(Loss):
    """src/caffe/layers/hinge_loss_layer.cpp: forward uses the scores' gradient as scratch."""

    def forward(self) -> None:
        """Write the gradient's buffer."""
        self.process.read(self.bottoms[0].data)
        self.process.write(self.bottoms[0].diff)
        super().forward()


class ContrastiveLoss(Loss):
    """src/caffe/layers/contrastive_loss_layer.cpp: the difference and its square."""

    def set_up(self) -> None:
        """Create two blobs of the bottoms' size, and vectors per image and per channel."""
        count = self.bottoms[0].count
        self.difference, self.square = self.own(count), self.own(count)
        self.distances = self.own(self.bottoms[0].shape[0])
        self.multiplier = self.ones(math.prod(self.bottoms[0].shape[1:2]))

    def forward(self) -> None:
        """Write the difference; only the GPU's code writes its square."""
        for blob in self.bottoms:
            self.process.read(blob.data)
        self.process.write(self.difference)
        self.process.write(self.distances)
        super().forward()

    def backward(self) -> None:
        """Write the gradients of the two bottoms that are compared."""
        for blob, asked in zip(self.bottoms[:2], self.node.propagate, strict=False):
            if asked:
                self.process.write(blob.diff)


class Accuracy(Layer):
    """src/caffe/layers/accuracy_layer.cpp: the backward pass writes nothing.

    It aborts if a bottom needs a gradient.
    """

    def backward(self) -> None:
        """Do nothing."""
