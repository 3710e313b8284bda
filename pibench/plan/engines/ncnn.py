"""Replay what ncnn allocates: its files are read layer by layer, then one pass.

Followed through every allocation of more than 16 KiB on arm64, and ncnn's sources for arm64
(src/layer/arm). Each layer's weights are read, written in the order in which the kernels read them
or as Winograd's transform, and freed, before the next layer is read. malloc keeps what was freed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from pibench.engines.caffe.shapes import windows
from pibench.plan.graph import CONVOLUTIONS
from pibench.plan.malloc import round_up
from pibench.plan.process import FLOAT_BYTES, Memory

if TYPE_CHECKING:
    from pibench.engines.caffe.shapes import Shapes
    from pibench.plan.process import Process

ID: Final = "ncnn"
_MAT_BYTES: Final = 68
"""A Mat's reference count, and NCNN_MALLOC_OVERREAD of allocator.h."""
_TILE_ROWS: Final = 32
"""Rows of weights are padded to multiples of a tile of at most this many, itself one of 8."""
_WINOGRAD: Final = {6: 64, 4: 36, 2: 16}
"""Values that the 9 of a kernel become, by the side of the output's tile."""
_LARGEST_CHANNELS: Final = 128
"""F(6x6, 3x3) is for up to this many channels on either side, F(4x4, 3x3) for more."""
_LEAST_CHANNELS: Final = 8
_TILE_DEPTH: Final = 5456
"""Most rows of a kernel that one tile has: a twelfth of the 256 KiB L2 cache that ncnn assumes."""
_SAME: Final = frozenset({"Dropout", "Split", "Silence"})
"""Types that the conversion leaves out, or whose tops are their bottom."""
_IN_PLACE: Final = frozenset(
    {"AbsVal", "BN", "BNLL", "BatchNorm", "Bias", "Clip", "ELU", "Exp", "LRN", "Log", "PReLU",
     "Power", "ReLU", "ReLU6", "Scale", "Sigmoid", "Softmax", "Swish", "TanH"}
)  # fmt: skip
_IMAGE_AXES: Final = 4
_OPERATION_BYTES: Final = 4096
"""A layer of its own for each group of a convolution, without its weights."""


def replay(
    process: Process, found: Shapes, chosen: dict[str, str], threads: int, pass_bytes: int
) -> None:
    """Read the network's files and run it forward once.

    Args:
        process: The process before it reads the network.
        found: The network's shapes.
        chosen: Values of the settings `winograd` and `fp16`, where they are not the default.
        threads: The threads that compute.
        pass_bytes: What the program itself touches in the pass.
    """
    net = _Net(process, found, chosen, threads)
    net.read()
    process.touch(pass_bytes, "program")
    net.forward()


class _Net:
    def __init__(
        self, process: Process, found: Shapes, chosen: dict[str, str], threads: int
    ) -> None:
        self.process = process
        self.found = found
        self.winograd = chosen.get("winograd") != "off"
        self.half = chosen.get("fp16") != "off"
        self.threads = threads

    def read(self) -> None:
        for position, layer in enumerate(self.found.layers):
            shapes = self.found.weights[position]
            if not shapes:
                continue
            counts = [math.prod(shape) for shape in shapes]
            read = [self._new(FLOAT_BYTES * count, layer.name, "weights") for count in counts]
            if layer.type in CONVOLUTIONS:
                self._convolution(position, read[0])
            elif layer.type == "Deconvolution":
                self._new(read[0].size_bytes - _MAT_BYTES, layer.name, "packed weights")
                self.process.free(read[0])
            elif layer.type == "InnerProduct":
                size_bytes = FLOAT_BYTES * counts[0]
                outputs = self.found.tops[position][0][-1]
                if self.half or outputs % 4 == 0:
                    size_bytes //= 2 if self.half else 1
                    self._new(size_bytes, layer.name, "packed weights")
                    self.process.end_step("read", layer.name)
                    self.process.free(read[0])
            self.process.end_step("read", layer.name)

    def _convolution(self, position: int, read: Memory) -> None:
        """Transform the weights of a convolution or of its groups, and free what was read."""
        found, process = self.found, self.process
        layer, shape = found.layers[position], found.weights[position][0]
        inputs = found.bottoms[position][0]
        window = windows.window(layer.convolution_param, len(inputs) - 2)
        groups = inputs[1] // shape[1]
        outputs, depth = shape[0] // groups, shape[1]
        if groups == 1:
            self._transformed(layer.name, depth, outputs, window)
        elif groups == inputs[1] == shape[0]:
            self._new(read.size_bytes - _MAT_BYTES, layer.name, "packed weights")
        else:
            for _ in range(groups):
                own = self._new(FLOAT_BYTES * math.prod(shape) // groups, layer.name, "weights")
                self._transformed(layer.name, depth, outputs, window)
                process.free(own)
                self._new(_OPERATION_BYTES, layer.name, "layer objects")
        process.end_step("read", layer.name)
        process.free(read)

    def _transformed(self, name: str, inputs: int, outputs: int, window: windows.Window) -> None:
        process = self.process
        values = math.prod(window.kernel)
        tile = self._winograd_tile(inputs, outputs, window)
        if tile:
            factor = _WINOGRAD[tile]
            rows, columns = round_up(outputs, 8), round_up(inputs, 8)
            buffer = self._new(
                FLOAT_BYTES * factor * 8 * min(columns, _TILE_DEPTH) * self.threads, name, "buffer"
            )
            self._new(FLOAT_BYTES * factor * rows * columns, name, "transformed weights")
            process.end_step("read", name)
            process.free(buffer)
            return
        depth = inputs * values
        if _is_direct(inputs, outputs, window):
            self._new(FLOAT_BYTES * depth * outputs, name, "packed weights")
            process.end_step("read", name)
            return
        if values > 1:
            ordered = self._new(FLOAT_BYTES * depth * outputs, name, "buffer")
        side = round_up(-(-outputs // -(-outputs // _TILE_ROWS)), 8)
        self._new(
            FLOAT_BYTES * round_up(outputs, side) * round_up(depth, 8), name, "packed weights"
        )
        process.end_step("read", name)
        if values > 1:
            process.free(ordered)

    def _winograd_tile(self, inputs: int, outputs: int, window: windows.Window) -> int:
        """Return the side of Winograd's output tile; 0 where it is not used."""
        if (
            not self.winograd
            or window.kernel != (3, 3)
            or window.stride != (1, 1)
            or window.dilation != (1, 1)
            or max(inputs, outputs) < _LEAST_CHANNELS
        ):
            return 0
        if max(inputs, outputs) <= _LARGEST_CHANNELS:
            return 6
        return 4 if min(inputs, outputs) >= _LEAST_CHANNELS else 2

    def forward(self) -> None:
        """Run every layer; blobs and buffers come from pools that keep what was freed."""
        found = self.found
        blobs, buffers = _Pool(self.process, "activation"), _Pool(self.process, "buffer")
        users: dict[int, int] = {}
        hosts: dict[tuple[int, int], Memory] = {}
        readers = dict(found.readers)
        for position, layer in enumerate(found.layers):
            sources = [(one[0], one[1]) for one in found.sources[position]]
            tops = found.tops[position]
            in_place = layer.type in _IN_PLACE and sources and users[id(hosts[sources[0]])] == 1
            for index, shape in enumerate(tops):
                key = position, index
                if in_place or (layer.type in _SAME and sources):
                    host = hosts[sources[0]]
                    users[id(host)] += readers.get(key, 0)
                else:
                    host = blobs.take(FLOAT_BYTES * math.prod(shape), layer.name)
                    users[id(host)] = readers.get(key, 0)
                hosts[key] = host
            used = [buffers.take(size, layer.name) for size in self._buffers(position)]
            for memory in used:
                buffers.give(memory)
            for source in sources:
                host = hosts[source]
                users[id(host)] -= 1
                if users[id(host)] == 0:
                    blobs.give(host)
            self.process.end_step("forward", layer.name)

    def _buffers(self, position: int) -> list[int]:
        """Return the sizes of the buffers that a layer has at once."""
        found = self.found
        layer = found.layers[position]
        inputs = found.bottoms[position][0] if found.bottoms[position] else ()
        if layer.type == "LRN":
            # The squares of its input.
            return [FLOAT_BYTES * math.prod(inputs)]
        if layer.type == "Pooling" and not layer.pooling_param.global_pooling:
            outputs = found.tops[position][0]
            window, stride, pad = windows.pooling_window(layer.pooling_param, inputs)
            bordered = [
                (count - 1) * step + size
                for count, step, size in zip(outputs[2:], stride, window, strict=True)
            ]
            is_bordered = any(pad) or bordered != list(inputs[2:])
            return [FLOAT_BYTES * inputs[1] * math.prod(bordered)] if is_bordered else []
        if layer.type in CONVOLUTIONS and len(inputs) == _IMAGE_AXES:
            return self._buffers_of_convolution(position)
        return []

    def _buffers_of_convolution(self, position: int) -> list[int]:
        """Return the sizes of the input with its pads, and of what is made of that."""
        found = self.found
        layer, shape = found.layers[position], found.weights[position][0]
        inputs, outputs = found.bottoms[position][0], found.tops[position][0]
        window = windows.window(layer.convolution_param, len(inputs) - 2)
        sizes = []
        if any(window.pad):
            rows, columns = (
                size + 2 * pad for size, pad in zip(inputs[2:], window.pad, strict=True)
            )
            sizes.append(FLOAT_BYTES * inputs[1] * rows * columns)
        if inputs[1] != shape[1]:
            return sizes
        tile = self._winograd_tile(shape[1], shape[0], window)
        if tile:
            tiles = math.prod(-(-size // tile) for size in outputs[2:])
            # In the order of the kernels, and before.
            sizes += [FLOAT_BYTES * _WINOGRAD[tile] * shape[1] * tiles] * 2
        elif not _is_direct(shape[1], shape[0], window):
            depth, places = math.prod(shape[1:]), math.prod(outputs[2:])
            sizes.append(FLOAT_BYTES * round_up(depth, 8) * round_up(places, 4))
        return sizes

    def _new(self, size_bytes: int, layer: str, kind: str) -> Memory:
        return self.process.allocate(size_bytes + _MAT_BYTES, layer, kind)


def _is_direct(inputs: int, outputs: int, window: windows.Window) -> bool:
    """Return whether a convolution is computed as it is, and not as a product of matrices.

    The kernels for blobs of 4 channels side by side are (Convolution_arm::create_pipeline).
    """
    if len(set(window.kernel)) != 1 or len(set(window.stride)) != 1 or set(window.dilation) != {1}:
        return False
    kernel, stride = window.kernel[0], window.stride[0]
    if kernel == 1 or outputs % 4:
        return False
    if inputs % 4:
        return (kernel, stride) in ((3, 1), (3, 2), (7, 2))
    return (
        (kernel, stride) == (5, 1)
        or ((kernel, stride) == (5, 2) and (inputs < 8 or outputs < 44))
        or ((kernel, stride) == (3, 2) and (inputs < 4 or outputs < 32))
    )


class _Pool:
    """ncnn's PoolAllocator: a block that is freed is kept, for the next that it suffices for."""

    def __init__(self, process: Process, kind: str) -> None:
        self.process = process
        self.kind = kind
        self.free: list[Memory] = []

    def take(self, size_bytes: int, layer: str) -> Memory:
        for memory in self.free:
            if memory.size_bytes >= size_bytes + _MAT_BYTES:
                self.free.remove(memory)
                return memory
        return self.process.allocate(size_bytes + _MAT_BYTES, layer, self.kind)

    def give(self, memory: Memory) -> None:
        self.free.append(memory)
