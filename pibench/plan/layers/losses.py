"""Model losses and accuracy."""

from __future__ import annotations

from math import prod

from pibench.plan.layers.base import Layer
from pibench.plan.layers.normalisation import Softmax


class Loss(Layer):
    """A loss without buffers: it reads its bottoms and writes a number."""

    def forward(self) -> None:
        self.read_bottoms()
        self.process.write(self.tops[0].data)

    def backward(self) -> None:
        """Write the gradient of the scores."""
        self.write_gradients(self.bottoms[:1])


class SoftmaxWithLoss(Softmax):
    """src/caffe/layers/softmax_loss_layer.cpp: the inner softmax's probabilities."""

    def set_up(self) -> None:
        super().set_up()
        self.probabilities = self.own(self.bottoms[0].count)

    def forward(self) -> None:
        """Compute the probabilities; a second top shares them."""
        self.normalise(self.probabilities)
        self.read_bottoms()
        self.process.write(self.tops[0].data)
        if len(self.tops) > 1:
            self.tops[1].data = self.probabilities

    def backward(self) -> None:
        """Write the gradient of the scores."""
        self.write_gradients(self.bottoms[:1])


class InfogainLoss(SoftmaxWithLoss):
    """src/caffe/layers/infogain_loss_layer.cpp: the layer's own parameter sets the axis."""

    def axis(self) -> int:
        return int(self.node.proto.infogain_loss_param.axis)


class SigmoidCrossEntropyLoss(Loss):
    """src/caffe/layers/sigmoid_cross_entropy_loss_layer.cpp: the sigmoid's output."""

    def set_up(self) -> None:
        self.sigmoid = self.own(self.bottoms[0].count)

    def forward(self) -> None:
        self.process.read(self.bottoms[0].data)
        self.process.write(self.sigmoid)
        super().forward()
        if len(self.tops) > 1:
            self.process.write(self.tops[1].data)


class EuclideanLoss(Loss):
    """src/caffe/layers/euclidean_loss_layer.cpp: the difference; gradients for both bottoms."""

    def set_up(self) -> None:
        self.difference = self.own(self.bottoms[0].count)

    def forward(self) -> None:
        self.read_bottoms()
        self.process.write(self.difference)
        super().forward()

    def backward(self) -> None:
        self.write_gradients()


class HingeLoss(Loss):
    """src/caffe/layers/hinge_loss_layer.cpp: forward uses the scores' gradient as scratch."""

    def forward(self) -> None:
        self.process.read(self.bottoms[0].data)
        self.process.write(self.bottoms[0].diff)
        super().forward()


class ContrastiveLoss(Loss):
    """src/caffe/layers/contrastive_loss_layer.cpp: the difference of the two first bottoms.

    Only the GPU's code writes the difference's square.
    """

    def set_up(self) -> None:
        self.difference = self.own(self.bottoms[0].count)
        self.distances = self.own(self.bottoms[0].shape[0])
        self.written(prod(self.bottoms[0].shape[1:2]))

    def forward(self) -> None:
        self.read_bottoms()
        self.process.write(self.difference)
        self.process.write(self.distances)
        super().forward()

    def backward(self) -> None:
        self.write_gradients(self.bottoms[:2])


class Accuracy(Layer):
    """src/caffe/layers/accuracy_layer.cpp: the backward pass writes nothing.

    It aborts if a bottom needs a gradient.
    """

    def backward(self) -> None:
        """Do nothing."""
