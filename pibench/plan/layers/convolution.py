"""Model convolutions (src/caffe/layers/base_conv_layer.cpp, conv_layer.cpp, deconv_layer.cpp)."""

from __future__ import annotations

import math

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe.shapes.windows import window
from pibench.plan.layers.base import Layer
from pibench.plan.process import Memory


def _takes_every_position(conv: caffe.ConvolutionParameter, axes: int) -> bool:
    """Return whether a kernel of one element visits exactly the input's positions.

    That is the case without stride and padding.
    """
    found = window(conv, axes)
    return set(found.stride) <= {1} and not any(found.pad)


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
        kernel = self.params[0].shape[2:]
        # The products' rows are those of the filters' side, their columns its positions.
        wide, narrow = (bottom, top) if self.backwards else (top, bottom)
        self.filters = wide[axis] // conv.group
        self.positions = math.prod(wide[axis + 1 :])
        self.depth = narrow[axis] // conv.group * math.prod(kernel)
        self.is_1x1 = math.prod(kernel) == 1 and _takes_every_position(conv, len(kernel))
        self.columns = self.own(self.depth * conv.group * self.positions, "im2col buffer")
        self.outputs = conv.num_output
        self.top_positions = math.prod(top[axis + 1 :])
        self.fill_params()
        self.has_bias = len(self.params) > 1
        if self.has_bias:
            self.multiplier = self.ones(self.top_positions)

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
                self._columns_of()
                process.write(self.params[0].diff)
                process.product(self.filters, self.depth, self.positions)
            if self.node.propagate[index]:
                if self.backwards:
                    process.write(bottom.diff)
                    self._gather()
                else:
                    self._spread(bottom.diff)

    def _columns_of(self) -> None:
        """Run im2col."""
        if not self.is_1x1:
            self.process.write(self.columns)

    def _gather(self) -> None:
        """Replay forward_cpu_gemm: filters times columns."""
        self._columns_of()
        self.process.product(self.filters, self.positions, self.depth)

    def _spread(self, result: Memory) -> None:
        """Replay backward_cpu_gemm: transposed filters times values; col2im adds the columns up."""
        self.process.read(result)
        self._columns_of()
        self.process.product(self.depth, self.positions, self.filters)
        self.process.write(result)


class Deconvolution(Convolution):
    """A transposed convolution: its columns cover the bottom's positions."""

    backwards = True


class Im2col(Layer):
    """The top contains the columns; col2im always runs backward (im2col_layer.cpp)."""

    def backward(self) -> None:
        """Write the bottom's gradient."""
        self.process.read(self.tops[0].diff)
        self.process.write(self.bottoms[0].diff)
