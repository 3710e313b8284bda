"""Read what a TFLite model declares: a FlatBuffer, whose offsets are checked before they are used.

The table numbers are those of schema.fbs of TensorFlow Lite, version 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pibench.engines import formats
from pibench.engines.formats import Contents, Tensor, checked
from pibench.engines.wire import CorruptError

if TYPE_CHECKING:
    import mmap

IDENTIFIER: Final = b"TFL3"
MOST_TENSORS: Final = 200_000
# TensorType, by NumPy's names where it has one.
_TYPES: Final = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64",
    "int8", "float64", "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4",
    "bfloat16",
)  # fmt: skip
_MODEL_SUBGRAPHS, _MODEL_BUFFERS = 2, 4
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS = 0, 1, 2
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_SIGNATURE = 0, 1, 2, 3, 7
_BUFFER_DATA, _BUFFER_OFFSET = 0, 1
_OFFSET_BYTES: Final = 4


def read(data: mmap.mmap | bytes) -> Contents:
    """Return what the model in `data` declares: its first subgraph. Raises CorruptError."""
    buffer = _FlatBuffer(data)
    if data[4:8] != IDENTIFIER:
        raise CorruptError(4, f"the mark {IDENTIFIER.decode()} is missing")
    model = buffer.follow(0)
    graphs = buffer.vector(model, _MODEL_SUBGRAPHS, _OFFSET_BYTES)
    if not graphs:
        raise CorruptError(model, "it has no graph")
    graph = buffer.follow(graphs[0])
    tensors = buffer.vector(graph, _GRAPH_TENSORS, _OFFSET_BYTES)
    ends = [
        [
            _tensor(buffer, _of(tensors, buffer.number(at, "<i"), at), f"{kind} {place}")
            for place, at in enumerate(buffer.vector(graph, number, 4)[: formats.MOST_ENDS + 1])
        ]
        for number, kind in ((_GRAPH_INPUTS, "input"), (_GRAPH_OUTPUTS, "output"))
    ]
    inputs, outputs = checked(_distinct(ends[0]), _distinct(ends[1]), graph)
    return Contents(
        inputs=inputs,
        outputs=outputs,
        parameter_count=_constants(buffer, model, graphs),
    )


def _tensor(buffer: _FlatBuffer, place: int, name: str) -> Tensor:
    """Return the tensor to which the offset at `place` leads; `name` is for one without a name."""
    table = buffer.follow(place)
    kind = buffer.field(table, _TENSOR_TYPE)
    number = 0 if kind is None else buffer.number(kind, "<b")
    # The signature has -1 for a size that is not known, where the shape has 1.
    dims = _dims(buffer, table, _TENSOR_SIGNATURE) or _dims(buffer, table, _TENSOR_SHAPE)
    known = _TYPES[number] if 0 <= number < len(_TYPES) else f"element type {number}"
    return Tensor(
        name=buffer.text(table, _TENSOR_NAME) or name,
        type=known,
        dims=tuple(size if size > 0 else "" for size in dims),
    )


def _dims(buffer: _FlatBuffer, table: int, number: int) -> list[int]:
    places = buffer.vector(table, number, 4)
    if len(places) > formats.MOST_AXES:
        raise CorruptError(table, f"a tensor with {len(places)} dimensions")
    return [buffer.number(at, "<i") for at in places]


def _distinct(ends: list[Tensor]) -> list[Tensor]:
    """Return the tensors with a number behind a name that another one had before."""
    found: dict[str, Tensor] = {}
    for end in ends:
        name, number = end.name, 2
        while name in found:
            name, number = f"{end.name} #{number}", number + 1
        found[name] = Tensor(name=name, type=end.type, dims=end.dims)
    return list(found.values())


def _of(places: range, index: int, at: int) -> int:
    if not 0 <= index < len(places):
        raise CorruptError(at, f"number {index} of {len(places)}")
    return places[index]


def _constants(buffer: _FlatBuffer, model: int, graphs: range) -> int:
    """Return the number of elements that have values in the file: of all graphs, each once."""
    buffers = buffer.vector(model, _MODEL_BUFFERS, _OFFSET_BYTES)
    counted: set[int] = set()
    total = 0
    for table in _tensors(buffer, graphs):
        at = buffer.field(table, _TENSOR_BUFFER)
        index = 0 if at is None else buffer.number(at, "<I")
        if index == 0 or index in counted:
            # The first buffer is always empty; graphs can share the others.
            continue
        counted.add(index)
        values = buffer.follow(_of(buffers, index, table))
        beyond = buffer.field(values, _BUFFER_OFFSET)
        if buffer.vector(values, _BUFFER_DATA, 1) or (beyond and buffer.number(beyond, "<Q") > 1):
            total += formats.elements(_dims(buffer, table, _TENSOR_SHAPE), table)
    return total


def _tensors(buffer: _FlatBuffer, graphs: range) -> Iterator[int]:
    """Yield the table of each tensor of all graphs. Raises CorruptError beyond the limit."""
    left = MOST_TENSORS
    for place in graphs:
        graph = buffer.follow(place)
        tensors = buffer.vector(graph, _GRAPH_TENSORS, _OFFSET_BYTES)
        # A graph without tensors takes time too.
        left -= len(tensors) + 1
        if left < 0:
            raise CorruptError(graph, f"more than {MOST_TENSORS} tensors")
        yield from map(buffer.follow, tensors)


@dataclass(frozen=True)
class _FlatBuffer:
    """Tables, vectors and texts of a FlatBuffer, each read only within the file."""

    data: mmap.mmap | bytes

    def number(self, at: int, form: str) -> int:
        """Return the number in the form of `struct` at an offset."""
        if not 0 <= at <= len(self.data) - struct.calcsize(form):
            raise CorruptError(min(max(at, 0), len(self.data)), "an offset beyond the file")
        return int(struct.unpack_from(form, self.data, at)[0])

    def follow(self, at: int) -> int:
        """Return where the offset at `at` leads; offsets lead forward."""
        return at + self.number(at, "<I")

    def field(self, table: int, number: int) -> int | None:
        """Return the place of a table's field, None for one that it does not have."""
        fields = table - self.number(table, "<i")
        size = self.number(fields, "<H")
        entry = 4 + 2 * number
        offset = self.number(fields + entry, "<H") if entry + 2 <= size else 0
        return table + offset if offset else None

    def vector(self, table: int, number: int, element_bytes: int) -> range:
        """Return the places of a vector's elements; empty for a field that is not there."""
        at = self.field(table, number)
        if at is None:
            return range(0)
        start = self.follow(at)
        count = self.number(start, "<I")
        end = start + 4 + count * element_bytes
        if end > len(self.data):
            raise CorruptError(start, f"cut short: {end - len(self.data)} bytes are missing")
        return range(start + 4, end, element_bytes)

    def text(self, table: int, number: int) -> str:
        places = self.vector(table, number, 1)
        return formats.text(self.data, places.start, places.stop)
