"""Replay what ncnn allocates: its files are read layer by layer, then one pass.

Followed through every allocation of more than 16 KiB on arm64, and ncnn's sources for arm64
(src/layer/arm). Each layer's weights are read, written in the order in which the kernels read them
or as Winograd's transform, and freed, before the next layer is read. malloc keeps what was freed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

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
_CACHE_VALUES: Final = 65536
"""The values in the L2 cache of 256 KiB that ncnn assumes."""
_TILE_DEPTH: Final = (_CACHE_VALUES - 32) // 12 // 8 * 8
"""Most rows of a kernel that one tile has: a twelfth of that cache."""
_COPIES: Final = 2
"""An output besides its blob: the Mat that Python gets, with what it is made of, then NumPy's."""
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
                    size_bytes = FLOAT_BYTES * math.prod(shape)
                    host = blobs.take(size_bytes, size_bytes, layer.name)
                    users[id(host)] = readers.get(key, 0)
                hosts[key] = host
            if layer.type == "Deconvolution" and layer.convolution_param.group == 1:
                # What each place of the input adds to the output is a blob to ncnn.
                values = math.prod(found.weights[position][0][1:])
                size_bytes = FLOAT_BYTES * values * math.prod(found.bottoms[position][0][2:])
                blobs.give(blobs.take(size_bytes, size_bytes, layer.name))
            used = [buffers.take(size, size, layer.name) for size in self._buffers(position)]
            winograd = self._winograd_buffers(position)
            if winograd is not None:
                used.append(buffers.take(*winograd.inputs, layer.name))
                buffers.give(buffers.take(*winograd.unordered, layer.name))
                used.append(buffers.take(*winograd.outputs, layer.name))
            for memory in reversed(used):
                buffers.give(memory)
            for source in sources:
                host = hosts[source]
                users[id(host)] -= 1
                if users[id(host)] == 0:
                    blobs.give(host)
            self.process.end_step("forward", layer.name)
        self._copy_outputs()

    def _copy_outputs(self) -> None:
        """Copy the blobs that no layer reads, as the program gets them."""
        for position, shapes in enumerate(self.found.tops):
            for index, shape in enumerate(shapes):
                if not self.found.readers.get((position, index)):
                    name = self.found.layers[position].name
                    for _ in range(_COPIES):
                        self._new(FLOAT_BYTES * math.prod(shape), name, "output copy")
        self.process.end_step("forward", "")

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
        is_transformed = self._winograd_tile(shape[1], shape[0], window)
        if not is_transformed and not _is_direct(shape[1], shape[0], window):
            depth, places = math.prod(shape[1:]), math.prod(outputs[2:])
            sizes.append(FLOAT_BYTES * round_up(depth, 8) * round_up(places, 4))
        return sizes

    def _winograd_buffers(self, position: int) -> _Winograd | None:
        """Return the buffers of Winograd's transform, None for a layer that is computed otherwise.

        Parts of the product are as large as the cache has room for, in ncnn's
        conv3x3s1_winograd_get_optimal_tile_mnk: `rows` outputs by `width` places by `depth` inputs.
        """
        layer, found, threads = self.found.layers[position], self.found, self.threads
        inputs = found.bottoms[position][0] if found.bottoms[position] else ()
        if layer.type not in CONVOLUTIONS or len(inputs) != _IMAGE_AXES:
            return None
        outputs, depth_of_all = found.weights[position][0][:2]
        window = windows.window(layer.convolution_param, len(inputs) - 2)
        tile = self._winograd_tile(depth_of_all, outputs, window)
        if not tile or inputs[1] != depth_of_all:
            return None
        places = math.prod(-(-size // tile) for size in found.tops[position][0][2:])
        depth = _part(depth_of_all, _TILE_DEPTH, 8)
        rows = _part(outputs, 8 * threads, 8)
        if threads > 1:
            rows = min(rows, round_up(max(1, rows // threads), 8))
        beside = 0 if depth >= depth_of_all else rows
        room = (_CACHE_VALUES - rows * depth) // (depth + beside)
        width = _part(places, max(4, room // 4 * 4), 4)
        parts = -(-places // width) * -(-depth_of_all // depth)
        value_bytes = FLOAT_BYTES * _WINOGRAD[tile]
        at_once = 1 if parts < threads else threads
        part_bytes, result_bytes = (value_bytes * width * count for count in (depth, rows))
        # Of a part only what there is is written.
        written_bytes = value_bytes * min(width, places) * min(depth, depth_of_all)
        return _Winograd(
            inputs=(part_bytes * parts, written_bytes * parts),
            unordered=(part_bytes * at_once, written_bytes * at_once),
            outputs=(result_bytes * threads, result_bytes * min(threads, -(-outputs // rows))),
        )

    def _new(self, size_bytes: int, layer: str, kind: str) -> Memory:
        return self.process.allocate(size_bytes + _MAT_BYTES, layer, kind)


class _Winograd(NamedTuple):
    """A convolution's buffers, each by its size in bytes and how many of these are written.

    The inputs in the order of the kernels, the same before, and each thread's part of the outputs.
    """

    inputs: tuple[int, int]
    unordered: tuple[int, int]
    outputs: tuple[int, int]


def _part(count: int, most: int, step: int) -> int:
    """Return the size of equal parts of at most `most`, a multiple of `step`."""
    parts = -(-count // most)
    return min(most, round_up(-(-count // parts), step))


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

    def take(self, size_bytes: int, written_bytes: int, layer: str) -> Memory:
        """Return a block whose first `written_bytes` are written."""
        size_bytes += _MAT_BYTES
        found = next((one for one in self.free if one.size_bytes >= size_bytes), None)
        if found is None:
            found = self.process.allocate(size_bytes, layer, self.kind, is_written=False)
        else:
            self.free.remove(found)
        assert found.block is not None  # noqa: S101  (it was allocated)
        self.process.heap.write_start(found.block, written_bytes)
        return found

    def give(self, memory: Memory) -> None:
        self.free.append(memory)
