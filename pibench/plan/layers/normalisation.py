"""Model normalisation over channels, batch or image, with the buffers of the backward pass."""

from __future__ import annotations

import math

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.plan.layers.base import Layer


class BatchNorm(Layer):
    """src/caffe/layers/batch_norm_layer.cpp: two copies of the bottom, in every phase.

    The backward pass always writes the bottom's gradient, needed or not; in place it first copies
    the top's.
    """

    def set_up(self) -> None:
        """Create parameters of zeros, and multipliers over batch and positions."""
        bottom = self.bottoms[0]
        batch, channels = bottom.shape[:2]
        self.positions = bottom.count // (batch * channels)
        self.batch, self.channels = batch, channels
        self.fill_params()
        self.in_place = bottom is self.tops[0]
        use_global = self.node.proto.batch_norm_param.use_global_stats
        given = self.node.proto.batch_norm_param.HasField("use_global_stats")
        self.uses_global = use_global if given else not self.training
        # The parameters are statistics: Caffe sets their learning rates to 0.
        self.mean, self.variance = self.own(channels), self.own(channels)
        self.temp = self.own(bottom.count)
        self.normalised = self.own(bottom.count)
        self.normalised_diff = self.own(bottom.count)
        self.batch_ones = self.own(batch)
        self.position_ones = self.ones(self.positions)
        self.by_channel = self.own(batch * channels)
        self.process.write(self.batch_ones)

    def forward(self) -> None:
        """Compute mean and variance, spread over the image by products of depth 1."""
        process = self.process
        process.read(self.bottoms[0].data)
        process.write(self.tops[0].data)
        process.write(self.mean)
        process.write(self.variance)
        process.write(self.by_channel)
        rows = self.batch * self.channels
        process.product(self.batch, self.channels, 1)
        process.product(rows, self.positions, 1)
        process.write(self.temp)
        process.product(rows, self.positions, 1)
        process.write(self.normalised)

    def backward(self) -> None:
        """Write the bottom's gradient, and a copy of the top's when in place."""
        process = self.process
        process.read(self.tops[0].diff)
        if self.in_place:
            process.write(self.normalised_diff)
        process.write(self.bottoms[0].diff)
        if not self.uses_global:
            process.product(self.batch, self.channels, 1)
            process.product(self.batch * self.channels, self.positions, 1)


class Lrn(Layer):
    """src/caffe/layers/lrn_layer.cpp, across channels: a scale per element, and scratch."""

    def set_up(self) -> None:
        """Create the scale, which the forward pass writes."""
        _, channels, height, width = self.bottoms[0].shape
        size = self.node.proto.lrn_param.local_size
        self.scale = self.own(self.bottoms[0].count)
        self.padded = (channels + size - 1) * height * width
        self.plane = height * width

    def forward(self) -> None:
        """Compute the squares of one image, padded with channels of zeros; free them after."""
        process = self.process
        process.read(self.bottoms[0].data)
        process.read(self.tops[0].data)
        process.read(self.scale)
        process.write(self.scale)
        squares = process.scratch(self.padded, self.node.name, "scratch")
        process.write(self.tops[0].data)
        process.free(squares)

    def backward(self) -> None:
        """Write the bottom's gradient, needed or not."""
        process = self.process
        process.read(self.tops[0].diff)
        process.write(self.bottoms[0].diff)
        ratio = process.scratch(self.padded, self.node.name, "scratch")
        plane = process.scratch(self.plane, self.node.name, "scratch")
        process.free(plane)
        process.free(ratio)


class LrnWithinChannel(Layer):
    """LRN within a channel: square, pooling, power and product, each with its blobs."""

    def set_up(self) -> None:
        """Create the inner layers' blobs of the bottom's size."""
        count = self.bottoms[0].count
        self.inner = [self.own(count) for _ in range(3)]
        self.inner_diffs = [self.own(count) for _ in range(5)]

    def forward(self) -> None:
        """Compute squares, pooled squares and powers; the inputs share the bottom's data."""
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


def lrn_class(proto: caffe.LayerParameter) -> type[Layer]:
    """Return the class of this layer's norm region."""
    within = proto.lrn_param.norm_region == caffe.LRNParameter.WITHIN_CHANNEL
    return LrnWithinChannel if within else Lrn


class Mvn(Layer):
    """src/caffe/layers/mvn_layer.cpp: a copy of the bottom; the backward pass always runs."""

    def set_up(self) -> None:
        """Create means and variances per channel, or per image with across_channels."""
        bottom = self.bottoms[0]
        param = self.node.proto.mvn_param
        self.rows = bottom.shape[0] if param.across_channels else math.prod(bottom.shape[:2])
        self.columns = bottom.count // self.rows
        self.mean, self.variance = self.own(self.rows), self.own(self.rows)
        self.temp = self.own(bottom.count)
        self.multiplier = self.ones(self.columns)

    def forward(self) -> None:
        """Spread the mean and, with normalize_variance, the variance over the image."""
        process = self.process
        process.read(self.bottoms[0].data)
        process.read(self.tops[0].data)
        process.write(self.mean)
        process.write(self.temp)
        process.product(self.rows, self.columns, 1)
        process.write(self.tops[0].data)
        if self.node.proto.mvn_param.normalize_variance:
            process.write(self.variance)

    def backward(self) -> None:
        """Write the bottom's gradient, needed or not."""
        self.process.read(self.tops[0].diff)
        self.process.write(self.bottoms[0].diff)
        self.process.write(self.temp)
        self.process.product(self.rows, self.columns, 1)


class Softmax(Layer):
    """src/caffe/layers/softmax_layer.cpp: the backward pass always runs."""

    def set_up(self) -> None:
        """Create a vector of ones per class, and the sum of each position."""
        shape = self.bottoms[0].shape
        self.set_up_axis(self.node.proto.softmax_param.axis % len(shape))

    def set_up_axis(self, axis: int) -> None:
        """Create buffers for classes along `axis`."""
        shape = self.bottoms[0].shape
        self.classes, self.inner = shape[axis], math.prod(shape[axis + 1 :])
        self.multiplier = self.ones(self.classes)
        self.scale = self.own(math.prod(shape[:axis]) * self.inner)

    def forward(self) -> None:
        """Spread maximum and sum over the classes by products of depth 1."""
        process = self.process
        process.read(self.bottoms[0].data)
        process.write(self.tops[0].data)
        process.write(self.scale)
        process.product(self.classes, self.inner, 1)

    def backward(self) -> None:
        """Write the bottom's gradient."""
        process = self.process
        process.read(self.tops[0].diff)
        process.write(self.bottoms[0].diff)
        process.write(self.scale)
        process.product(self.classes, self.inner, 1)
