"""Model matrix products (src/caffe/layers/inner_product_layer.cpp, embed_layer.cpp)."""

from __future__ import annotations

import math

from pibench.plan.layers.base import Layer


class InnerProduct(Layer):
    """Weights times bottom; a vector of ones spreads the bias over the batch."""

    def set_up(self) -> None:
        """Fill the parameters and the bias multiplier."""
        param = self.node.proto.inner_product_param
        shape = self.bottoms[0].shape
        axis = param.axis % len(shape)
        self.rows = math.prod(shape[:axis])
        self.inputs = math.prod(shape[axis:])
        self.outputs = param.num_output
        self.transposed = param.transpose
        self.fill_params()
        if len(self.params) > 1:
            self.multiplier = self.ones(self.rows)

    def forward(self) -> None:
        """Run one product, and one for the bias."""
        process = self.process
        process.read(self.bottoms[0].data)
        process.write(self.tops[0].data)
        process.product(self.rows, self.outputs, self.inputs)
        if len(self.params) > 1:
            process.product(self.rows, self.outputs, 1)

    def backward(self) -> None:
        """Write the gradients of weights and bias, then of the bottom where needed."""
        process = self.process
        process.read(self.tops[0].diff)
        if self.node.learns[0]:
            process.write(self.params[0].diff)
            sides = (self.inputs, self.outputs) if self.transposed else (self.outputs, self.inputs)
            process.product(*sides, self.rows)
        if len(self.params) > 1 and self.node.learns[1]:
            process.write(self.params[1].diff)
        if self.node.propagate[0]:
            process.write(self.bottoms[0].diff)
            process.product(self.rows, self.inputs, self.outputs)


class Embed(Layer):
    """Rows of the weights; the backward pass writes only the gradients of the rows used."""

    def set_up(self) -> None:
        """Fill the parameters and the bias multiplier."""
        self.fill_params()
        if len(self.params) > 1:
            self.multiplier = self.ones(self.bottoms[0].count)

    def forward(self) -> None:
        """Copy the rows, and run a product for the bias."""
        super().forward()
        if len(self.params) > 1:
            width = self.node.proto.embed_param.num_output
            self.process.product(self.bottoms[0].count, width, 1)

    def backward(self) -> None:
        """Write only the first row's gradient: an input of zeros looks up no other row."""
        process = self.process
        process.read(self.tops[0].diff)
        if self.node.learns[0]:
            process.read(self.params[0].diff)
        if len(self.params) > 1 and self.node.learns[1]:
            process.write(self.params[1].diff)
