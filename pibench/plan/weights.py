"""Model the loading of a weights file: protobuf keeps a copy of it while Caffe copies the blobs.

Net::CopyTrainedLayersFrom parses the whole file before it copies anything. Packed floats arrive in
pieces, given by the 8 KiB buffer of the file stream, and their array doubles whenever it is full
(RepeatedField::Reserve): the offset of a blob in the file therefore decides how large its array
gets. Sources: protobuf 3.12, parse_context.h, repeated_field.h and zero_copy_stream_impl.cc; the
file's layout is that of `pibench.engines.caffe.caffemodel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pibench.plan.process import FLOAT_BYTES, Blob, Memory, Process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pibench.plan.graph import Node

_STREAM_BYTES = 8192
_SLOP_FLOATS = 4
"""16 bytes around a buffer's end are parsed from a separate patch buffer (kSlopBytes)."""
_ARRAY_HEADER_BYTES = 8
_LEAST_FLOATS = 4
_TEST_PHASE_BYTES = 2
_UNLEARNED_BYTES = 7
"""A `param { lr_mult: 0 }`, three of which Caffe adds to every BatchNorm."""


class Parsed(NamedTuple):
    """A parsed file: the arrays of each layer's blobs, and the messages around them."""

    arrays: dict[Node, list[Memory]]
    messages: list[Memory]


def load(process: Process, nodes: Sequence[Node], file_name: str) -> None:
    """Parse the file of a network called `file_name`, copy its blobs, drop the parsed copy."""
    parsed = parse(process, nodes, file_name)
    for node in nodes:
        for blob in node.params:
            process.write(blob.data)
    for arrays in parsed.arrays.values():
        for memory in arrays:
            process.free(memory)


def parse(
    process: Process,
    nodes: Sequence[Node],
    file_name: str,
    *,
    grows: bool = True,
    message_bytes: int = 0,
) -> Parsed:
    """Parse the file of a network called `file_name`.

    Args:
        process: The process that parses it.
        nodes: The network's layers, of `graph.build`.
        file_name: The network's name in the file.
        grows: An array doubles whenever it is full. Before protobuf 3.8 it had its size at once.
        message_bytes: The size of a layer's message without its blobs.
    """
    arrays: dict[Node, list[Memory]] = {}
    messages = []
    for node, blob, start in places(nodes, file_name):
        if node not in arrays:
            arrays[node] = []
            if message_bytes:
                messages.append(process.allocate(message_bytes, node.name, "weights file copy"))
        arrays[node].append(_array(process, start, blob, node.name, grows=grows))
        process.end_step("weights", node.name)
    return Parsed(arrays, messages)


def places(nodes: Sequence[Node], file_name: str) -> Iterator[tuple[Node, Blob, int]]:
    """Yield every parameter in the file's order, and the byte offset of its values."""
    at = _string_bytes(len(file_name.encode()))
    for node in nodes:
        blobs = [(blob, *_blob_bytes(blob)) for blob in node.params]
        layer = _head_bytes(node)
        body = layer + sum(1 + _varint_bytes(size) + size for _, _, size in blobs)
        at += 2 + _varint_bytes(body)
        start = at + layer
        for blob, head, size in blobs:
            start += 1 + _varint_bytes(size)
            yield node, blob, start + head
            start += size
        at += body


def capacities(start: int, count: int) -> list[int]:
    """Return the successive sizes, in floats, of the array that `count` floats are parsed into.

    Args:
        start: Offset of the first float in the file, in bytes.
        count: The number of floats.
    """
    piece, cut = divmod(_STREAM_BYTES - start % _STREAM_BYTES, FLOAT_BYTES)
    # A float that the buffer's end divides is parsed, with a few more, from the patch.
    steps = (0, _SLOP_FLOATS if cut else 0, _STREAM_BYTES // FLOAT_BYTES)
    sizes: list[int] = []
    capacity = 0
    for needed in (piece + step for step in steps):
        wanted = min(needed, count)
        if wanted > capacity:
            capacity = max(_LEAST_FLOATS, 2 * capacity, wanted)
            sizes.append(capacity)
    while capacity < count:
        # From here on pieces are smaller than the array.
        capacity *= 2
        sizes.append(capacity)
    return sizes


def _array(process: Process, start: int, blob: Blob, layer: str, *, grows: bool) -> Memory:
    """Return the full array of one blob, grown piece by piece."""
    heap = process.heap
    memory = Memory(FLOAT_BYTES * blob.count, layer, "weights file copy")
    first, *further = capacities(start, blob.count) if grows else [blob.count]
    block = heap.malloc(_ARRAY_HEADER_BYTES + FLOAT_BYTES * first)
    heap.write_start(block, FLOAT_BYTES * first)
    for capacity in further:
        larger = heap.malloc(_ARRAY_HEADER_BYTES + FLOAT_BYTES * capacity)
        # All of the smaller array is copied before it is freed.
        heap.write_start(larger, min(block.chunk_bytes, FLOAT_BYTES * blob.count))
        heap.free(block)
        block = larger
        heap.write_start(block, FLOAT_BYTES * min(capacity, blob.count))
    process.adopt(memory, block)
    return memory


def _head_bytes(node: Node) -> int:
    """Return the size of a layer without its blobs, as Caffe stores it."""
    proto = node.proto
    if node.type == "Split":
        names = [node.name, "Split", *(blob.name for blob in (*node.bottoms, *node.tops))]
        return _TEST_PHASE_BYTES + sum(_string_bytes(len(name.encode())) for name in names)
    size = proto.ByteSize() + (0 if proto.HasField("phase") else _TEST_PHASE_BYTES)
    for stored, blob in zip(proto.bottom, node.bottoms, strict=True):
        if stored != blob.name:
            size += _string_bytes(len(blob.name.encode())) - _string_bytes(len(stored.encode()))
    if node.type == "BatchNorm":
        size += _UNLEARNED_BYTES * max(0, 3 - len(proto.param))
    return size


def _blob_bytes(blob: Blob) -> tuple[int, int]:
    """Return the bytes before the values, and in all."""
    values = FLOAT_BYTES * blob.count
    dims = sum(_varint_bytes(dim) for dim in blob.shape)
    shape = _string_bytes(dims) if blob.shape else 0
    head = _string_bytes(shape) + 1 + _varint_bytes(values)
    return head, head + values


def _string_bytes(length: int) -> int:
    """Return the size of a field with its tag, its length and as many bytes."""
    return 1 + _varint_bytes(length) + length


def _varint_bytes(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)
