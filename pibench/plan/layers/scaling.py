"""Model Scale, Bias and PReLU: factors and terms per channel."""

from __future__ import annotations

import math

from pibench.plan.layers.base import Layer
from pibench.plan.process import Blob, Memory, Process


class _BiasTerm:
    """The work of BiasLayer, alone or inside Scale (src/caffe/layers/bias_layer.cpp)."""

    def __init__(self, process: Process, top: Blob, term: Blob, axis: int, ones: Memory) -> None:
        self.process = process
        self.top = top
        self.term = term
        self.inner = math.prod(top.shape[axis + len(term.shape) :])
        self.multiplier = ones

    def forward(self) -> None:
        """Run a product of depth 1 per image."""
        self.process.write(self.top.data)
        self.process.product(self.term.count, self.inner, 1)

    def backward(self) -> None:
        """Sum the top's gradient into the term's."""
        self.process.read(self.top.diff)
        self.process.write(self.term.diff)


class Scale(Layer):
    """src/caffe/layers/scale_layer.cpp: in place it keeps a copy of its bottom."""

    def set_up(self) -> None:
        """Create the factor (learned, or a second bottom), the bias, and vectors of ones."""
        param = self.node.proto.scale_param
        bottom = self.bottoms[0]
        self.learned = len(self.bottoms) == 1
        self.factor = self.params[0] if self.learned else self.bottoms[1]
        axis = param.axis % len(bottom.shape) if self.factor.shape else 0
        self.outer = math.prod(bottom.shape[:axis])
        self.inner = math.prod(bottom.shape[axis + len(self.factor.shape) :])
        self.in_place = bottom is self.tops[0]
        self.fill_params()
        self.temp = self.own(bottom.count)
        self.sums = self.own(self.outer * self.factor.count)
        self.multiplier = self.ones(max(self.outer, self.inner))
        self.bias: _BiasTerm | None = None
        if param.bias_term:
            ones = self.ones(self.inner)
            self.bias = _BiasTerm(self.process, self.tops[0], self.params[-1], axis, ones)

    def forward(self) -> None:
        """Copy when in place, multiply, add."""
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
            process.read(self.tops[0].diff)
            process.write(self.bottoms[0].diff)


class Bias(Layer):
    """src/caffe/layers/bias_layer.cpp."""

    def set_up(self) -> None:
        """Create the term (learned, or a second bottom), and a vector of ones."""
        bottom = self.bottoms[0]
        self.learned = len(self.bottoms) == 1
        term = self.params[0] if self.learned else self.bottoms[1]
        axis = self.node.proto.bias_param.axis % len(bottom.shape) if term.shape else 0
        self.fill_params()
        inner = math.prod(bottom.shape[axis + len(term.shape) :])
        self.term = _BiasTerm(self.process, self.tops[0], term, axis, self.ones(inner))

    def forward(self) -> None:
        """Copy and add."""
        super().forward()
        self.term.forward()

    def backward(self) -> None:
        """Let the bottom's gradient be the top's."""
        node = self.node
        if node.propagate[0] and self.bottoms[0] is not self.tops[0]:
            self.process.read(self.tops[0].diff)
            self.process.write(self.bottoms[0].diff)
        if node.learns[0] if self.learned else node.propagate[1]:
            self.term.backward()


class PRelu(Layer):
    """src/caffe/layers/prelu_layer.cpp: in place it keeps a copy of its bottom."""

    def set_up(self) -> None:
        """Create the slopes, and two vectors of one image that only the GPU's code uses."""
        bottom = self.bottoms[0]
        self.fill_params()
        self.multiplier = self.ones(bottom.count // bottom.shape[0])
        self.memory = self.own(bottom.count)
        self.in_place = bottom is self.tops[0]

    def forward(self) -> None:
        """Copy when in place."""
        self.process.read(self.bottoms[0].data)
        self.process.read(self.tops[0].data)
        if self.in_place:
            self.process.write(self.memory)
        self.process.write(self.tops[0].data)

    def backward(self) -> None:
        """Write the gradient of the slopes, then of the bottom where needed."""
        self.process.read(self.tops[0].diff)
        if self.node.learns[0]:
            self.process.write(self.params[0].diff)
        if self.node.propagate[0]:
            self.process.write(self.bottoms[0].diff)
