"""Replay what ncnn allocates: its files are read layer by layer, then one pass.

Followed through every allocation of more than 16 KiB on arm64, and ncnn's sources: src/net.cpp
for the order of layers and blobs, python/src/main.cpp for what Python gives and gets,
src/allocator.cpp, and src/layer/arm. Each layer's weights are read, written in the order in which
the kernels read them or as Winograd's transform, and freed, before the next layer is read. malloc
keeps what was freed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from pibench.engines.caffe.shapes import windows
from pibench.plan.graph import CONVOLUTIONS
from pibench.plan.malloc import PAGE_BYTES, round_up
from pibench.plan.process import FLOAT_BYTES, Memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pibench.engines.caffe.shapes import Shape, Shapes
    from pibench.plan.process import Process

ID: Final = "ncnn"
_MAT_BYTES: Final = 68
"""A Mat's reference count, and NCNN_MALLOC_OVERREAD of allocator.h."""
_PACK: Final = 4
"""Channels that lie side by side in a blob, where their number is a multiple (elempack)."""
_TILE_ROWS: Final = 32
"""Most rows of weights that a tile of a thread's part has; it is a multiple of 8."""
_WINOGRAD_ROWS: Final = 8
"""The same for Winograd's transform."""
_WINOGRAD: Final = {6: 64, 4: 36, 2: 16}
"""Values that the 9 of a kernel become, by the side of the output's tile."""
_LARGEST_CHANNELS: Final = 128
"""F(6x6, 3x3) is for up to this many channels on either side, F(4x4, 3x3) for more."""
_LEAST_CHANNELS: Final = 8
_CACHE_VALUES: Final = 65536
"""The values in the L2 cache of 256 KiB that ncnn assumes where /sys does not state one."""
_TILE_DEPTH: Final = (_CACHE_VALUES - 32) // 12 // 8 * 8
"""Most rows of a kernel that one tile has: a twelfth of that cache."""
_SMALL_CHANNELS: Final = 16
"""With more channels than this on either side, a convolution is a product of matrices."""
_SAME: Final = frozenset({"Dropout", "Split", "Silence"})
"""Types that the conversion leaves out, or whose tops are their bottom."""
_IN_PLACE: Final = frozenset(
    {"AbsVal", "BN", "BNLL", "BatchNorm", "Bias", "Clip", "ELU", "Exp", "LRN", "Log", "PReLU",
     "Power", "ReLU", "ReLU6", "Scale", "Sigmoid", "Softmax", "Swish", "TanH"}
)  # fmt: skip
_UNPACKED: Final = frozenset(
    {"ArgMax", "BNLL", "Exp", "LRN", "Log", "MVN", "Normalize", "Permute", "Power", "Reduction",
     "SpatialDropout", "Threshold", "Tile"}
)  # fmt: skip
"""Types that read channels one after another: their layers of ncnn have no support_packing."""
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
    net.make_inputs()
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
        self.blobs, self.buffers = _Pool(process, "activation"), _Pool(process, "buffer")
        self.hosts: dict[tuple[int, int], _Host] = {}
        """The memory of each top that was computed, by position and index."""
        self.packed: dict[tuple[int, int], bool] = {}
        """Whether 4 channels of a top lie side by side; those of an input do not."""

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
        tiles = _tiles(outputs, 0, depth, self.threads, _TILE_ROWS)
        padded = round_up(outputs, tiles.rows), round_up(depth, tiles.depth)
        self._new(FLOAT_BYTES * math.prod(padded), name, "packed weights")
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

    def make_inputs(self) -> None:
        """Make the program's inputs: NumPy's arrays, which it keeps (probe/engines/forward.py)."""
        for layer, tops in zip(self.found.layers, self.found.tops, strict=True):
            if layer.type == "Input":
                for shape in tops:
                    self.process.allocate(FLOAT_BYTES * math.prod(shape), layer.name, "input")

    def forward(self) -> None:
        """Run every layer; blobs and buffers come from pools that keep what was freed."""
        for position, layer in enumerate(self.found.layers):
            if layer.type == "Input":
                # Mat.clone() of an array has no allocator of the net's: it comes from malloc.
                for index, shape in enumerate(self.found.tops[position]):
                    memory = self._new(FLOAT_BYTES * math.prod(shape), layer.name, "activation")
                    readers = self.found.readers.get((position, index), 0)
                    self.hosts[position, index] = _Host(memory, readers, pool=None)
        given: Memory | None = None
        for output in self._outputs():
            for position in self._waiting(output[0]):
                self._run(position)
            given = self._extract(output, given)

    def _outputs(self) -> list[tuple[int, int]]:
        """Return the blobs that no layer reads, which the program gets."""
        return [
            (position, index)
            for position, shapes in enumerate(self.found.tops)
            for index in range(len(shapes))
            if not self.found.readers.get((position, index))
        ]

    def _waiting(self, output: int) -> Iterator[int]:
        """Yield what an output needs and has not run, in the order of NetPrivate::forward_layer.

        A layer first runs what its first bottom needs, then what the second one needs: branches run
        one after another, in whatever order the file has their layers.
        """
        stack = [output]
        while stack:
            position = stack[-1]
            waits_for = next(
                (one[0] for one in self.found.sources[position] if one not in self.hosts), None
            )
            if waits_for is not None:
                stack.append(waits_for)
                continue
            stack.pop()
            if not self.found.tops[position] or (position, 0) not in self.hosts:
                yield position

    def _run(self, position: int) -> None:
        """Run a layer, in the order of NetPrivate::do_forward_layer."""
        found = self.found
        layer, tops = found.layers[position], found.tops[position]
        sources = [(one[0], one[1]) for one in found.sources[position]]
        is_same = layer.type in _SAME and bool(sources)
        copies = [] if is_same else self._repacked(position, sources)
        in_place = layer.type in _IN_PLACE and len(sources) == 1
        shared: _Host | None = None
        if is_same or (in_place and not copies and self.hosts[sources[0]].users == 1):
            shared = self.hosts[sources[0]]
        elif in_place and copies:
            shared = copies.pop()
            shared.users = 0
        bordered = [self.buffers.take(_Use(size), layer.name) for size in self._bordered(position)]
        for index, shape in enumerate(tops):
            key = position, index
            # The net keeps what the program is to get.
            readers = found.readers.get(key) or 1
            if shared is None:
                size_bytes = FLOAT_BYTES * math.prod(shape)
                memory = self.blobs.take(_Use(size_bytes), layer.name)
                self.hosts[key] = _Host(memory, readers, self.blobs)
            else:
                shared.users += readers
                self.hosts[key] = shared
            self.packed[key] = (
                self.packed.get(sources[0], False) if is_same else _is_packed(layer.type, shape)
            )
        if layer.type == "Deconvolution" and layer.convolution_param.group == 1:
            # What each place of the input adds to the output is a blob to ncnn.
            values = math.prod(found.weights[position][0][1:])
            size_bytes = FLOAT_BYTES * values * math.prod(found.bottoms[position][0][2:])
            self.blobs.give(self.blobs.take(_Use(size_bytes), layer.name))
        self._use_buffers(position)
        for memory in reversed(bordered):
            self.buffers.give(memory)
        for source in sources:
            self._release(self.hosts[source])
        for host in copies:
            self._release(host)
        self.process.end_step("forward", layer.name)

    def _repacked(self, position: int, sources: Sequence[tuple[int, int]]) -> list[_Host]:
        """Copy the inputs whose channels lie otherwise than the layer reads them (convert_layout).

        An image that the program gives has them one after another, as LRN and others read them.
        """
        layer = self.found.layers[position]
        copies = []
        for source, shape in zip(sources, self.found.bottoms[position], strict=True):
            if self.packed.get(source, False) != _is_packed(layer.type, shape):
                size_bytes = FLOAT_BYTES * math.prod(shape)
                memory = self.blobs.take(_Use(size_bytes), layer.name)
                copies.append(_Host(memory, 1, self.blobs))
        return copies

    def _release(self, host: _Host) -> None:
        """Drop one of a blob's users; the last one gives its memory back to where it came from."""
        host.users -= 1
        if host.users == 0:
            if host.pool is None:
                self.process.free(host.memory)
            else:
                host.pool.give(host.memory)

    def _extract(self, output: tuple[int, int], given: Memory | None) -> Memory:
        """Copy an output to the program (Extractor::extract, and its binding to Python).

        The net's blob becomes a Mat of its own, Python gets a copy of that, and NumPy's array
        another. `given` is the Mat that Python still has of the output before.
        """
        position, index = output
        name, size_bytes = (
            self.found.layers[position].name,
            FLOAT_BYTES * math.prod(self.found.tops[position][index]),
        )
        unpacked = None
        if self.packed.get(output):
            unpacked = self.blobs.take(_Use(size_bytes), name)
        detached = self._new(size_bytes, name, "output copy")
        if unpacked is not None:
            self.blobs.give(unpacked)
        mat = self._new(size_bytes, name, "output copy")
        self.process.end_step("forward", name)
        self.process.free(detached)
        if given is not None:
            self.process.free(given)
        self.process.allocate(size_bytes, name, "output copy")
        self.process.end_step("forward", name)
        return mat

    def _use_buffers(self, position: int) -> None:
        """Take and give the buffers of a layer besides its input with pads."""
        name = self.found.layers[position].name
        used = [self.buffers.take(_Use(size), name) for size in self._whole_buffers(position)]
        product = self._product_of(position)
        if product is not None:
            # Groups are computed one after another. A second one finds the blocks of the first one
            # in another order, and writes what that one left out.
            for _ in range(min(product.groups, 2)):
                parts = [self.buffers.take(product.inputs, name)]
                if product.unordered is not None:
                    self.buffers.give(self.buffers.take(product.unordered, name))
                if product.outputs is not None:
                    parts.append(self.buffers.take(product.outputs, name))
                for memory in reversed(parts):
                    self.buffers.give(memory)
        for memory in reversed(used):
            self.buffers.give(memory)

    def _bordered(self, position: int) -> list[int]:
        """Return the size of a layer's input with its pads, if it has any."""
        found = self.found
        layer = found.layers[position]
        inputs = found.bottoms[position][0] if found.bottoms[position] else ()
        if len(inputs) != _IMAGE_AXES:
            return []
        if layer.type == "Pooling":
            # Sizes are rounded up by a pad behind (convert/ncnn_files.py); rows and columns that no
            # window reaches are only left out.
            counts = found.tops[position][0][2:]
            window, stride, pad = windows.pooling_window(layer.pooling_param, inputs)
            padded = [
                max(size + before, (count - 1) * step + kernel)
                for size, before, count, step, kernel in zip(
                    inputs[2:], pad, counts, stride, window, strict=True
                )
            ]
        elif layer.type in CONVOLUTIONS:
            pad = windows.window(layer.convolution_param, len(inputs) - 2).pad
            padded = [size + 2 * before for size, before in zip(inputs[2:], pad, strict=True)]
        else:
            return []
        if padded == list(inputs[2:]):
            return []
        return [FLOAT_BYTES * inputs[1] * math.prod(padded)]

    def _whole_buffers(self, position: int) -> list[int]:
        """Return the sizes of buffers that are written whole."""
        found = self.found
        layer = found.layers[position]
        inputs = found.bottoms[position][0] if found.bottoms[position] else ()
        if layer.type == "LRN":
            # The squares of its input, and their sums.
            return [FLOAT_BYTES * math.prod(inputs)] * 2
        if layer.type not in CONVOLUTIONS or len(inputs) != _IMAGE_AXES:
            return []
        outputs, depth = found.weights[position][0][:2]
        groups = inputs[1] // depth
        if groups == 1 or groups == inputs[1] == outputs:
            return []
        # Groups whose channels are not a multiple of 4 read and write them one after another.
        sizes = []
        if inputs[1] % _PACK == 0 and depth % _PACK:
            sizes += self._bordered(position) or [FLOAT_BYTES * math.prod(inputs)]
        if outputs % _PACK == 0 and outputs // groups % _PACK:
            sizes.append(FLOAT_BYTES * math.prod(found.tops[position][0]))
        return sizes

    def _product_of(self, position: int) -> _Product | None:
        """Return the buffers of a convolution's product of matrices; None where it has none."""
        layer, found = self.found.layers[position], self.found
        inputs = found.bottoms[position][0] if found.bottoms[position] else ()
        if layer.type not in CONVOLUTIONS or len(inputs) != _IMAGE_AXES:
            return None
        all_outputs, depth = found.weights[position][0][:2]
        groups = inputs[1] // depth
        if groups > 1 and groups == inputs[1] == all_outputs:
            return None
        outputs = all_outputs // groups
        window = windows.window(layer.convolution_param, len(inputs) - 2)
        sizes = found.tops[position][0][2:]
        tile = self._winograd_tile(depth, outputs, window)
        if tile:
            return self._winograd(outputs, depth, tile, sizes)._replace(groups=groups)
        if _is_direct(depth, outputs, window):
            return None
        depth *= math.prod(window.kernel)
        return self._unrolled(outputs, depth, math.prod(sizes))._replace(groups=groups)

    def _unrolled(self, outputs: int, depth: int, places: int) -> _Product:
        """Return the buffers of convolution_im2col_gemm: the unrolled input, tile by tile.

        A tile whose depth is rounded up is written up to what there is, and its last pages are not.
        """
        tiles = _tiles(outputs, places, depth, self.threads, _TILE_ROWS)
        tile_bytes = FLOAT_BYTES * tiles.width * tiles.depth
        written_bytes = 0
        for columns, count in _parts(places, tiles.width):
            for rows, times in _parts(depth, tiles.depth):
                end = FLOAT_BYTES * columns * rows + PAGE_BYTES
                written_bytes += count * times * min(end, tile_bytes)
        sums = None
        if depth > tiles.depth:
            row_bytes = FLOAT_BYTES * tiles.width
            written_rows = _written_rows(outputs, tiles.rows, self.threads)
            sums = _Use(row_bytes * tiles.rows * self.threads, row_bytes * written_rows)
        parts = -(-places // tiles.width) * -(-depth // tiles.depth)
        inputs = _Use(tile_bytes * parts, written_bytes, is_spread=True)
        return _Product(inputs, None, sums)

    def _winograd(self, outputs: int, depth: int, tile: int, sizes: Sequence[int]) -> _Product:
        """Return the buffers of Winograd's transform."""
        threads = self.threads
        places = math.prod(-(-size // tile) for size in sizes)
        tiles = _tiles(outputs, places, depth, threads, _WINOGRAD_ROWS)
        parts = -(-places // tiles.width) * -(-depth // tiles.depth)
        value_bytes = FLOAT_BYTES * _WINOGRAD[tile]
        at_once = 1 if parts < threads else threads
        row_bytes = value_bytes * tiles.width
        part_bytes = row_bytes * tiles.depth
        # Of a part only what there is is written.
        written_bytes = value_bytes * min(tiles.width, places) * min(tiles.depth, depth)
        written_rows = _written_rows(outputs, tiles.rows, threads)
        return _Product(
            inputs=_Use(part_bytes * parts, written_bytes * parts, is_spread=True),
            unordered=_Use(part_bytes * at_once, written_bytes * at_once, is_spread=at_once > 1),
            outputs=_Use(row_bytes * tiles.rows * threads, row_bytes * written_rows),
        )

    def _new(self, size_bytes: int, layer: str, kind: str) -> Memory:
        return self.process.allocate(size_bytes + _MAT_BYTES, layer, kind)


class _Product(NamedTuple):
    """A convolution's buffers.

    The inputs in the order of the kernels, the same before, and each thread's part of the outputs.
    """

    inputs: _Use
    unordered: _Use | None
    outputs: _Use | None
    groups: int = 1


class _Tiles(NamedTuple):
    """A part of a product: `rows` outputs by `width` places, with `depth` products for each."""

    rows: int
    width: int
    depth: int


def _tiles(outputs: int, places: int, depth: int, threads: int, most_rows: int) -> _Tiles:
    """Return parts as large as the cache has room for (..._get_optimal_tile_mnk).

    Args:
        outputs: Rows of the product.
        places: Columns of the product, 0 for the weights alone.
        depth: Products for each place.
        threads: The threads that compute; each takes rows of its own.
        most_rows: The rows of one thread's part.
    """
    part = _part(depth, _TILE_DEPTH, 8)
    rows = _part(outputs, round_up(-(-outputs // -(-outputs // most_rows)), 8) * threads, 8)
    if threads > 1:
        rows = min(rows, round_up(max(1, rows // threads), 8))
    beside = 0 if part >= depth else rows
    room = (_CACHE_VALUES - rows * part) // (part + beside)
    return _Tiles(rows, _part(places, max(4, room // 4 * 4), 4) if places else 0, part)


def _written_rows(outputs: int, rows: int, threads: int) -> int:
    """Return how many rows of its own parts of `rows` all threads together write.

    OpenMP gives each thread as many parts, one after another, and the first ones one more. So the
    last thread may have nothing but the part that is not full.
    """
    parts = -(-outputs // rows)
    if parts >= 2 * threads:
        return threads * rows
    return min(parts, threads) * rows - (parts * rows - outputs)


def _part(count: int, most: int, step: int) -> int:
    """Return the size of equal parts of at most `most`, a multiple of `step`."""
    parts = -(-count // most)
    return min(most, round_up(-(-count // parts), step))


def _parts(count: int, size: int) -> list[tuple[int, int]]:
    """Return the sizes of the parts of `count`, each with how many there are of it."""
    whole, rest = divmod(count, size)
    return [(size, whole), (rest, int(rest > 0))]


def _is_direct(inputs: int, outputs: int, window: windows.Window) -> bool:
    """Return whether a convolution is computed as it is, and not as a product of matrices.

    Small ones are, and the kernels for blobs of 4 channels side by side
    (Convolution_arm::create_pipeline).
    """
    if math.prod(window.kernel) == 1:
        return False
    products = math.prod(window.kernel + window.dilation + window.stride) * inputs * outputs
    if max(inputs, outputs) <= _SMALL_CHANNELS and 2 * products <= _CACHE_VALUES:
        return True
    if len(set(window.kernel)) != 1 or len(set(window.stride)) != 1 or set(window.dilation) != {1}:
        return False
    kernel, stride = window.kernel[0], window.stride[0]
    if outputs % _PACK:
        return False
    if inputs % _PACK:
        return (kernel, stride) in ((3, 1), (3, 2), (7, 2))
    return (
        (kernel, stride) == (5, 1)
        or ((kernel, stride) == (5, 2) and (inputs < 8 or outputs < 44))
        or ((kernel, stride) == (3, 2) and (inputs < 4 or outputs < 32))
    )


def _is_packed(kind: str, shape: Shape) -> bool:
    """Return whether a layer of a type reads and writes 4 channels of such a blob side by side."""
    return kind not in _UNPACKED and len(shape) > 1 and shape[1] % _PACK == 0


class _Host:
    """The memory of blobs, its readers that are still to run, and the pool that it is from."""

    __slots__ = ("memory", "pool", "users")

    def __init__(self, memory: Memory, users: int, pool: _Pool | None) -> None:
        self.memory = memory
        self.users = users
        self.pool = pool


class _Pool:
    """ncnn's PoolAllocator: a block that is freed is kept, for the next that it suffices for.

    A user may write a block here and there, as tiles that are not full are. What the next user
    writes of it then adds to that.
    """

    def __init__(self, process: Process, kind: str) -> None:
        self.process = process
        self.kind = kind
        self.free: list[Memory] = []
        self.written: dict[int, _Written] = {}
        """What was written of each block so far, by its identity; no block is given back."""

    def take(self, use: _Use, layer: str) -> Memory:
        """Return a block that is written as `use` has it."""
        size_bytes = use.size_bytes + _MAT_BYTES
        found = next((one for one in self.free if one.size_bytes >= size_bytes), None)
        if found is None:
            found = self.process.allocate(size_bytes, layer, self.kind, is_written=False)
        else:
            self.free.remove(found)
        assert found.block is not None  # noqa: S101  (it was allocated)
        written = self.written.get(id(found), _Written(0, 0, 0.0)).then(use)
        self.written[id(found)] = written
        self.process.heap.write_start(found.block, written.size_bytes)
        return found

    def give(self, memory: Memory) -> None:
        self.free.append(memory)


class _Use(NamedTuple):
    """The bytes of a block, and how many of these are written: the first ones, or here and there.

    `written_bytes` is None for all of them.
    """

    size_bytes: int
    written_bytes: int | None = None
    is_spread: bool = False


class _Written(NamedTuple):
    """What is written of a block: all up to `solid_bytes`, then a fraction up to `end_bytes`."""

    solid_bytes: int
    end_bytes: int
    fraction: float

    @property
    def size_bytes(self) -> int:
        return self.solid_bytes + int(self.fraction * max(0, self.end_bytes - self.solid_bytes))

    def then(self, use: _Use) -> _Written:
        """Return what is written after another use of the block."""
        written_bytes = use.size_bytes if use.written_bytes is None else use.written_bytes
        if not use.is_spread:
            return self._replace(solid_bytes=max(self.solid_bytes, written_bytes))
        fraction = written_bytes / use.size_bytes
        if fraction * use.size_bytes < self.fraction * self.end_bytes:
            return self
        return self._replace(end_bytes=use.size_bytes, fraction=fraction)
