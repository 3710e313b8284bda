"""Model the layers of Caffe's forks as pibench implements them (qemu/caffe-layers)."""

from __future__ import annotations

from pibench.plan.layers.arrangement import Flatten, View
from pibench.plan.layers.base import ForwardOnly, Layer
from pibench.plan.layers.products import Convolution


class Permute(Layer):
    """permute.cc: in the order of the bottom, the top is the bottom itself, or a copy of it."""

    def set_up(self) -> None:
        order = [int(word) for word in self.node.proto.python_param.param_str.split()[1::2]]
        self.moves = order != sorted(order) or self.node.proto.type == "Transpose"

    def forward(self) -> None:
        if self.moves:
            super().forward()
        else:
            View.forward(self)  # type: ignore[arg-type]

    def backward(self) -> None:
        if self.moves:
            self.always_backward()


class Normalize(Layer):
    """normalize.cc: the squares of an image, and the norms."""

    def set_up(self) -> None:
        self.fill_params()
        images, channels, height, width = self.bottoms[0].shape
        whole = "across_spatial: false" not in self.node.proto.python_param.param_str
        self.norms = self.own(images * (1 if whole else height * width))
        self.squares = self.own(channels * height * width)

    def forward(self) -> None:
        self.process.read(self.bottoms[0].data)
        self.process.write(self.tops[0].data)
        self.process.write(self.norms)
        self.process.write(self.squares)

    def backward(self) -> None:
        """The scales need the top's gradient, whether or not the bottom needs one."""
        self.process.read(self.tops[0].diff)
        for blob in self.params:
            self.process.write(blob.diff)
        self.write_gradients()


class Constant(Layer):
    """prior_box.cc, continuation_indicator.cc: the top does not depend on the bottoms' data."""

    def forward(self) -> None:
        self.process.write(self.tops[0].data)

    def backward(self) -> None:
        """Propagate nothing."""


class Mul(ForwardOnly):
    """mul.cc: the factor is a bottom, or a parameter that no filler fills."""

    def set_up(self) -> None:
        """Write nothing."""

    def forward(self) -> None:
        super().forward()
        for blob in self.params:
            self.process.read(blob.data)


class Detections(Layer):
    """detection_output.cc, yolo_detection_output.cc: few rows, and no way back."""

    runs_backward = False


class Yolov3DetectionOutput(Detections):
    """yolo_detection_output.cc: the activations of the largest bottom."""

    def set_up(self) -> None:
        self.activated = self.own(max(blob.count for blob in self.bottoms))

    def forward(self) -> None:
        super().forward()
        self.process.write(self.activated)


class Proposal(Layer):
    """proposal.cc: regions are constants to what follows."""

    def backward(self) -> None:
        """Propagate nothing."""


class BoxOutput(Layer):
    """box_output.cc: regions, by deltas that get no gradient."""

    no_gradient_to = 0


class BoxGroupOutput(BoxOutput):
    """box_output.cc: the boxes of every place."""

    def set_up(self) -> None:
        self.boxes = [self.own(blob.count) for blob in self.bottoms[1::2]]

    def forward(self) -> None:
        super().forward()
        for memory in self.boxes:
            self.process.write(memory)


class DecodeBBox(Detections):
    """box_output.cc: the moved regions of each class."""

    def set_up(self) -> None:
        self.moved = self.own(self.bottoms[0].count)

    def forward(self) -> None:
        super().forward()
        self.process.write(self.moved)


class BN(Layer):
    """bn.cc: the normalized bottom, and the shift spread over it; statistics get no gradient."""

    def set_up(self) -> None:
        self.fill_params()
        self.buffers = [self.own(self.bottoms[0].count) for _ in range(2)]

    def backward(self) -> None:
        self.process.read(self.tops[0].diff)
        for blob in self.params[:2]:
            self.process.write(blob.diff)
        self.write_gradients()

    def forward(self) -> None:
        super().forward()
        for memory in self.buffers:
            self.process.write(memory)


class Upsample(Layer):
    """upsample.cc: the mask gets no gradient."""

    def backward(self) -> None:
        if self.node.propagate[0]:
            self.always_backward()


class RoiPooling(Upsample):
    """roi_pooling.cc, psroi_pooling.cc: an index for each value of the top."""

    def set_up(self) -> None:
        self.indices = self.own(self.tops[0].count)

    def forward(self) -> None:
        super().forward()
        self.process.write(self.indices)


class Activation(Layer):
    """activations.cc: in place, a copy of the bottom for the way back."""

    def set_up(self) -> None:
        self.kept = self.own(self.bottoms[0].count) if self.in_place else None

    def forward(self) -> None:
        super().forward()
        if self.kept is not None:
            self.process.write(self.kept)


class Axpy(Layer):
    """axpy.cc."""

    def backward(self) -> None:
        self.process.read(self.tops[0].diff)
        self.write_gradients()


LAYERS: dict[str, type[Layer]] = {
    "Axpy": Axpy,
    "BN": BN,
    "BoxGroupOutput": BoxGroupOutput,
    "BoxOutput": BoxOutput,
    "ContinuationIndicator": Constant,
    "ConvolutionDepthwise": Convolution,
    "CropCenter": Layer,
    "DecodeBBox": DecodeBBox,
    "DepthwiseConvolution": Convolution,
    "DetectionOutput": Detections,
    "HardSigmoid": Activation,
    "HardSwish": Activation,
    "Interp": Layer,
    "Mish": Activation,
    "Mul": Mul,
    "Normalize": Normalize,
    "PSROIPooling": RoiPooling,
    "Permute": Permute,
    "PriorBox": Constant,
    "PriorBoxClustered": Constant,
    "Proposal": Proposal,
    "ROIPooling": RoiPooling,
    "ReLU6": Layer,
    "Reorg": Layer,
    "ResizeBilinear": ForwardOnly,
    "ResizeNearestNeighbor": ForwardOnly,
    "Reverse": Layer,
    "ShuffleChannel": Layer,
    "SpatialDropout": Layer,
    "Squeeze": Flatten,
    "Transpose": Permute,
    "Upsample": Upsample,
    "YoloDetectionOutput": Detections,
    "Yolov3DetectionOutput": Yolov3DetectionOutput,
}
"""One entry for each type of `pibench.engines.caffe.forks`."""
