"""Model layers that share, join, cut and reorder blobs, and pooling."""

from __future__ import annotations

from math import prod

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.plan.layers.base import Composite, Layer


class Source(Layer):
    """Input: its data is allocated when a layer reads or fills it (input_layer.cpp)."""

    def set_up(self) -> None:
        """Allocate nothing."""

    def forward(self) -> None:
        """Compute nothing."""

    def backward(self) -> None:
        """Propagate nothing."""


class DummyData(Source):
    """src/caffe/layers/dummy_data_layer.cpp: constants are written at set-up."""

    def set_up(self) -> None:
        for blob in self.tops:
            self.process.write(blob.data)


class Parameter(Layer):
    """include/caffe/layers/parameter_layer.hpp: its top is its parameter."""

    def set_up(self) -> None:
        """Write nothing: the parameter has no filler."""

    def forward(self) -> None:
        """Let the top share the parameter's data and diff."""
        self.tops[0].data, self.tops[0].diff = self.params[0].data, self.params[0].diff

    def backward(self) -> None:
        """Do nothing."""


class Split(Layer):
    """src/caffe/layers/split_layer.cpp: the tops share the bottom's data, not its diff."""

    def forward(self) -> None:
        for top in self.tops:
            top.data = self.bottoms[0].data

    def backward(self) -> None:
        if not self.node.propagate[0]:
            return
        for top in self.tops:
            self.process.read(top.diff)
        self.process.write(self.bottoms[0].diff)


class View(Layer):
    """Reshape: the top is the bottom under another shape (reshape_layer.cpp)."""

    def set_up(self) -> None:
        """Share data and diff (ShareData, ShareDiff)."""
        self.forward()

    def forward(self) -> None:
        """Share again: Reshape comes before every pass."""
        self.tops[0].data, self.tops[0].diff = self.bottoms[0].data, self.bottoms[0].diff

    def backward(self) -> None:
        """Do nothing."""


class Flatten(Layer):
    """src/caffe/layers/flatten_layer.cpp: shares data forward and diff backward."""

    def forward(self) -> None:
        self.tops[0].data = self.bottoms[0].data

    def backward(self) -> None:
        """Let the bottom share the top's gradient."""
        self.bottoms[0].diff = self.tops[0].diff


class Concat(Layer):
    """src/caffe/layers/concat_layer.cpp: a single bottom is shared, not copied."""

    def forward(self) -> None:
        if len(self.bottoms) == 1:
            self.tops[0].data, self.tops[0].diff = self.bottoms[0].data, self.bottoms[0].diff
            return
        self.process.read(self.tops[0].data)
        super().forward()

    def backward(self) -> None:
        if len(self.bottoms) == 1:
            return
        self.process.read(self.tops[0].diff)
        self.write_gradients()


class Slice(Layer):
    """src/caffe/layers/slice_layer.cpp: a single top is shared, not copied."""

    def forward(self) -> None:
        if len(self.tops) == 1:
            self.tops[0].data, self.tops[0].diff = self.bottoms[0].data, self.bottoms[0].diff
            return
        super().forward()

    def backward(self) -> None:
        """Copy the tops' gradients to the bottom if it needs a gradient."""
        if len(self.tops) > 1:
            super().backward()


class Crop(Layer):
    """src/caffe/layers/crop_layer.cpp: only bottom 0 is read."""

    def forward(self) -> None:
        self.process.read(self.bottoms[0].data)
        self.process.write(self.tops[0].data)

    def backward(self) -> None:
        """Allocate the bottom's gradient, and fill it if it is needed."""
        self.process.read(self.tops[0].diff)
        self.process.read(self.bottoms[0].diff)
        if self.node.propagate[0]:
            self.process.write(self.bottoms[0].diff)


class Eltwise(Layer):
    """src/caffe/layers/eltwise_layer.cpp: MAX stores which bottom has the maximum."""

    def set_up(self) -> None:
        """Create the maximum's indices as 4-byte integers."""
        self.winners = self.own(self.tops[0].count)
        self.is_max = self.node.proto.eltwise_param.operation == caffe.EltwiseParameter.MAX

    def forward(self) -> None:
        self.process.read(self.tops[0].data)
        if self.is_max:
            self.process.write(self.winners)
        super().forward()

    def backward(self) -> None:
        self.process.read(self.tops[0].diff)
        self.write_gradients()


class Pooling(Layer):
    """src/caffe/layers/pooling_layer.cpp: MAX stores the maximum's index of each window."""

    def set_up(self) -> None:
        """Create the indices as 4-byte integers, unless a second top takes them."""
        pool = self.node.proto.pooling_param.pool
        stores = pool == caffe.PoolingParameter.MAX and len(self.tops) == 1
        self.winners = self.own(self.tops[0].count) if stores else None

    def forward(self) -> None:
        """Write the indices, then the tops."""
        self.process.read(self.bottoms[0].data)
        self.process.read(self.tops[0].data)
        if self.winners is not None:
            self.process.write(self.winners)
        for blob in self.tops:
            self.process.write(blob.data)

    def backward(self) -> None:
        """Write the bottom's gradient if it is needed, from the first top only."""
        if self.node.propagate[0]:
            self.always_backward()


class Spp(Composite):
    """src/caffe/layers/spp_layer.cpp: a pooling per level of the pyramid, then a concat."""

    def set_up(self) -> None:
        """Create each level's output and, for MAX, its indices; a single level writes the top."""
        batch, channels = self.bottoms[0].shape[:2]
        param = self.node.proto.spp_param
        height = param.pyramid_height
        levels = [batch * channels * 4**level for level in range(height)]
        copies = (height > 1) + (param.pool == caffe.SPPParameter.MAX)
        self.inner = [self.own(count) for count in levels for _ in range(copies)]
        if height > 1:
            counts = [*levels, *[self.bottoms[0].count] * height]
            self.inner_diffs = [self.own(count) for count in counts]


class Silence(Layer):
    """src/caffe/layers/silence_layer.cpp: its bottoms are not even read."""

    def forward(self) -> None:
        """Do nothing."""

    def backward(self) -> None:
        """Write gradients of zeros where they are needed."""
        self.write_gradients()


class Filter(Layer):
    """src/caffe/layers/filter_layer.cpp: its bound, where all items pass."""

    no_gradient_to = -1

    def set_up(self) -> None:
        """Read the selector, as every Reshape does."""
        self.process.read(self.bottoms[-1].data)

    def backward(self) -> None:
        for bottom, top, needed in zip(self.bottoms, self.tops, self.node.propagate, strict=False):
            if needed:
                self.process.read(top.diff)
                self.process.write(bottom.diff)


class Python(Layer):
    """Code that is not known: it reads its bottoms, writes its tops, and has no buffers."""

    def backward(self) -> None:
        for top in self.tops:
            self.process.read(top.diff)
        self.write_gradients()


class Reduction(Layer):
    """src/caffe/layers/reduction_layer.cpp: sums and means multiply by ones."""

    def set_up(self) -> None:
        param = self.node.proto.reduction_param
        kinds = (caffe.ReductionParameter.SUM, caffe.ReductionParameter.MEAN)
        if param.operation in kinds:
            shape = self.bottoms[0].shape
            self.written(prod(shape[param.axis % len(shape) :]))
