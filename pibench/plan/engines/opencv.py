"""Replay what OpenCV's DNN module allocates: reading Caffe's files, setting up, one pass.

Followed through every allocation of more than 16 KiB that OpenCV 4.14 makes, on arm64 and amd64
alike. The caffemodel is parsed whole; each blob is copied, and a layer's parsed blobs are freed
when all of them are copied. What happens to the weights then depends on the version: see `Layout`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pibench.engines.caffe import caffemodel
from pibench.engines.caffe.shapes import windows
from pibench.plan import graph, weights
from pibench.plan.graph import CONVOLUTIONS
from pibench.plan.malloc import round_up
from pibench.plan.process import FLOAT_BYTES, Memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.engines.caffe.shapes import Shape, Shapes
    from pibench.networks.network import Network
    from pibench.plan.graph import Node
    from pibench.plan.process import Process

_MAT_BYTES: Final = 72
"""What cv::fastMalloc adds to align a block, and Mat for its reference count."""
_PACKED_BYTES: Final = 128
_MESSAGE_BYTES: Final = 512
"""A layer's message in the parsed file, without its blobs: it separates freed blobs."""
_LAYER_BYTES: Final = 4000
"""A layer's objects and the small blocks that it leaves. Of 1000, 4000 and 8000 this fits best."""
_ALIGNED_COLUMNS: Final = 8
"""VEC_ALIGN of convolution_layer.cpp: rows of weights start at multiples of this."""
_WINOGRAD_TILE: Final = 6
_WINOGRAD_VALUES: Final = 64
"""F(6x6, 3x3): 8 x 8 values for the 9 of a kernel."""
_WINOGRAD_LEAST: Final = 12
"""The least height and width of an input for Winograd."""
_COLUMNS: Final = 56
"""Columns that one thread unrolls at once, on arm64."""
_BUFFER_BYTES: Final = 7168
_IN_PLACE: Final = frozenset(
    {"AbsVal", "BNLL", "BatchNorm", "Dropout", "ELU", "Exp", "Flatten", "Log", "PReLU", "Power",
     "ReLU", "ReLU6", "Reshape", "Scale", "Sigmoid", "Split", "Swish", "TanH"}
)  # fmt: skip
"""Types whose output is their input's memory, if nothing else reads that."""
_FOLDED: Final = frozenset({"BatchNorm", "Scale"})
"""Types that are multiplied into the weights of a convolution before them."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a version keeps the weights of convolutions and inner products.

    Attributes:
        packs: They are copied in the order in which the kernels read them; from 4.7 on.
        winograd: 3x3 convolutions with stride 1 are copied as Winograd's transform of them.
        releases: The intermediate copy, which BatchNorm was folded into, is freed then.
        fuses: Layers are fused.
        grows: The arrays that a file is parsed into grow: its protobuf is 3.19, not 3.5.
    """

    packs: bool
    winograd: bool
    releases: bool
    fuses: bool
    grows: bool


def layout_of(version: str, chosen: dict[str, str]) -> Layout:
    """Return the layout of a version such as `4.14.0.94` with the settings that were asked for."""
    number = tuple(map(int, version.split(".")[:2]))
    return Layout(
        packs=number >= (4, 7),
        winograd=number >= (4, 7) and chosen.get("winograd") != "off",
        releases=number >= (4, 10),
        fuses=chosen.get("fusion") != "off",
        grows=number >= (4, 6),
    )


def replay(
    process: Process, network: Network, layout: Layout, threads: int, pass_bytes: int
) -> None:
    """Read the network's files, set it up and run it forward once.

    Args:
        process: The process before it reads the network.
        network: The network.
        layout: How weights are kept.
        threads: The threads that compute.
        pass_bytes: What the program itself touches from the set-up on.
    """
    found = network.shapes_under("inference")
    net = _Net(process, found, layout, threads)
    # In the end there are weights as they were read, and as they are packed.
    process.check(process.program_bytes + net.weights_bytes())
    name = caffemodel.seeded_name(network.net.name, 0)
    _read(process, graph.build(found, force_backward=False), name, grows=layout.grows)
    process.touch(pass_bytes, "program")
    net.set_up()
    net.forward()


def _read(process: Process, nodes: Sequence[Node], weights_name: str, *, grows: bool) -> None:
    """Parse the weights file, then make OpenCV's layers one by one."""
    parsed = weights.parse(process, nodes, weights_name, grows=grows, message_bytes=_MESSAGE_BYTES)
    for node in nodes:
        if node.type != "Split":
            process.allocate(_LAYER_BYTES, node.name, "layer objects")
            for blob in node.params:
                process.allocate(blob.data.size_bytes + _MAT_BYTES, node.name, "weights")
            process.end_step("read", node.name)
            for memory in parsed.arrays.get(node, ()):
                process.free(memory)
    for memory in parsed.messages:
        process.free(memory)
    process.end_step("read", "")


class _Net:
    """The network as it is set up: where each blob lies, and the copies of weights."""

    def __init__(self, process: Process, found: Shapes, layout: Layout, threads: int) -> None:
        self.process = process
        self.found = found
        self.layout = layout
        self.threads = threads
        self.consumers = _consumers(found)
        self.hosts: dict[tuple[int, int], Memory] = {}
        """The memory of each top, by position and index."""
        self.copies: dict[int, Memory] = {}
        """The intermediate copy of a convolution's weights, by position."""

    def weights_bytes(self) -> int:
        """Return the size of all weights and of their packed copies."""
        numbers = 0
        for position, layer in enumerate(self.found.layers):
            shapes = self.found.weights[position]
            numbers += sum(map(math.prod, shapes))
            if self.layout.packs and layer.type in CONVOLUTIONS:
                numbers += self._packed(position)
            elif self.layout.packs and layer.type == "InnerProduct" and shapes:
                numbers += math.prod(shapes[0])
        return FLOAT_BYTES * numbers

    def set_up(self) -> None:
        """Allocate as Net::setUpNet does: inner products, blobs, then what is fused."""
        found = self.found
        for position, layer in enumerate(found.layers):
            if layer.type == "Input":
                for index, shape in enumerate(found.tops[position]):
                    size_bytes = FLOAT_BYTES * math.prod(shape)
                    # What the program gives, and the net's own copy.
                    self.process.allocate(size_bytes, layer.name, "input")
                    self.hosts[position, index] = self.process.allocate(
                        size_bytes + _MAT_BYTES, layer.name, "activation"
                    )
        if self.layout.packs:
            for position, layer in enumerate(found.layers):
                if layer.type == "InnerProduct" and found.weights[position]:
                    self._copy(position, "packed weights")
        self._place_blobs()
        self.process.end_step("set-up", "")
        for position, layer in enumerate(found.layers):
            if self.layout.fuses and position not in self.copies and self._is_folded_into(position):
                self.copies[position] = self._copy(position, "folded weights")
            if self.layout.fuses and layer.type == "Concat":
                self._join(position)
        self.process.end_step("set-up", "")

    def forward(self) -> None:
        """Run every layer: its output is written, and its weights are packed."""
        found = self.found
        for position, layer in enumerate(found.layers):
            for index in range(len(found.tops[position])):
                self.process.write(self.hosts[position, index])
            if layer.type in CONVOLUTIONS:
                self._convolve(position)
            self.process.end_step("forward", layer.name)
        self._copy_outputs()

    def _copy_outputs(self) -> None:
        """Copy the blobs that no layer reads: NumPy's arrays have a memory of their own."""
        for position, index in self.hosts:
            if not self.consumers.get((position, index)):
                layer, shape = self.found.layers[position], self.found.tops[position][index]
                self.process.allocate(FLOAT_BYTES * math.prod(shape), layer.name, "output copy")
        self.process.end_step("forward", "")

    def _place_blobs(self) -> None:
        """Give each top a memory: that of its input, an unused one, or a new one (BlobManager)."""
        found = self.found
        unused: list[Memory] = []
        users = {
            id(host): len(self.consumers.get(source, ())) for source, host in self.hosts.items()
        }
        for position, layer in enumerate(found.layers):
            sources = found.sources[position]
            tops = () if layer.type == "Input" else found.tops[position]
            shares = layer.type in _IN_PLACE and len(sources) == 1
            for index, shape in enumerate(tops):
                readers = len(self.consumers.get((position, index), ()))
                if shares and users[id(self.hosts[sources[0]])] == 1:
                    host = self.hosts[sources[0]]
                    users[id(host)] += readers
                else:
                    host = self._reused(unused, shape) or self.process.allocate(
                        FLOAT_BYTES * math.prod(shape) + _MAT_BYTES,
                        layer.name, "activation", is_written=False,
                    )  # fmt: skip
                    users[id(host)] = readers
                self.hosts[position, index] = host
            if layer.type in CONVOLUTIONS:
                self._align(position)
            if layer.type == "Deconvolution":
                unused.append(self._unrolled(position, unused))
            for source in sources:
                host = self.hosts[source]
                users[id(host)] -= 1
                # OpenCV gives the memory of an input to no other blob.
                if users[id(host)] == 0 and found.layers[source[0]].type != "Input":
                    unused.append(host)

    def _unrolled(self, position: int, unused: list[Memory]) -> Memory:
        """Return the memory of what each place of a deconvolution's input adds to the output."""
        found, layer = self.found, self.found.layers[position]
        kernel = math.prod(found.weights[position][0][1:])
        shape = kernel * layer.convolution_param.group, *found.bottoms[position][0][2:]
        return self._reused(unused, shape) or self.process.allocate(
            FLOAT_BYTES * math.prod(shape) + _MAT_BYTES, layer.name, "buffer"
        )

    @staticmethod
    def _reused(unused: list[Memory], shape: tuple[int, ...]) -> Memory | None:
        """Take the smallest unused memory that suffices."""
        wanted = FLOAT_BYTES * math.prod(shape) + _MAT_BYTES
        fitting = [memory for memory in unused if memory.size_bytes >= wanted]
        if not fitting:
            return None
        best = min(fitting, key=lambda memory: memory.size_bytes)
        unused.remove(best)
        return best

    def _join(self, position: int) -> None:
        """Let the inputs of a Concat write to a memory of its own, if nothing else reads them."""
        found = self.found
        sources = found.sources[position]
        if found.tops[position][0][0] != 1:
            return
        if any(len(self.consumers[source]) != 1 for source in sources):
            # Also where layers in place are between: a skip connection of a U-Net.
            return
        made_by = [self._origin(source) for source in sources]
        if any(
            len(self.consumers[origin]) != 1 or found.layers[origin[0]].type in ("Input", "Concat")
            for origin in made_by
        ):
            return
        size_bytes = FLOAT_BYTES * math.prod(found.tops[position][0]) + _MAT_BYTES
        joined = self.process.allocate(size_bytes, found.layers[position].name, "activation")
        self.hosts[position, 0] = joined
        for origin in made_by:
            self.hosts[origin] = joined
        for source in sources:
            self.hosts[source] = joined

    def _origin(self, source: tuple[int, int]) -> tuple[int, int]:
        """Return the top that a fused layer's input is: layers in place are done by it."""
        while self.found.layers[source[0]].type in _IN_PLACE:
            before = self.found.sources[source[0]][0]
            if len(self.consumers[before]) != 1:
                break
            source = before
        return source

    def _is_folded_into(self, position: int) -> bool:
        """Return whether a BatchNorm or Scale right after a convolution changes its weights."""
        if self.found.layers[position].type not in ("Convolution", "InnerProduct"):
            return False
        readers = self.consumers.get((position, 0), [])
        if len(readers) != 1:
            return False
        layer = self.found.layers[readers[0]]
        return layer.type in _FOLDED and len(layer.bottom) == 1

    def _copy(self, position: int, kind: str, size_bytes: int = 0) -> Memory:
        layer, shape = self.found.layers[position], self.found.weights[position][0]
        size_bytes = size_bytes or FLOAT_BYTES * math.prod(shape)
        return self.process.allocate(size_bytes + _MAT_BYTES, layer.name, kind)

    def _align(self, position: int) -> None:
        """Copy weights whose rows do not start at multiples of 8 values."""
        outputs, columns = _matrix(self.found.weights[position][0])
        if columns % _ALIGNED_COLUMNS:
            size_bytes = FLOAT_BYTES * outputs * round_up(columns, _ALIGNED_COLUMNS)
            self.copies[position] = self._copy(position, "aligned weights", size_bytes)

    def _is_by_winograd(self, position: int) -> bool:
        found = self.found
        inputs, shape = found.bottoms[position][0], found.weights[position][0]
        window = windows.window(found.layers[position].convolution_param, len(inputs) - 2)
        return (
            self.layout.winograd
            and window.kernel == (3, 3)
            and window.stride == window.dilation == (1, 1)
            and min(inputs[2:]) >= _WINOGRAD_LEAST
            and shape[1] > 1
        )

    def _packed(self, position: int) -> int:
        """Return how many values the packed weights of a convolution have."""
        inputs, shape = self.found.bottoms[position][0], self.found.weights[position][0]
        rows, columns = _matrix(shape)
        if self._is_by_winograd(position):
            return rows * shape[1] * _WINOGRAD_VALUES
        if _is_by_channel(inputs, shape):
            return rows * round_up(columns, 2 * _ALIGNED_COLUMNS)
        return rows * columns

    def _convolve(self, position: int) -> None:
        """Pack the weights at the first pass, and use the buffers of one."""
        if not self.layout.packs:
            return
        found = self.found
        layer, shape = found.layers[position], found.weights[position][0]
        inputs, outputs = found.bottoms[position][0], found.tops[position][0]
        buffer_bytes = 0
        by_winograd = self._is_by_winograd(position)
        if by_winograd:
            tiles = math.prod(-(-size // _WINOGRAD_TILE) for size in outputs[2:])
            buffer_bytes = (
                FLOAT_BYTES * inputs[1] * _WINOGRAD_VALUES * round_up(tiles, _WINOGRAD_TILE)
            )
        elif not _is_by_channel(inputs, shape):
            window = windows.window(layer.convolution_param, len(inputs) - 2)
            if window.kernel == window.stride == (1, 1):
                buffer_bytes = FLOAT_BYTES * math.prod(inputs[1:]) + _BUFFER_BYTES
            else:
                one = FLOAT_BYTES * _COLUMNS * math.prod(shape[1:]) + _BUFFER_BYTES
                buffer_bytes = one * self.threads
        self.process.allocate(
            FLOAT_BYTES * self._packed(position) + _PACKED_BYTES, layer.name,
            "transformed weights" if by_winograd else "packed weights",
        )  # fmt: skip
        copy = self.copies.get(position)
        if copy is not None and self.layout.releases:
            self.process.free(copy)
        if buffer_bytes:
            self.process.free(self.process.allocate(buffer_bytes, layer.name, "buffer"))


def _is_by_channel(inputs: Shape, shape: Shape) -> bool:
    """Return whether each channel is convolved by itself, by weights of this shape."""
    return 1 < inputs[1] // shape[1] == inputs[1] == shape[0]


def _consumers(found: Shapes) -> dict[tuple[int, int], list[int]]:
    consumers: dict[tuple[int, int], list[int]] = {}
    for position, sources in enumerate(found.sources):
        for source in sources:
            consumers.setdefault((source[0], source[1]), []).append(position)
    return consumers


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return weights as rows, one for each output, and columns."""
    return shape[0], math.prod(shape[1:])
