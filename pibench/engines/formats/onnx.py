"""Read what an ONNX model declares, by the field numbers of onnx.proto."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pibench.engines import formats, wire
from pibench.engines.formats import Contents, Dim, Operator, Tensor, checked
from pibench.engines.wire import LENGTH, VARINT, CorruptError

if TYPE_CHECKING:
    import mmap

MOST_FIELDS: Final = 2_000_000
"""Fields that are looked at: a graph of 50,000 operators has one million."""
MOST_OPERATORS: Final = 200_000
_BYTES_PER_FIELD: Final = 16
DEEPEST: Final = 32
"""Graphs within attributes of operators of graphs."""

# TensorProto.DataType, by NumPy's names where it has one.
_TYPES: Final = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    8: "string", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
    14: "complex64", 15: "complex128", 16: "bfloat16",
}  # fmt: skip
# TypeProto's other kinds of values.
_NO_TENSORS: Final = {4: "sequence", 5: "map", 7: "opaque value", 8: "sparse tensor", 9: "optional"}
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTION = 7, 20, 25
_TRAINING_GRAPHS = (1, 2)
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 11, 12, 15
_FUNCTION_NODE = 7
_NODE_NAME, _NODE_TYPE, _NODE_ATTRIBUTE = 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TEXT, _ATTRIBUTE_INTS = 1, 3, 4, 8
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_DIMS, _TENSOR_NAME, _TENSOR_EXTERNAL = 1, 8, 13
_SPARSE_TENSORS = (1, 2)

Span = tuple[int, int]


def read(data: mmap.mmap | bytes) -> Contents:
    """Return what the model in `data` declares. Raises CorruptError."""
    model = _Model(data)
    whole = (0, len(data))
    for number, span in model.messages(whole):
        if number == _MODEL_GRAPH:
            # Protobuf joins the parts of a message that occurs twice.
            model.has_graph = True
            model.take_graph(span, 0)
        elif number == _MODEL_FUNCTION:
            model.take_nodes(span, _FUNCTION_NODE, 0)
        elif number == _MODEL_TRAINING:
            for inner, graph in model.messages(span):
                if inner in _TRAINING_GRAPHS:
                    model.take_graph(graph, 1)
    if not model.has_graph:
        raise CorruptError(0, "it has no graph")
    # Models before IR version 4 list weights among the inputs.
    fed = [end for end in model.inputs if end.name not in model.constants]
    inputs, outputs = checked(fed, model.outputs, 0)
    return Contents(
        inputs=inputs,
        outputs=outputs,
        parameter_count=model.parameter_count,
        operators=tuple(model.operators),
        locations=tuple(model.locations),
    )


@dataclass
class _Model:
    """What was read so far; `left` is the number of fields that may still be looked at."""

    data: mmap.mmap | bytes
    has_graph: bool = False
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    constants: set[str] = field(default_factory=set)
    operators: list[Operator] = field(default_factory=list)
    # In the order of the file, each once.
    locations: dict[str, None] = field(default_factory=dict)
    parameter_count: int = 0
    left: int = MOST_FIELDS

    def fields(self, span: Span) -> Iterator[wire.Field]:
        """Yield the fields of a message, up to the limit of all."""
        for one in wire.fields(self.data, *span):
            self.spend(1, one.start)
            yield one

    def messages(self, span: Span) -> Iterator[tuple[int, Span]]:
        """Yield number and span of each field with a length: messages, texts, packed numbers."""
        for one in self.fields(span):
            if one.kind == LENGTH:
                yield one.number, (one.start, one.end)

    def text(self, span: Span) -> str:
        # Texts are kept: all together they are limited too.
        self.spend((span[1] - span[0]) // _BYTES_PER_FIELD, span[0])
        return formats.text(self.data, *span)

    def spend(self, fields: int, offset: int) -> None:
        """Count fields, or what takes as much memory. Raises CorruptError beyond the limit."""
        self.left -= fields
        if self.left < 0:
            raise CorruptError(offset, f"more than {MOST_FIELDS} fields")

    def integers(self, one: wire.Field) -> list[int]:
        """Return the values of a field of repeated integers, whether they are packed or not."""
        if one.kind == VARINT:
            return [_signed(one.value)]
        found, at = [], one.start
        while one.kind == LENGTH and at < one.end:
            value, at = wire.read_varint(self.data, at, one.end)
            found.append(_signed(value))
            self.spend(1, at)
        return found

    def count(self, elements: int, offset: int) -> None:
        """Count the elements of a constant. Raises CorruptError for more than a file can have."""
        self.parameter_count = formats.elements([self.parameter_count + elements], offset)

    def take_graph(self, span: Span, depth: int) -> None:
        """Take a graph; only the model's own, at depth 0, has inputs and outputs of the model."""
        if depth > DEEPEST:
            raise CorruptError(span[0], f"graphs in graphs, more than {DEEPEST} deep")
        self.take_nodes(span, _GRAPH_NODE, depth)
        for number, inner in self.messages(span):
            if number == _GRAPH_INITIALIZER:
                name, elements = self.take_tensor(inner)
                self.count(elements, inner[0])
                if depth == 0:
                    self.constants.add(name)
            elif number == _GRAPH_SPARSE:
                self.take_sparse(inner)
            elif depth == 0 and number == _GRAPH_INPUT:
                self.inputs.append(self.value(inner))
            elif depth == 0 and number == _GRAPH_OUTPUT:
                self.outputs.append(self.value(inner))

    def take_nodes(self, span: Span, node: int, depth: int) -> None:
        """Take the operators of a graph or a function, and what their attributes contain."""
        for number, inner in self.messages(span):
            if number == node:
                self.take_node(inner, depth)

    def take_node(self, span: Span, depth: int) -> None:
        name = kind = ""
        elements = 0
        integers: dict[str, tuple[int, ...]] = {}
        texts: dict[str, str] = {}
        for number, inner in self.messages(span):
            if number == _NODE_NAME:
                name = self.text(inner)
            elif number == _NODE_TYPE:
                kind = self.text(inner)
            elif number == _NODE_ATTRIBUTE:
                elements += self.take_attribute(inner, depth, integers, texts)
        if len(self.operators) == MOST_OPERATORS:
            raise CorruptError(span[0], f"more than {MOST_OPERATORS} operators")
        if kind == "Constant":
            self.count(elements, span[0])
        self.operators.append(Operator(type=kind, name=name, integers=integers, texts=texts))

    def take_attribute(
        self,
        span: Span,
        depth: int,
        integers: dict[str, tuple[int, ...]],
        texts: dict[str, str],
    ) -> int:
        """Take an attribute; return the elements of the constants in it."""
        name, numbers, elements = "", [], 0
        text: Span | None = None
        for one in self.fields(span):
            inner = one.start, one.end
            if one.number in (_ATTRIBUTE_INT, _ATTRIBUTE_INTS):
                numbers += self.integers(one)
            elif one.kind != LENGTH:
                continue
            elif one.number == _ATTRIBUTE_NAME:
                name = self.text(inner)
            elif one.number == _ATTRIBUTE_TEXT:
                text = inner
            elif one.number in _ATTRIBUTE_TENSORS:
                elements += self.take_tensor(inner)[1]
            elif one.number in _ATTRIBUTE_SPARSE:
                self.take_sparse(inner)
            elif one.number in _ATTRIBUTE_GRAPHS:
                self.take_graph(inner, depth + 1)
        if len(numbers) <= formats.MOST_AXES:
            # Longer ones are constants.
            integers[name] = tuple(numbers)
        if text is not None:
            # The text of an attribute may be any bytes.
            texts[name] = bytes(self.data[slice(*text)][:100]).decode("utf-8", "replace")
        return elements

    def take_sparse(self, span: Span) -> None:
        for number, inner in self.messages(span):
            if number in _SPARSE_TENSORS:
                name, _ = self.take_tensor(inner)
                # The name of the values is the sparse tensor's.
                self.constants.add(name)

    def take_tensor(self, span: Span) -> tuple[str, int]:
        """Return the name of a constant and its elements; take the file that it is in."""
        name, dims = "", []
        for one in self.fields(span):
            if one.number == _TENSOR_DIMS:
                dims += self.integers(one)
            elif one.kind == LENGTH and one.number == _TENSOR_NAME:
                name = self.text((one.start, one.end))
            elif one.kind == LENGTH and one.number == _TENSOR_EXTERNAL:
                self.take_location((one.start, one.end))
        return name, formats.elements(dims, span[0])

    def take_location(self, span: Span) -> None:
        key = value = ""
        for number, inner in self.messages(span):
            if number == 1:
                key = self.text(inner)
            elif number == 2:
                value = self.text(inner)
        if key == "location":
            self.locations[value] = None

    def value(self, span: Span) -> Tensor:
        """Return an input or output: a ValueInfoProto."""
        name, kind = "", "value without a type"
        dims: list[Dim] | None = None
        for number, inner in self.messages(span):
            if number == 1:
                name = self.text(inner)
            elif number == 2:
                for of_type, what in self.messages(inner):
                    if of_type == 1:
                        kind, dims = self.tensor_type(what, dims)
                    else:
                        kind = _NO_TENSORS.get(of_type, kind)
        return Tensor(name=name, type=kind, dims=None if dims is None else tuple(dims))

    def tensor_type(self, span: Span, dims: list[Dim] | None) -> tuple[str, list[Dim] | None]:
        kind = 0
        for one in self.fields(span):
            if one.number == 1 and one.kind == VARINT:
                kind = one.value
            elif one.number == 2 and one.kind == LENGTH:
                dims = dims or []
                for number, dim in self.messages((one.start, one.end)):
                    if number == 1:
                        dims.append(self.dim(dim))
        return _TYPES.get(kind, f"element type {kind}"), dims

    def dim(self, span: Span) -> Dim:
        """Return a dimension; a size below 1 stands for one that is not known."""
        found: Dim = ""
        for one in self.fields(span):
            if one.number == 1 and one.kind == VARINT:
                size = _signed(one.value)
                found = size if size > 0 else ""
            elif one.number == 2 and one.kind == LENGTH:
                found = self.text((one.start, one.end))[:100]
        return found


def _signed(value: int) -> int:
    """Return the int64 that a varint stands for."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
