"""Model layers that consist of matrix products: convolutions, InnerProduct, Embed.

Sources: base_conv_layer.cpp, conv_layer.cpp, deconv_layer.cpp, im2col_layer.cpp,
inner_product_layer.cpp and embed_layer.cpp in src/caffe/layers/.
"""

from __future__ import annotations

from math import prod

from pibench.engines.caffe.shapes.windows import window
from pibench.plan.layers.base import Layer
from pibench.plan.process import Memory


class Convolution(Layer):
    """One im2col buffer per layer, unless every kernel is 1 x 1 at stride 1 without padding.

    The buffer has the size of one image: group x kernel elements of a group x output positions.
    """

    backwards = False
    """True for Deconvolution, which runs the same products in the other direction."""

    def set_up(self) -> None:
        """Fill the parameters; the im2col buffer is allocated at its first use."""
        conv = self.node.proto.convolution_param
        bottom, top = self.bottoms[0].shape, self.tops[0].shape
        axis = conv.axis % len(bottom)
        group = bottom[axis] if self.node.type == "ConvolutionDepthwise" else conv.group
        kernel = self.params[0].shape[2:]
        # The products' rows are those of the filters' side, their columns its positions.
        wide, narrow = (bottom, top) if self.backwards else (top, bottom)
        self.filters = wide[axis] // group
        self.positions = prod(wide[axis + 1 :])
        self.depth = narrow[axis] // group * prod(kernel)
        found = window(conv, len(kernel))
        self.is_1x1 = prod(kernel) == 1 and set(found.stride) <= {1} and not any(found.pad)
        self.columns = self.own(self.depth * group * self.positions, "im2col buffer")
        self.outputs = conv.num_output
        self.top_positions = prod(top[axis + 1 :])
        self.fill_params()
        self.has_bias = len(self.params) > 1
        if self.has_bias:
            self.written(self.top_positions)

    def forward(self) -> None:
        """Run im2col and a product per group, and one more product for the bias."""
        for bottom, top in zip(self.bottoms, self.tops, strict=True):
            self.process.read(bottom.data)
            if self.backwards:
                self._spread(top.data)
            else:
                self.process.write(top.data)
                self._gather()
            if self.has_bias:
                self.process.product(self.outputs, self.top_positions, 1)

    def backward(self) -> None:
        """Write the gradients of bias, weights and, where needed, bottoms."""
        process = self.process
        learns = self.node.learns
        process.read(self.params[0].diff)
        for index, (bottom, top) in enumerate(zip(self.bottoms, self.tops, strict=True)):
            process.read(top.diff)
            process.read(bottom.diff)
            if self.has_bias and learns[1]:
                process.write(self.params[1].diff)
            if learns[0]:
                self._im2col()
                process.write(self.params[0].diff)
                process.product(self.filters, self.depth, self.positions)
            if self.node.propagate[index]:
                if self.backwards:
                    process.write(bottom.diff)
                    self._gather()
                else:
                    self._spread(bottom.diff)

    def _im2col(self) -> None:
        if not self.is_1x1:
            self.process.write(self.columns)

    def _gather(self) -> None:
        """Replay forward_cpu_gemm: filters times columns."""
        self._im2col()
        self.process.product(self.filters, self.positions, self.depth)

    def _spread(self, result: Memory) -> None:
        """Replay backward_cpu_gemm: transposed filters times values; col2im adds the columns up."""
        self.process.read(result)
        self._im2col()
        self.process.product(self.depth, self.positions, self.filters)
        self.process.write(result)


class Deconvolution(Convolution):
    """A transposed convolution: its columns cover the bottom's positions."""

    backwards = True


class Im2col(Layer):
    """The top contains the columns; col2im always runs backward."""

    def backward(self) -> None:
        self.always_backward()


class InnerProduct(Layer):
    """Weights times bottom; a vector of ones spreads the bias over the batch."""

    def set_up(self) -> None:
        param = self.node.proto.inner_product_param
        shape = self.bottoms[0].shape
        axis = param.axis % len(shape)
        self.rows = prod(shape[:axis])
        self.inputs = prod(shape[axis:])
        self.outputs = param.num_output
        self.transposed = param.transpose
        self.fill_params()
        if len(self.params) > 1:
            self.written(self.rows)

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
        self.fill_params()
        if len(self.params) > 1:
            self.written(self.bottoms[0].count)

    def forward(self) -> None:
        """Copy the rows, and run a product for the bias."""
        super().forward()
        if len(self.params) > 1:
            width = self.node.proto.embed_param.num_output
            self.process.product(self.bottoms[0].count, width, 1)

    def backward(self) -> None:
        """Write only the first row's gradient: an input of zeros looks up no other row."""
        self.process.read(self.tops[0].diff)
        if self.node.learns[0]:
            self.process.read(self.params[0].diff)
        if len(self.params) > 1 and self.node.learns[1]:
            self.process.write(self.params[1].diff)
