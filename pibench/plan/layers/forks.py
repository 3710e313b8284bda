"""Model the layers of Caffe's forks as pibench implements them (qemu/caffe-layers)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pibench.plan.layers.arrangement import Flatten, View
from pibench.plan.layers.base import ForwardOnly, Layer
from pibench.plan.layers.products import Convolution
from pibench.plan.process import FLOAT_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.plan.process import Blob


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
        images, channels, height, width = (*self.bottoms[0].shape, 1, 1)[:4]
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


class Lstm(Layer):
    """lstm.cc: the gates of every step before and after their functions, the cells, the states."""

    def set_up(self) -> None:
        self.fill_params()
        self.steps, self.batch, self.inputs = self.bottoms[0].shape[:3]
        self.hidden = self.params[1].shape[1]
        state, rows = self.batch * self.hidden, self.steps * self.batch
        self.gates, self.gate_diffs = (
            [self.own(4 * self.steps * state) for _ in "bg"] for _ in "dd"
        )
        self.cell, self.cell_diff = (self.own(self.steps * state) for _ in "dd")
        self.states = [self.own(state) for _ in range(4)]
        self.state_diffs = [self.own(state) for _ in range(3)]
        self.from_hidden = self.own(4 * state)
        self.moved = self.own(state)
        self.written(rows)

    def forward(self) -> None:
        """Run the product of all steps, then one for each step."""
        process, rows = self.process, self.steps * self.batch
        super().forward()
        for memory in (*self.gates, self.cell, *self.states, self.from_hidden):
            process.write(memory)
        process.product(rows, 4 * self.hidden, self.inputs)
        process.product(rows, 4 * self.hidden, 1)
        process.product(self.batch, 4 * self.hidden, self.hidden)

    def backward(self) -> None:
        """Write the gradients of gates, cells and parameters, and add to that of the top."""
        process, rows = self.process, self.steps * self.batch
        process.write(self.tops[0].diff)
        for memory in (*self.gate_diffs, self.cell_diff, *self.state_diffs, self.moved):
            process.write(memory)
        process.product(self.batch, self.hidden, 4 * self.hidden)
        for blob in self.params:
            process.write(blob.diff)
        process.product(4 * self.hidden, self.inputs, rows)
        process.product(4 * self.hidden, self.hidden, rows - self.batch)
        self.write_gradients(self.bottoms[:1])


class Selecting(Layer, ABC):
    """Layers that collect candidates in vectors, and write the best of them (boxes.h)."""

    has_scratch = True
    candidate_bytes = 24
    """A score, a number and a box (`Scored`)."""
    box_bytes = 16

    @abstractmethod
    def scratch_bytes(self) -> list[int]:
        """Return the sizes of the vectors that exist at once, the rows of the tops first.

        All but the rows are given up before the tops are written.
        """

    def forward(self) -> None:
        self.read_bottoms()
        heap = self.process.heap
        vectors = [(heap.malloc(size), size) for size in self.scratch_bytes()]
        for block, size in vectors:
            heap.write_start(block, size)
        for block, _ in reversed(vectors[1:]):
            heap.free(block)
        for blob in self.tops:
            self.process.write(blob.data)
        heap.free(vectors[0][0])


class Mul(ForwardOnly):
    """mul.cc: the factor is a bottom, or a parameter that no filler fills."""

    def set_up(self) -> None:
        """Write nothing."""

    def forward(self) -> None:
        super().forward()
        for blob in self.params:
            self.process.read(blob.data)


class Detections(Layer):
    """yolo_detection_output.cc: few rows, and no way back."""

    runs_backward = False


class DetectionOutput(Selecting):
    """detection_output.cc: default boxes, moved ones, those of a class; no way back."""

    runs_backward = False

    def scratch_bytes(self) -> list[int]:
        boxes = self.bottoms[2].shape[2] // 4
        sets = max(1, self.bottoms[0].count // (self.bottoms[0].shape[0] * 4 * boxes))
        of_row, of_found = 7 * FLOAT_BYTES, 3 * FLOAT_BYTES
        return [of_row, *[self.box_bytes * boxes] * (1 + sets), of_found * boxes]


class RoiPooling(Detections):
    """roi_pooling.cc, psroi_pooling.cc: an index for each value of the top."""

    def set_up(self) -> None:
        self.indices = self.own(self.tops[0].count)

    def forward(self) -> None:
        super().forward()
        self.process.write(self.indices)


class Yolov3DetectionOutput(Detections):
    """yolo_detection_output.cc: the activations of the largest bottom."""

    def set_up(self) -> None:
        self.activated = self.own(max(blob.count for blob in self.bottoms))

    def forward(self) -> None:
        super().forward()
        self.process.write(self.activated)


class Decided(Layer):
    """ctc_greedy_decoder.cc: the result is a constant to what follows."""

    def backward(self) -> None:
        """Propagate nothing."""


class Proposal(Selecting):
    """proposal.cc: a candidate for each anchor at each place."""

    def scratch_bytes(self) -> list[int]:
        candidates, kept = self.bottoms[0].count // 2, self.tops[0].shape[0]
        return [self.candidate_bytes * kept, self.candidate_bytes * candidates]

    def backward(self) -> None:
        """Propagate nothing."""


class BoxOutput(Selecting):
    """box_output.cc: regions, by deltas that get no gradient; each map has a field."""

    no_gradient_to = 0

    def scratch_bytes(self) -> list[int]:
        images = self.images()
        places = sum(math.prod(blob.shape[2:]) * blob.shape[0] for blob in self.maps()) // images
        kept = min(places, self.tops[0].shape[0] // images)
        rows_bytes = 6 * FLOAT_BYTES * images * kept
        return [rows_bytes, self.candidate_bytes * places, self.candidate_bytes * kept]

    def images(self) -> int:
        """Return the number of images."""
        return self.bottoms[0].shape[0]

    def maps(self) -> Sequence[Blob]:
        """Return the bottoms that have scores."""
        return self.bottoms


class BoxGroupOutput(BoxOutput):
    """box_output.cc: the boxes of every place."""

    def set_up(self) -> None:
        self.boxes = [self.own(blob.count) for blob in self.bottoms[1::2]]

    def forward(self) -> None:
        for memory in self.boxes:
            self.process.write(memory)
        super().forward()

    def images(self) -> int:
        # Fields of an image follow each other on the first axis.
        words = self.node.proto.python_param.param_str.split()
        return self.bottoms[0].shape[0] // (words.count("field_w:") // words.count("stride:"))

    def maps(self) -> Sequence[Blob]:
        return self.bottoms[::2]


class DecodeBBox(Selecting):
    """box_output.cc: the moved regions of each class; no way back."""

    runs_backward = False

    def set_up(self) -> None:
        self.moved = self.own(self.bottoms[0].count)

    def scratch_bytes(self) -> list[int]:
        return [FLOAT_BYTES * self.bottoms[1].count]

    def forward(self) -> None:
        self.process.write(self.moved)
        super().forward()


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
    "BReLU": Layer,
    "BoxGroupOutput": BoxGroupOutput,
    "BoxOutput": BoxOutput,
    "CTCGreedyDecoder": Decided,
    "ContinuationIndicator": Constant,
    "ConvolutionDepthwise": Convolution,
    "CropCenter": Layer,
    "DecodeBBox": DecodeBBox,
    "DepthwiseConvolution": Convolution,
    "DetectionOutput": DetectionOutput,
    "HardSigmoid": Activation,
    "HardSwish": Activation,
    "Interp": Layer,
    "Lstm": Lstm,
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
    "UnPooling": Upsample,
    "Unpooling": Upsample,
    "Upsample": Upsample,
    "YoloDetectionOutput": Detections,
    "Yolov3DetectionOutput": Yolov3DetectionOutput,
}
"""One entry for each type of `pibench.engines.caffe.forks`."""
