"""Model normalisation over channels, batch or image, and factors and terms per channel."""

from __future__ import annotations

from math import prod

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.plan.layers.base import Composite, Layer
from pibench.plan.process import Blob, Memory


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
        use_global = self.node.proto.batch_norm_param.use_global_stats
        given = self.node.proto.batch_norm_param.HasField("use_global_stats")
        self.uses_global = use_global if given else not self.training
        # The parameters are statistics: Caffe sets their learning rates to 0.
        self.mean, self.variance = self.own(channels), self.own(channels)
        self.temp = self.own(bottom.count)
        self.normalised = self.own(bottom.count)
        self.normalised_diff = self.own(bottom.count)
        self.batch_ones = self.own(batch)
        self.written(self.positions)
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

    has_scratch = True

    def set_up(self) -> None:
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
        squares = self.written(self.padded, "scratch")
        process.write(self.tops[0].data)
        process.free(squares)

    def backward(self) -> None:
        """Write the bottom's gradient, needed or not."""
        self.always_backward()
        ratio = self.written(self.padded, "scratch")
        plane = self.written(self.plane, "scratch")
        self.process.free(plane)
        self.process.free(ratio)


class LrnWithinChannel(Composite):
    """LRN within a channel: square, pooling, power and product, each with its blobs.

    Forward these are squares, pooled squares and powers; the inputs share the bottom's data.
    """

    def set_up(self) -> None:
        count = self.bottoms[0].count
        self.inner = [self.own(count) for _ in range(3)]
        self.inner_diffs = [self.own(count) for _ in range(5)]


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
        self.rows = bottom.shape[0] if param.across_channels else prod(bottom.shape[:2])
        self.columns = bottom.count // self.rows
        self.mean, self.variance = self.own(self.rows), self.own(self.rows)
        self.temp = self.own(bottom.count)
        self.written(self.columns)

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
        self.always_backward()
        self.process.write(self.temp)
        self.process.product(self.rows, self.columns, 1)


class Softmax(Layer):
    """src/caffe/layers/softmax_layer.cpp: the backward pass always runs."""

    def set_up(self) -> None:
        """Create a vector of ones per class, and the sum of each position."""
        shape = self.bottoms[0].shape
        axis = self.axis() % len(shape)
        self.classes, self.inner = shape[axis], prod(shape[axis + 1 :])
        self.written(self.classes)
        self.scale = self.own(prod(shape[:axis]) * self.inner)

    def axis(self) -> int:
        """Return the axis of the classes."""
        return int(self.node.proto.softmax_param.axis)

    def forward(self) -> None:
        self.normalise(self.tops[0].data)

    def normalise(self, result: Memory) -> None:
        """Spread maximum and sum over the classes by products of depth 1."""
        process = self.process
        process.read(self.bottoms[0].data)
        process.write(result)
        process.write(self.scale)
        process.product(self.classes, self.inner, 1)

    def backward(self) -> None:
        self.always_backward()
        self.process.write(self.scale)
        self.process.product(self.classes, self.inner, 1)


class _BiasTerm:
    """The work of BiasLayer, alone or inside Scale (src/caffe/layers/bias_layer.cpp)."""

    def __init__(self, layer: Layer, term: Blob, axis: int) -> None:
        self.process, self.top, self.term = layer.process, layer.tops[0], term
        self.inner = prod(self.top.shape[axis + len(term.shape) :])
        layer.written(self.inner)

    def forward(self) -> None:
        """Run a product of depth 1 per image."""
        self.process.write(self.top.data)
        self.process.product(self.term.count, self.inner, 1)

    def backward(self) -> None:
        """Sum the top's gradient into the term's."""
        self.process.read(self.top.diff)
        self.process.write(self.term.diff)


class Scale(Layer):
    """src/caffe/layers/scale_layer.cpp: in place it stores a copy of its bottom."""

    def set_up(self) -> None:
        """Create the factor (learned, or a second bottom), the bias, and vectors of ones."""
        param = self.node.proto.scale_param
        bottom = self.bottoms[0]
        self.learned = len(self.bottoms) == 1
        self.factor = self.params[0] if self.learned else self.bottoms[1]
        axis = param.axis % len(bottom.shape) if self.factor.shape else 0
        self.outer = prod(bottom.shape[:axis])
        self.inner = prod(bottom.shape[axis + len(self.factor.shape) :])
        self.fill_params()
        self.temp = self.own(bottom.count)
        self.sums = self.own(self.outer * self.factor.count)
        self.written(max(self.outer, self.inner))
        self.bias = _BiasTerm(self, self.params[-1], axis) if param.bias_term else None

    def forward(self) -> None:
        process = self.process
        process.read(self.bottoms[0].data)
        if self.in_place:
            process.write(self.temp)
        process.read(self.factor.data)
        process.write(self.tops[0].data)
        if self.bias:
            self.bias.forward()

    def backward(self) -> None:
        """Write the factor's gradient, which needs a product of the bottom's size.

        In place the product has its own buffer; otherwise it is written to the bottom's gradient,
        needed or not.
        """
        process, node = self.process, self.node
        if self.bias and node.learns[-1]:
            self.bias.backward()
        if node.learns[0] if self.learned else node.propagate[1]:
            process.read(self.tops[0].diff)
            if self.bottoms[0].count == self.factor.count:
                process.write(self.factor.diff)
            else:
                process.write(self.temp if self.in_place else self.bottoms[0].diff)
                if self.outer != 1 and self.inner != 1 and self.outer * self.factor.count != 1:
                    process.write(self.sums)
                process.write(self.factor.diff)
        if node.propagate[0]:
            self.always_backward()


class Bias(Layer):
    """src/caffe/layers/bias_layer.cpp."""

    def set_up(self) -> None:
        """Create the term (learned, or a second bottom), and a vector of ones."""
        bottom = self.bottoms[0]
        self.learned = len(self.bottoms) == 1
        term = self.params[0] if self.learned else self.bottoms[1]
        axis = self.node.proto.bias_param.axis % len(bottom.shape) if term.shape else 0
        self.fill_params()
        self.term = _BiasTerm(self, term, axis)

    def forward(self) -> None:
        super().forward()
        self.term.forward()

    def backward(self) -> None:
        """Let the bottom's gradient be the top's."""
        node = self.node
        if node.propagate[0] and not self.in_place:
            self.always_backward()
        if node.learns[0] if self.learned else node.propagate[1]:
            self.term.backward()


class PRelu(Layer):
    """src/caffe/layers/prelu_layer.cpp: in place it stores a copy of its bottom."""

    def set_up(self) -> None:
        """Create the slopes, and two vectors of one image that only the GPU's code uses."""
        bottom = self.bottoms[0]
        self.fill_params()
        self.written(bottom.count // bottom.shape[0])
        self.memory = self.own(bottom.count)

    def forward(self) -> None:
        self.process.read(self.bottoms[0].data)
        self.process.read(self.tops[0].data)
        if self.in_place:
            self.process.write(self.memory)
        self.process.write(self.tops[0].data)

    def backward(self) -> None:
        self.process.read(self.tops[0].diff)
        if self.node.learns[0]:
            self.process.write(self.params[0].diff)
        if self.node.propagate[0]:
            self.process.write(self.bottoms[0].diff)
